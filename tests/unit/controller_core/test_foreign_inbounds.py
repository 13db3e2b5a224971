"""Somebody's own inbound in the place of a declared one: it is neither rewritten nor deleted."""

import json
from dataclasses import replace

import pytest

from controller.core.features import Version
from controller.core.observed import ObservedInbound
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import InboundDeletion, InboundState
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.inbound_scenarios import FRONT, declare, settled_front
from tests.faults.safety import Safety
from tests.faults.scenarios import V29, V32, V36
from tests.unit.controller_core.test_declared import ROW, SPEC, as_seen, desired_with, standing

FRONT_NAME = InboundName("front")


def replaced_by_hand(version: Version, tag: str) -> tuple[World, ObservedInbound]:
    """Let a person delete the declared inbound and make one of their own at its port, under its id."""
    world = settled_front(version)
    world.panel.delete_by_hand("visitor2")
    world.panel.remove_inbound(InboundId(2))
    world.panel.own_inbounds -= {InboundId(2)}
    theirs = ObservedInbound(
        id=InboundId(2), protocol="vless", port=FRONT.port, tag=tag, remark="grandma",
        network="ws", security="none", stream=json.dumps({"network": "ws", "security": "none"}),
    )  # fmt: skip
    world.panel.set_inbound(theirs)
    world.watch = Safety()
    return world, theirs


def rounds(world: World, count: int = 4) -> None:
    for _ in range(count):
        world.round()


@pytest.mark.parametrize("tag", [f"inbound-{FRONT.port}", f"in-{FRONT.port}-tcp"])
def test_a_tag_that_the_panel_made_of_the_port_makes_nobody_elses_inbound_ours(tag: str) -> None:
    world, theirs = replaced_by_hand(V29, tag)

    rounds(world)

    assert theirs == world.panel.inbounds[theirs.id]
    assert "InboundPortTaken" == world.store.managed[NL, FRONT_NAME].reason


def test_an_empty_inbound_of_somebody_else_is_not_deleted_with_the_declaration() -> None:
    world, theirs = replaced_by_hand(V29, f"inbound-{FRONT.port}")
    declare(world, leaving=True)

    rounds(world, 6)

    assert theirs == world.panel.inbounds[theirs.id]
    assert (NL, FRONT_NAME) not in world.store.managed


def test_a_declared_tag_that_panels_make_proves_nothing_either() -> None:
    spec = replace(SPEC, tag="inbound-443")
    mine, theirs = as_seen(spec), as_seen(spec, remark="theirs")

    assert mine == standing(desired_with(spec=spec), mine).seen
    assert (None, "InboundTagTaken") == (
        standing(desired_with(spec=spec), theirs).seen,
        standing(desired_with(spec=spec), theirs).reason,
    )


def test_a_remark_edited_by_hand_does_not_lose_an_inbound_whose_tag_is_its_own() -> None:
    edited = as_seen(remark="edited by hand")

    assert edited == standing(desired_with(ROW), edited).seen


@pytest.mark.parametrize("version", [V29, V32, V36])
def test_ids_of_the_panel_before_are_nothing_to_go_by_once_another_one_is_accepted(
    version: Version,
) -> None:
    """Its neighbour was made by somebody else, under the same id, and has the remark of ours."""
    world = settled_front(version)
    world.panel.delete_by_hand("visitor2")
    world.panel.remove_inbound(InboundId(2))
    world.panel.own_inbounds -= {InboundId(2)}
    theirs = ObservedInbound(
        id=InboundId(2), protocol="vless", port=33333, tag="theirs", remark=FRONT.remark,
        network="tcp", security="none", stream=json.dumps({"network": "tcp", "security": "none"}),
    )  # fmt: skip
    world.panel.set_inbound(theirs)
    world.watch = Safety()
    people.ask(world.store, NL, RequestKind.REBIND)

    rounds(world)

    row = world.store.managed[NL, FRONT_NAME]
    assert theirs == world.panel.inbounds[theirs.id]
    assert (InboundState.LIVE, FRONT.port, True) == (
        row.state,
        row.port,
        row.inbound_id != theirs.id,
    )
    assert () == world.store.nodes[NL].requests


@pytest.mark.parametrize("version", [V29, V32, V36])
def test_a_panel_accepted_anew_that_has_the_inbound_keeps_it_and_whoever_is_on_it(
    version: Version,
) -> None:
    world = settled_front(version)
    before = dict(world.panel.inbounds)
    people.ask(world.store, NL, RequestKind.REBIND)

    rounds(world)

    assert before == world.panel.inbounds
    assert InboundId(2) == world.store.managed[NL, FRONT_NAME].inbound_id
    assert 0 == sum(world.panel.added.values()) + sum(world.panel.deleted.values())


def test_what_is_to_go_still_goes_from_a_panel_that_is_accepted_anew() -> None:
    world = settled_front(V36)
    world.panel.delete_by_hand("visitor2")
    declare(world, replace(FRONT, deletion_policy=InboundDeletion.DELETE), leaving=True)
    people.ask(world.store, NL, RequestKind.REBIND)

    rounds(world, 6)

    assert InboundId(2) not in world.panel.inbounds
    assert (NL, FRONT_NAME) not in world.store.managed
