"""Two declarations and one inbound: one of them has it, and the other changes and deletes nothing there."""

from dataclasses import replace

import pytest

from controller.core.features import Version
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import InboundDeletion, InboundState, Reality
from tests.fakes.panel import FakePanel
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.inbound_scenarios import FRONT, declare, guest, settled_front
from tests.faults.safety import Safety
from tests.faults.scenarios import V29, V30, V36
from tests.faults.settling import settle

EDGE = replace(FRONT, name=InboundName("edge"))
OTHER = replace(EDGE, reality=Reality("www.example.net:443", ("www.example.net",)))


def without_keys(version: Version) -> World:
    world = World.of(FakePanel.of(version))
    declare(world)
    return settle(world)


def rename(world: World, **changes: object) -> World:
    """Let the document vanish and come back under another name, in one apply."""
    declare(world, replace(FRONT, **changes), leaving=True)
    declare(world, replace(EDGE, **changes))
    return world


def rounds(world: World, count: int = 5) -> None:
    world.watch = Safety()
    for _ in range(count):
        world.round()


@pytest.mark.parametrize("version", [V29, V30, V36])
@pytest.mark.parametrize("make", [settled_front, without_keys])
@pytest.mark.parametrize("policy", InboundDeletion)
def test_a_renamed_document_hands_its_inbound_over_with_whoever_is_on_it(
    version: Version, make: object, policy: InboundDeletion
) -> None:
    world = make(version)  # type: ignore[operator]
    inbounds, clients = dict(world.panel.inbounds), dict(world.panel.entries)
    mine = next(i for i, one in inbounds.items() if one.port == FRONT.port)

    rounds(rename(world, deletion_policy=policy))

    assert (inbounds, clients) == (world.panel.inbounds, world.panel.entries)
    assert {(NL, EDGE.name)} == set(world.store.managed)
    row = world.store.managed[NL, EDGE.name]
    assert (InboundState.LIVE, mine) == (row.state, row.inbound_id)
    assert 0 == sum((world.panel.dropped + world.panel.deleted + world.panel.updated).values())


@pytest.mark.parametrize("version", [V29, V36])
def test_two_declarations_of_one_tag_do_not_rewrite_it_in_turns(version: Version) -> None:
    world = settled_front(version)
    before = dict(world.panel.inbounds)
    declare(world, OTHER)

    rounds(world, 2)
    written = world.writes()
    rounds(world, 2)

    assert (before, written) == (world.panel.inbounds, world.writes())
    shown = {name: (row.state, row.reason) for (_, name), row in world.store.managed.items()}
    assert {
        FRONT.name: (InboundState.LIVE, ""),
        EDGE.name: (InboundState.REFUSED, "InboundTagTaken"),
    } == shown


def test_of_two_that_record_one_inbound_one_keeps_it_and_the_other_may_be_declared_anew() -> None:
    world = settled_front(V36)
    row = world.store.managed[NL, FRONT.name]
    declare(world, OTHER)
    world.store.managed[NL, EDGE.name] = replace(row, name=EDGE.name)

    rounds(world)
    kept = {name: r.inbound_id for (_, name), r in world.store.managed.items()}
    declare(world, replace(FRONT, port=20555, tag="x3f-anew", remark="x3f-anew"))
    rounds(world)

    assert {EDGE.name: InboundId(2), FRONT.name: None} == kept
    assert [FRONT.port, 20555] == sorted(
        one.port for i, one in world.panel.inbounds.items() if i in world.panel.own_inbounds
    )


def test_what_leaves_is_not_dropped_while_a_declaration_in_force_has_it() -> None:
    """Also where the two were declared so by a release that did not refuse it."""
    world = without_keys(V36)
    row = world.store.managed[NL, FRONT.name]
    declare(world, EDGE)
    world.store.managed[NL, EDGE.name] = replace(row, name=EDGE.name)
    declare(world, leaving=True)

    rounds(world)

    assert row.inbound_id in world.panel.inbounds
    assert 0 == world.panel.dropped[FRONT.name]


def test_the_name_of_a_strangers_client_steers_nothing_that_is_recorded() -> None:
    world = settled_front(V36)
    world.panel.delete_by_hand("visitor2")
    world.panel.add_by_hand(replace(guest(2, 2), email="visi\x00tor2"))
    declare(world, leaving=True)

    rounds(world)

    row = world.store.managed[NL, FRONT.name]
    assert "InboundHoldsForeign" == row.reason
    assert "visi\\x00tor2" in row.message
