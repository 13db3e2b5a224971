"""Declared inbounds in whole turns, after what operators of such fleets complain of."""

from dataclasses import replace

import pytest

from controller.core import effects as fx
from controller.core.features import Version
from desired_state.model.ids import InboundId
from desired_state.model.inbound import InboundDeletion, InboundState
from desired_state.model.node import Match, Mode, Recovery
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.panel import TROJAN, VLESS
from tests.fakes.world import Turn, World
from tests.faults import inbound_scenarios as worlds
from tests.faults.scenarios import V29, V36
from tests.faults.settling import settle

VERSIONS = pytest.mark.parametrize("version", [V29, V36], ids=["2.9", "3.6"])


def verbs(turn: Turn) -> list[str]:
    """Calls of a turn that could have changed the panel."""
    return [effect.verb.value for effect in turn.effects if isinstance(effect, fx.Write)]


def reasons(world: World) -> set[str]:
    """Reasons of the conditions that hold."""
    status = world.store.nodes[world.panel.node].status
    return {c.reason for c in status.conditions if c.status and c.type.value != "Ready"}


def emails_on(world: World, inbound: int) -> list[str]:
    clients = world.panel.truth()
    return sorted(c.email for c in clients if InboundId(inbound) in c.inbound_ids)


def secrets_on(world: World) -> list[tuple[str, str, str, str]]:
    """What customers' links hold of each client."""
    return sorted((c.email, c.uuid, c.password, c.sub_id) for c in world.panel.truth())


def lose_everything(world: World) -> None:
    """Make the panel what a fresh installation is: no client, no inbound, another name, ids from 1."""
    world.panel.wipe()
    world.panel.inbounds.clear()
    world.panel.last_inbound = 0
    world.panel.set_guid("guid-2")


@VERSIONS
def test_a_new_server_gets_its_inbound_and_its_keys_in_one_turn_and_keeps_what_it_had(
    version: Version,
) -> None:
    """Adding a working server deleted its inbounds instead of taking them in."""
    world = worlds.inbound_missing(version)
    before = world.panel.inbounds[VLESS.id]

    first, second = world.turn(), world.turn()

    assert first.result is not None
    assert (True, []) == (first.result.is_in_sync, verbs(second))
    assert before == world.panel.inbounds[VLESS.id]
    assert "visitor1" in emails_on(world, 1)
    assert 2 == len(emails_on(world, 2))


@VERSIONS
def test_a_node_that_matches_other_inbounds_carries_keys_on_the_declared_one_all_the_same(
    version: Version,
) -> None:
    world = worlds.inbound_missing(version)
    world.store.nodes[world.panel.node].matches = (Match(port=1),)

    settle(world)

    assert [2] == [b.id for b in world.store.nodes[world.panel.node].bound or ()]
    assert ["visitor1"] == emails_on(world, 1)


@VERSIONS
def test_an_inbound_that_is_declared_off_is_switched_off_and_nothing_on_it_is_deleted(
    version: Version,
) -> None:
    """An inbound that was switched off on a node was deleted there."""
    world = worlds.settled_front(version)
    before = emails_on(world, 2)

    worlds.declare(world, replace(worlds.FRONT, enable=False))
    settle(world)

    assert (False, before) == (world.panel.inbounds[InboundId(2)].enable, emails_on(world, 2))
    assert set() == reasons(world)


@VERSIONS
def test_one_that_is_kept_stays_with_its_clients_and_is_compared_no_more(version: Version) -> None:
    world = worlds.settled_front(version)
    kept = replace(worlds.FRONT, deletion_policy=InboundDeletion.KEEP, port=9999)
    before, clients = dict(world.panel.inbounds), world.panel.truth()

    worlds.declare(world, kept, leaving=True)
    turns = [world.turn() for _ in range(3)]

    assert [[], [], []] == [verbs(turn) for turn in turns]
    assert (before, clients) == (world.panel.inbounds, world.panel.truth())
    row = world.store.managed[world.panel.node, "front"]
    assert InboundState.KEPT is row.state


@VERSIONS
def test_somebody_elses_port_is_told_and_never_written(version: Version) -> None:
    world = worlds.inbound_in_the_way(version)
    theirs = world.panel.inbounds[TROJAN.id]

    turns = [world.turn() for _ in range(3)]

    assert all("-inbound" not in verb for turn in turns for verb in verbs(turn))
    assert (theirs, {"InboundPortTaken"}) == (world.panel.inbounds[TROJAN.id], reasons(world))


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [(Mode.OBSERVE, set()), (Mode.PAUSED, set()), (Mode.UPSERT_ONLY, {"add-inbound", "create"})],
)
def test_modes_allow_of_inbounds_what_they_allow_of_clients(mode: Mode, allowed: set[str]) -> None:
    missing, leaving = worlds.inbound_missing(V36), worlds.inbound_leaves(V36)
    for world in (missing, leaving):
        world.store.nodes[world.panel.node].mode = mode
        world.store.changes += 1

    made, gone = missing.turn(), leaving.turn()

    assert (allowed, []) == (set(verbs(made)), verbs(gone))
    assert InboundId(2) in leaving.panel.inbounds


@VERSIONS
def test_a_restored_database_does_not_put_an_inbound_back_to_what_it_was(version: Version) -> None:
    world = worlds.inbound_changed(version)
    node = world.panel.node
    turn = world.copy()
    assert ["edit-inbound"] == verbs(turn.turn())

    read = world.store.read_desired
    world.store.read_desired = lambda *args: replace(  # type: ignore[method-assign]
        read(*args), recovery=Recovery.CAREFUL
    )

    assert [] == verbs(world.turn(node))


@VERSIONS
def test_a_lost_answer_makes_one_inbound(version: Version) -> None:
    for fault in (Fault.UNANSWERED, Fault.DELAYED, Fault.LATE, Fault.LOST, Fault.TWICE):
        world = worlds.inbound_missing(version)
        effects = world.copy().turn().effects
        add = next(
            n
            for n, e in enumerate(effects)
            if isinstance(e, fx.Write) and e.verb is fx.Verb.ADD_INBOUND
        )

        world.turn(faults={add: fault})
        world.pass_time(61)
        for _ in range(3):
            world.turn()

        assert [20443] == [i.port for i in world.panel.inbounds.values() if i.port != VLESS.port]
        assert 2 == len(emails_on(world, 2))


@VERSIONS
@pytest.mark.promise("S2")
def test_a_wiped_panel_that_a_person_accepts_gets_its_inbound_and_waits_with_its_clients(
    version: Version,
) -> None:
    """Nothing returns by itself; accepted, the listener is made, and its clients wait for a word."""
    world = worlds.only_declared(version)
    before = secrets_on(world)

    lose_everything(world)
    alone = [world.turn() for _ in range(3)]
    stalled = reasons(world)
    people.ask(world.store, world.panel.node, RequestKind.REBIND)
    accepted = world.turn()
    waits = reasons(world), secrets_on(world)
    people.approve(world.store, world.panel.node, world.clock.now)
    settle(world)

    assert [[], [], []] == [verbs(turn) for turn in alone]
    assert "IdentityChanged" in stalled
    assert ["add-inbound"] == verbs(accepted)
    assert () == world.store.nodes[world.panel.node].requests
    assert ({"ShrunkObservation"}, []) == waits
    assert (before, set()) == (secrets_on(world), reasons(world))


@VERSIONS
def test_nobody_makes_inbounds_on_an_empty_panel_that_nobody_accepted(version: Version) -> None:
    """A rematch is no acceptance: the ones that keys live on stay bound while the panel shows none."""
    world = worlds.only_declared(version)
    bound = world.store.nodes[world.panel.node].bound

    lose_everything(world)
    people.ask(world.store, world.panel.node, RequestKind.REMATCH)
    turns = [world.turn() for _ in range(3)]

    assert [[], [], []] == [verbs(turn) for turn in turns]
    assert bound == world.store.nodes[world.panel.node].bound
