"""Bugs that the explorer found in the core, each as the shortest story that shows it."""

from dataclasses import replace
from itertools import count

import pytest

from controller.core import effects as fx
from controller.core.features import Version
from controller.core.observed import Observation
from controller.core.turn import MOST_DOUBTS
from desired_state.model.generation import JournalState
from desired_state.model.ids import InboundId
from desired_state.model.node import Match
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.panel import TROJAN, VLESS
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.explorer import Explorer
from tests.faults.safety import Safety
from tests.faults.scenarios import SCENARIOS, V29, V32, V36, email_of, settled, stranger


def run(world: World, faults: dict[int, Fault] | None = None, rounds: int = 3) -> None:
    """One turn under faults, then turns without."""
    world.watch = Safety()
    world.turn(faults=faults or {})
    for _ in range(rounds):
        world.turn()


def seen(world: World) -> dict[str, tuple[InboundId, ...]]:
    return {client.email: client.inbound_ids for client in world.panel.look().clients}


def number_of(world: World, kind: type[fx.Effect[object]], nth: int = 0) -> int:
    """Find the number of an effect in the turn that would run now."""
    effects = world.copy().turn().effects
    return [i for i, effect in enumerate(effects) if isinstance(effect, kind)][nth]


def test_a_request_to_match_again_waits_for_a_look_that_shows_the_panel() -> None:
    world = settled(V36, "a", VLESS, replace(TROJAN, enable=False))
    world.panel.set_inbound(TROJAN)
    people.ask(world.store, NL, RequestKind.REMATCH)

    run(world, {0: Fault.UNSEEN})

    assert {email_of(V36, "a"): (1, 2)} == seen(world)


@pytest.mark.parametrize("version", [V29, V32])
def test_inbounds_are_not_bound_from_the_look_at_another_machine(version: Version) -> None:
    """Below 3.3.0 a stranger is known by what it holds alone."""
    world = settled(version, "a", VLESS)
    people.set_matches(world.store, NL, Match(protocol="vless"))

    run(world, {0: Fault.STRANGER}, rounds=0)

    assert [VLESS.port] == [b.port for b in world.store.nodes[NL].bound or ()]


def test_a_client_that_an_old_list_hid_is_still_detached_later() -> None:
    """Creating it again must not forget the inbounds where it already is."""
    world = settled(V36, "a", VLESS, TROJAN)
    people.set_matches(world.store, NL, Match(port=VLESS.port))

    run(world, {0: Fault.EMPTY})

    assert {email_of(V36, "a"): (1,)} == seen(world)


def test_a_client_that_the_panel_refused_to_delete_is_not_gone_because_a_list_hides_it() -> None:
    world = settled(V36, "abcd")
    world.panel.stubborn = frozenset({email_of(V36, "a")})
    people.unwant(world.store, "a")
    people.unwant(world.store, "b")
    verifying = number_of(world, fx.Observe, 1)

    run(world, {verifying: Fault.HALF}, rounds=0)

    row = world.store.journal[NL, email_of(V36, "a")]
    assert JournalState.LIVE is row.state


def test_a_delete_that_is_refused_between_two_lists_that_hide_the_client_proves_nothing() -> None:
    world = settled(V36, "abcd")
    world.panel.stubborn = frozenset({email_of(V36, "a")})
    people.unwant(world.store, "a")
    people.unwant(world.store, "b")
    verifying = number_of(world, fx.Observe, 1)

    run(world, {0: Fault.HALF, verifying: Fault.HALF}, rounds=0)

    row = world.store.journal[NL, email_of(V36, "a")]
    assert JournalState.LIVE is row.state


def test_deletes_that_show_up_later_in_a_turn_are_reserved_too() -> None:
    world = settled(V32, "abc")
    world.panel.back_up()
    people.unwant(world.store, "a")
    run(world)
    world.panel.restore()
    world.suspended.add(NL)

    run(world, {0: Fault.STALE_3})

    assert email_of(V32, "a") not in seen(world)


@pytest.mark.parametrize("fault", [Fault.HALF, Fault.EMPTY])
def test_one_untrue_list_costs_no_live_client_on_a_panel_that_doubles(fault: Fault) -> None:
    """Up to 3.4.2 a missing client is deleted before it is created again: only after a second look."""
    world = settled(V32, "abcd")

    run(world, {0: fault})

    assert not world.panel.deleted


def test_a_debt_is_reserved_once_however_often_it_is_tried() -> None:
    world = settled(V36, "abcd")
    world.panel.undeletable = frozenset({email_of(V36, "a")})
    people.unwant(world.store, "a")

    run(world, rounds=10)

    assert 1 == sum(len(deletes.emails) for deletes in world.store.budget)


@pytest.mark.parametrize("version", [V29, V32, V36])
def test_a_delete_whose_answer_is_lost_again_and_again_takes_its_share_once(
    version: Version,
) -> None:
    """Otherwise one bad connection uses up the share of the whole fleet, and nobody's key is deleted."""
    world = settled(version, "abcd")
    people.unwant(world.store, "a")
    for _ in range(8):
        deleting = number_of(world, fx.Write)
        run(world, {deleting: Fault.LOST}, rounds=0)
    tried = world.store.budget

    run(world)

    assert 1 == sum(len(deletes.emails) for deletes in tried)
    assert email_of(version, "a") not in seen(world)


def test_a_list_that_misses_another_client_at_every_look_is_doubted_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn that asked again for each of them would look as often as there are clients."""
    world = settled(V32, "abcdefgh")
    held, true, looks = sorted(seen(world)), world.panel.look, count()

    def missing_one() -> Observation:
        whole, gone = true(), held[next(looks) % len(held)]
        return replace(whole, clients=tuple(c for c in whole.clients if c.email != gone))

    monkeypatch.setattr(world.panel, "look", missing_one)

    effects = world.turn().effects

    assert 1 + MOST_DOUBTS == sum(isinstance(effect, fx.Observe) for effect in effects)
    assert [] == [effect for effect in effects if isinstance(effect, fx.Write)]


@pytest.mark.parametrize(
    ("name", "version", "plan"),
    [
        (
            "mixed with hand edits and an orphan", (3, 0, 2),
            {13: Fault.UNANSWERED, 19: Fault.STALE, 21: Fault.HALF},
        ),
        ("old list still served", (3, 1, 0), {11: Fault.LATE, 12: Fault.NULL, 18: Fault.NULL}),
        ("inbound in the way", V36, {0: Fault.OLDEST, 3: Fault.REFUSED, 5: Fault.BUSY}),
        ("inbound in the way", V29, {3: Fault.BUSY, 4: Fault.STALE_3, 8: Fault.UNSEEN}),
    ],
    ids=[
        "a list that changes with every look", "a panel that falls twice",
        "a refused inbound that cannot be recorded", "an inbound that stands behind an old list",
    ],
)  # fmt: skip
def test_three_faults_that_once_broke_a_promise(
    name: str, version: Version, plan: dict[int, Fault]
) -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == name)
    explorer = Explorer(scenario, version)

    explorer.attempt(plan)

    assert [] == explorer.report.violations


@pytest.mark.parametrize("version", [V29, V36])
def test_a_lost_client_is_not_put_back_while_an_older_generation_lives(version: Version) -> None:
    """A restored panel holds generation 1 again and has lost 2: first 1 must be gone."""
    world = settled(version, "abc")
    world.panel.back_up()
    people.rotate(world.store, "a")
    run(world)
    world.panel.restore()
    reserving = number_of(world, fx.ReserveDeletes)

    run(world, {reserving: Fault.EXHAUSTED}, rounds=0)

    assert email_of(version, "a") in seen(world)


@pytest.mark.parametrize("version", [V29, V32, V36])
def test_a_key_whose_email_a_stranger_took_over_can_be_rotated(version: Version) -> None:
    world = settled(version, "ab")
    email = email_of(version, "a")
    world.panel.delete_by_hand(email)
    world.panel.add_by_hand(replace(stranger(), email=email))
    people.rotate(world.store, "a")

    run(world)

    assert {email, email_of(version, "a", 2), email_of(version, "b")} == set(seen(world))


def test_no_adopted_client_is_deleted_before_the_journal_knows_it() -> None:
    """The first list did not show it, and what the delete proved could not be recorded."""
    (scenario,) = (s for s in SCENARIOS if s.name == "adopted and revoked at once")
    explorer = Explorer(scenario, scenario.versions[0])

    explorer.attempt({0: Fault.STALE_3, 11: Fault.BUSY})
    explorer.attempt({0: Fault.STALE_3, 12: Fault.BUSY})
    explorer.attempt({0: Fault.STALE_3, 10: Fault.OLDEST, 11: Fault.BUSY})

    assert [] == explorer.report.violations
