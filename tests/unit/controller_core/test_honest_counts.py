"""What a turn says that it did is what a look proved, and nothing is written that cannot be right."""

from dataclasses import replace

import pytest

from controller.core import effects as fx
from controller.core.conditions import ConditionType
from controller.core.reconcile import dry_run
from desired_state.model.generation import JournalState
from desired_state.model.node import Mode
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.people import NL, key_id
from tests.faults.safety import Safety
from tests.faults.scenarios import V29, V32, V34, V36, email_of, settled, stranger


def writes(turn):
    return [effect.verb for effect in turn.effects if isinstance(effect, fx.Write)]


# -- healed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V29, V36])
def test_what_a_list_goes_on_hiding_was_not_healed(version):
    """Half a list, again and again: the creates are sent, and no look shows what they made."""
    world = settled(version, "abcd")
    everywhere = dict.fromkeys(range(60), Fault.HALF)

    healed = [world.turn(faults=everywhere).result.healed for _ in range(4)]

    assert [0, 0, 0, 0] == healed


@pytest.mark.parametrize("version", [V29, V32, V36])
def test_what_a_look_shows_as_it_should_be_was_healed(version):
    world = settled(version, "abc")
    world.panel.delete_by_hand(email_of(version, "a"))
    world.panel.edit_by_hand(email_of(version, "b"), total_bytes=7)

    turn = world.turn()

    assert 2 == turn.result.healed


def test_attempts_count_for_fighting_whether_they_healed_or_not():
    world = settled(V36, "abcd")
    for _ in range(5):
        turn = world.turn(faults=dict.fromkeys(range(60), Fault.HALF))

    reasons = {c.reason for c in turn.result.status.conditions}
    assert "Fighting" in reasons


# -- refused deletes -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V32, V36])
def test_a_client_that_cannot_be_deleted_is_switched_off_however_often_it_is_switched_on(version):
    world = settled(version, "abcd")
    email = email_of(version, "a")
    world.panel.undeletable = frozenset({email})
    people.unwant(world.store, "a")
    for _ in range(6):
        world.turn()
    off = {c.email: c.enable for c in world.panel.ours()}[email]
    world.panel.edit_by_hand(email, enable=True)

    world.turn()

    assert (False, False) == (off, {c.email: c.enable for c in world.panel.ours()}[email])


@pytest.mark.parametrize("version", [V32, V36])
def test_a_client_whose_disable_failed_is_switched_off_by_a_later_turn(version):
    world = undeletable(version)
    email = email_of(version, "a")

    failed = refuse_the_disable(world)
    still_on = {c.email: c.enable for c in world.panel.ours()}[email]
    world.turn()

    assert fx.Verb.DISABLE in writes(failed)
    assert (True, False) == (still_on, {c.email: c.enable for c in world.panel.ours()}[email])


def test_a_debt_says_whether_the_client_is_off():
    world = undeletable(V36)
    email = email_of(V36, "a")

    results = [refuse_the_disable(world).result, world.turn().result]

    assert [
        f"the panel keeps {email} and 0 more, 1 of them switched on",
        f"the panel keeps {email} and 0 more, switched off",
    ] == [
        c.message
        for result in results
        for c in result.status.conditions
        if c.reason == "DeleteRefused" and c.type is ConditionType.DRIFTED
    ]


def undeletable(version):
    """A client that stays whatever is tried, switched on by hand at the end of the ladder."""
    world = settled(version, "abcd")
    email = email_of(version, "a")
    world.panel.undeletable = frozenset({email})
    people.unwant(world.store, "a")
    for _ in range(3):
        world.turn()
    world.panel.edit_by_hand(email, enable=True)
    return world


def refuse_the_disable(world):
    effects = world.copy().turn().effects
    at = next(i for i, effect in enumerate(effects) if isinstance(effect, fx.Write))
    return world.turn(faults={at: Fault.REFUSED})


# -- verified --------------------------------------------------------------------------------------


def test_nothing_is_verified_by_the_look_at_another_panel():
    world = settled(V36, "abc")
    world.panel.set_guid("guid-of-a-clone")

    result = world.turn().result

    assert (0, 0) == (result.verified, result.status.counts.live)


def test_nothing_is_verified_by_a_list_that_is_not_trusted():
    world = settled(V36, "abcdefghijklmn")

    result = world.turn(faults={0: Fault.TORN}).result

    assert "TornList" in {c.reason for c in result.status.conditions}
    assert 0 == result.verified


@pytest.mark.parametrize("version", [V29, V36])
def test_a_missing_client_is_not_recorded_as_verified_until_it_is_seen_again(version):
    world = settled(version, "ab")
    people.set_mode(world.store, NL, Mode.OBSERVE)
    email = email_of(version, "a")
    world.panel.delete_by_hand(email)
    world.turn()
    missing = world.store.journal[NL, email]
    people.set_mode(world.store, NL, Mode.ENFORCE)
    world.turn()

    assert (JournalState.LIVE, "") == (missing.state, missing.projection)
    assert world.store.journal[NL, email].projection


@pytest.mark.parametrize("version", [V29, V36])
def test_a_client_whose_email_a_stranger_took_is_not_recorded_as_verified(version):
    world = settled(version, "ab")
    email = email_of(version, "a")
    world.panel.delete_by_hand(email)
    world.panel.add_by_hand(replace(stranger(), email=email))

    world.turn()

    assert "" == world.store.journal[NL, email].projection
    assert world.store.journal[NL, email_of(version, "b")].projection


@pytest.mark.promise("I1")
def test_what_stays_missing_is_written_down_once():
    world = settled(V36, "ab")
    people.set_mode(world.store, NL, Mode.OBSERVE)
    world.panel.delete_by_hand(email_of(V36, "a"))
    world.turn()
    before = world.writes()

    world.turn()

    assert before == world.writes()


# -- paused ----------------------------------------------------------------------------------------


@pytest.mark.promise("S4")
def test_a_dry_run_contacts_no_paused_panel():
    world = settled(V36, "a")
    people.set_mode(world.store, NL, Mode.PAUSED)
    people.unwant(world.store, "a")

    steps, seen, answer = dry_run(world.store.target(NL), world.clock.now), [], None
    try:
        while True:
            effect = steps.send(answer)
            seen.append(type(effect))
            answer = world._execute(NL, effect, None)
    except StopIteration as stop:
        result = stop.value

    assert [fx.ReadDesired] == seen
    assert (Mode.PAUSED, ()) == (result.mode, result.remaining.actions)
    assert "Paused" in {c.reason for c in result.status.conditions}


# -- seeds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V29, V32, V34, V36])
def test_a_key_without_its_seed_is_neither_created_nor_updated_and_its_neighbours_are(version):
    world = settled(version, "ac")
    people.want(world.store, "b")
    people.want(world.store, "d")
    people.set_quota(world.store, "a", 10**9)
    people.set_quota(world.store, "c", 10**9)
    world.store.lost_seeds = frozenset({key_id("a"), key_id("b")})
    world.watch = Safety()

    results = [world.turn().result for _ in range(3)]

    there = {c.email: c.total_bytes for c in world.panel.ours()}
    a, c, d = (email_of(version, letter) for letter in "acd")
    assert {a: 0, c: 10**9, d: 0} == there
    assert {email_of(version, "a"), email_of(version, "b")} == {e for e, _ in results[-1].refused}
    assert {"its seed is missing, or these encryption keys do not open it"} == {
        why for _, why in results[-1].refused
    }
    assert not results[-1].is_in_sync


@pytest.mark.parametrize("version", [V29, V36])
def test_a_key_without_its_seed_can_be_deleted(version):
    world = settled(version, "ab")
    world.store.lost_seeds = frozenset({key_id("a")})
    people.unwant(world.store, "a")

    world.turn()

    assert [email_of(version, "b")] == [c.email for c in world.panel.ours()]
