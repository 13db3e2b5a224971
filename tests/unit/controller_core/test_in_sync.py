"""In sync means: every key that is placed here and in force is served; whatever keeps one from it says so."""

from dataclasses import replace

import pytest

from controller.core.observed import ObservedInbound, XrayState
from desired_state.model.ids import InboundId
from tests.fakes import people
from tests.fakes.panel import VLESS
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.scenarios import V29, V36, email_of, marked, settled, stranger

SS32 = ObservedInbound(
    InboundId(4), "shadowsocks", 20004, tag="in-4",
    method="2022-blake3-aes-256-gcm", password_bytes=32,
)  # fmt: skip
SS16 = replace(SS32, method="2022-blake3-aes-128-gcm", password_bytes=16)


def taken():
    world = settled(V36, "a")
    world.panel.add_by_hand(replace(stranger(5), email=email_of(V36, "b")))
    people.want(world.store, "b")
    return world


def off():
    world = settled(V36, "a")
    world.panel.set_inbound(replace(VLESS, enable=False))
    return world


def off_with_a_new_key():
    world = off()
    people.want(world.store, "b")
    return world


def off_on_2x():
    world = settled(V29, "a")
    world.panel.set_inbound(replace(VLESS, enable=False))
    people.want(world.store, "b")
    return world


def gone():
    world = settled(V36, "ab")
    world.panel.remove_inbound(VLESS.id)
    return world


def bare():
    world = settled(V36, "")
    world.panel.set_inbound(replace(VLESS, protocol="http"))
    world.store.nodes[NL].bound = None
    people.want(world.store, "a")
    return world


def another_size():
    world = settled(V36, "a", SS32)
    world.panel.set_inbound(SS16)
    people.set_matches(world.store, NL)
    world.store.nodes[NL].match_digest = "another"
    return world


def without_xray():
    world = settled(V36, "a")
    world.panel.xray = XrayState.ERROR
    world.panel._changing()
    return world


def refused():
    world = settled(V36, "ab")
    world.panel.undeletable = frozenset({email_of(V36, "a")})
    people.unwant(world.store, "a")
    return world


DRIFTED = {
    "EmailTaken": taken,
    "InboundDisabled": off,
    "InboundDisabled, a new key": off_with_a_new_key,
    "InboundDisabled on 2.x": off_on_2x,
    "InboundMissing": gone,
    "NoInbounds": bare,
    "PasswordSize": another_size,
    "XrayFailing": without_xray,
    "DeleteRefused": refused,
}


@pytest.mark.parametrize(("name", "build"), DRIFTED.items(), ids=DRIFTED)
def test_a_node_that_drifted_is_not_in_sync(name, build):
    world = build()

    results = [world.turn().result for _ in range(5)]

    reasons = {c.reason for c in results[-1].status.conditions}
    assert name.split(",")[0].split(" ")[0] in reasons
    assert not results[-1].is_in_sync


def test_a_key_that_is_not_served_is_counted_whatever_the_reason():
    result = off_with_a_new_key().turn().result

    assert 1 == result.remaining.unserved


def quarantined():
    world = settled(V36, "a")
    world.panel.add_by_hand(marked(V36, "q"))
    return world


def with_a_stranger():
    world = settled(V36, "a")
    world.panel.add_by_hand(stranger())
    return world


def suspended():
    world = settled(V36, "ab")
    people.suspend(world.store, "a")
    return world


def empty():
    return World.of(settled(V36, "").panel)


@pytest.mark.parametrize("build", [quarantined, with_a_stranger, suspended, empty])
def test_a_node_that_serves_every_key_is_in_sync(build):
    """A warning or a key out of force is no drift."""
    world = build()

    results = [world.turn().result for _ in range(3)]

    assert results[-1].is_in_sync
    assert 0 == results[-1].remaining.unserved
