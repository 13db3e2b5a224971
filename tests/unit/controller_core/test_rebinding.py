"""Whatever a person asks about inbounds, and whatever a list shows: no key is cut off by it."""

from dataclasses import replace

import pytest

from controller.core.conditions import ConditionType
from desired_state.model.generation import JournalState
from desired_state.model.node import Match
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.panel import TROJAN, VLESS
from tests.fakes.people import NL
from tests.faults.safety import Safety
from tests.faults.scenarios import V29, V32, V36, email_of, marked, settled
from tests.faults.truth import check_truth

VERSIONS = (V29, V32, V36)


def run(world, faults=None, turns=4):
    """Turns that all meet the same faults, under the eyes of the safety promises."""
    world.watch = Safety()
    for _ in range(turns):
        world.turn(faults=faults or {})


def served(world):
    return {c.email for c in world.panel.ours() if c.inbound_ids and c.enable}


def held(world):
    return {f"{c.type.value}/{c.reason}" for c in world.store.nodes[NL].status.conditions}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [RequestKind.REMATCH, RequestKind.REBIND])
def test_a_request_answered_by_a_panel_whose_inbounds_are_all_off_unbinds_nothing(version, kind):
    world = settled(version, "abcde")
    world.panel.set_inbound(replace(VLESS, enable=False))
    before = served(world)
    people.ask(world.store, NL, kind)

    run(world)

    assert before == served(world)
    assert [VLESS.port] == [b.port for b in world.store.nodes[NL].bound or ()]
    assert "Drifted/NoInbounds" in held(world)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_to_match_again_waits_until_something_fits(version):
    world = settled(version, "a")
    world.panel.set_inbound(replace(VLESS, enable=False))
    people.ask(world.store, NL, RequestKind.REMATCH)
    run(world)
    waiting = world.store.nodes[NL].requests
    world.panel.set_inbound(VLESS)

    run(world)

    assert ["r1"] == [request.token for request in waiting]
    assert () == world.store.nodes[NL].requests
    assert world.store.nodes[NL].status.find(ConditionType.READY).status


@pytest.mark.parametrize("version", VERSIONS)
def test_a_declared_match_that_fits_nothing_leaves_the_keys_where_they_are(version):
    world = settled(version, "abc")
    before = served(world)
    people.set_matches(world.store, NL, Match(port=9))

    run(world)

    assert before == served(world)
    assert "Drifted/NoInbounds" in held(world)


@pytest.mark.promise("S3")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_list_without_inbounds_is_not_accepted_as_the_panel_by_a_rebind(version):
    """As a panel behind a broken proxy answers: an empty list, again and again."""
    world = settled(version, "abcd")
    before = served(world)
    people.ask(world.store, NL, RequestKind.REBIND)

    run(world, dict.fromkeys(range(30), Fault.BARE))

    assert before == served(world)
    assert ["r1"] == [request.token for request in world.store.nodes[NL].requests]
    assert {JournalState.LIVE} == {row.state for row in world.store.journal.values()}


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_are_served_by_their_new_inbound_before_they_leave_the_old_one(version):
    world = settled(version, "abc", VLESS, replace(TROJAN, enable=False))
    world.panel.set_inbound(TROJAN)
    people.set_matches(world.store, NL, Match(port=TROJAN.port))

    run(world)

    where = {c.email: c.inbound_ids for c in world.panel.ours() if c.enable}
    inbound = 2 if version == V29 else 1
    assert {email_of(version, letter, inbound=inbound): (TROJAN.id,) for letter in "abc"} == where


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_that_nothing_else_serves_are_cut_off_only_when_a_person_approves(version):
    """However few: two keys are below every other guard."""
    world = settled(version, "ab", VLESS, replace(TROJAN, enable=False))
    before = served(world)
    people.set_matches(world.store, NL, Match(port=TROJAN.port))
    run(world)
    kept, shown = served(world), held(world)

    people.approve(world.store, NL, world.clock.now)
    run(world)

    assert (before, set()) == (kept, served(world))
    assert "Blocked/CutOff" in shown


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_that_are_not_in_force_are_cut_off_without_a_person(version):
    world = settled(version, "ab", VLESS, replace(TROJAN, enable=False))
    people.suspend(world.store, "a")
    people.suspend(world.store, "b")
    run(world)
    people.set_matches(world.store, NL, Match(port=TROJAN.port))

    run(world)

    assert "Blocked/CutOff" not in held(world)


def test_a_last_client_whose_delete_was_refused_is_not_gone_because_the_list_is_empty():
    """Up to 3.0.2 a refusal is what the last client of an inbound meets, seen or not."""
    world = settled(V29, "a")
    people.unwant(world.store, "a")

    run(world, dict.fromkeys(range(30), Fault.EMPTY))

    assert JournalState.LIVE is world.store.journal[NL, email_of(V29, "a")].state


# -- a database that is older than the panel -------------------------------------------------------


def outdated(version, rotations):
    """The panel knows generations that a restored database does not."""
    world = settled(version, "ab")
    kept = world.store.copy()
    for _ in range(rotations):
        people.rotate(world.store, "a")
        run(world)
    kept.revision, kept.changes = world.store.revision, world.store.changes + 1
    world.store = kept
    return world


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rotations", [1, 2])
def test_rotating_a_key_past_the_panel_accepts_that_the_database_is_older(version, rotations):
    """What the manual says for a database without a newer backup."""
    world = outdated(version, rotations)
    run(world, turns=1)
    stalled = held(world)
    for _ in range(rotations):
        people.rotate(world.store, "a")

    run(world, turns=5)

    assert "Stalled/StaleDesired" in stalled
    assert {email_of(version, "a", 1 + rotations), email_of(version, "b")} == served(world)
    assert world.store.nodes[NL].status.find(ConditionType.READY).status
    check_truth(world, NL)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_higher_limit_of_quarantined_clients_lets_a_node_go_on_and_touches_none_of_them(version):
    world = settled(version, "a")
    for letter in "qrstuv":
        world.panel.add_by_hand(marked(version, letter))
    run(world, turns=1)
    stalled, before = held(world), world.panel.foreign()
    people.want(world.store, "b")
    row = world.store.nodes[NL]
    row.policy, world.store.changes = (
        replace(row.policy, max_quarantined=6),
        world.store.changes + 1,
    )

    run(world)

    assert "Stalled/StaleDesired" in stalled
    assert {email_of(version, "a"), email_of(version, "b")} == served(world)
    assert before == world.panel.foreign()
