"""What somebody declared goes on in portions of the fleet's share; all else goes as a whole, or waits."""

from dataclasses import replace

import pytest

from desired_state.model.placement import DeleteReason, Placement
from tests.fakes import people
from tests.fakes.panel import FakePanel
from tests.fakes.people import NL, key_id
from tests.fakes.world import World

LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture(params=[(2, 9, 4), (3, 6, 0)], ids=["2.9.4", "3.6.0"])
def world(request: pytest.FixtureRequest) -> World:
    """Twenty live keys on one node, in a fleet that lets six deletes pass in ten minutes."""
    made = World.of(FakePanel.of(request.param))
    for letter in LETTERS:
        people.want(made.store, letter)
    for _ in range(3):
        made.round()
    made.store.fleet_floor = 6
    return made


def held(turn) -> list[str]:
    return [f"{r.condition.type.value}/{r.condition.reason}" for r in turn.result.refusals]


def kept(world: World) -> int:
    """How many keys the panel still holds; a placeholder is none of them."""
    return len({c.email for c in world.panel.ours() if c.enable})


def fail_over(world: World, letters: str) -> None:
    """Let keys live elsewhere since this node was away."""
    for letter in letters:
        key = key_id(letter)
        world.store.placements[key, NL] = Placement(
            key, NL, "scheduled", leaving=DeleteReason.FAILED_OVER
        )
    world.store.changes += 1


@pytest.mark.promise("S5")
def test_a_drain_takes_what_is_left_of_the_share_and_waits_for_the_rest(world) -> None:
    people.drain(world.store, NL)

    first, at_once = world.turn(), world.turn()
    seen = kept(world)
    world.pass_time(601)
    later = world.turn()

    assert (5, 1) == (first.result.deleted, at_once.result.deleted)
    assert 14 == seen
    assert ["Reconciling/Paced"] == held(first)
    assert not any(refusal.blocked for refusal in first.result.refusals)
    assert later.result.deleted > 0


def test_a_drain_ends_without_anybody_approving_anything(world) -> None:
    people.drain(world.store, NL)

    for _ in range(30):
        world.turn()
        world.pass_time(200)

    assert 0 == kept(world)
    assert {} == {place: p for place, p in world.store.placements.items() if p.leaving}


def test_debts_of_a_failover_are_paid_without_an_approval_of_the_node(world) -> None:
    """Every key of the node at once, where its own guard lets six go, and none wanted any more."""
    world.store.fleet_floor = 100
    fail_over(world, LETTERS)

    turn = world.turn()

    assert ([], 20, 0) == (held(turn), turn.result.deleted, kept(world))


def test_a_revoked_key_does_not_wait_behind_a_drain(world) -> None:
    people.drain(world.store, NL)
    people.unwant(world.store, "t")
    world.store.placements = {
        place: replace(p, leaving=DeleteReason.REVOKED) if p.key == key_id("t") else p
        for place, p in world.store.placements.items()
    }

    turn = world.turn()

    assert "x3f-tttttttttt-g1" not in {c.email.partition("-i")[0] for c in world.panel.ours()}
    assert ["Reconciling/Paced"] == held(turn)


def test_what_nobody_declared_waits_for_a_person_as_a_whole(world) -> None:
    world.store.fleet_floor = 2
    for letter in "abcde":
        people.unwant(world.store, letter)

    turn = world.turn()

    assert ["Blocked/TooManyDeletes"] == held(turn)
    assert [5] == [len(refusal.blocked.emails) for refusal in turn.result.refusals]
    assert 20 == kept(world)
