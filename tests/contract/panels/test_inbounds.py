"""Declared inbounds on panels of every family: made, changed under their clients, deleted."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from controller.core.effects import InboundWrite, Outcome, Verb, Verdict, Write
from controller.core.inbound_facts import declared_document, differing, seen_document
from controller.core.observed import ObservedClient, ObservedInbound
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import InboundSpec, Reality
from simulator import by_hand
from simulator.app import PanelOptions
from tests.contract.panels.listeners import VLESS, VMESS, Listener
from tests.contract.panels.stage import (
    REMARK,
    SIMULATED,
    VERSIONS,
    Stage,
    make_record,
    number_of,
    params,
    simulated,
    stage,
    versions,
)

FRONT = Listener("front", "vless", security="reality")
SHADOW = Listener("shadow", "shadowsocks", method="")


def declare(**changes: Any) -> InboundSpec:
    """Make a declaration, on a port that nobody has."""
    values: dict[str, Any] = {
        "name": InboundName("front"),
        "protocol": "vless",
        "port": random.randrange(30_000, 60_000),
        "tag": "x3f-contract-front",
        "remark": f"{REMARK}-declared",
        "reality": Reality("www.example.org:443", ("www.example.org",), short_ids=2),
    }
    return InboundSpec(**(values | changes))


SHADOWSOCKS = {"reality": None, "protocol": "shadowsocks", "method": "2022-blake3-aes-256-gcm"}
PLAIN_WS = {"reality": None, "protocol": "vmess", "network": "ws", "path": "/in"}


async def write(scene: Stage, verb: Verb, change: InboundWrite) -> Outcome:
    return await scene.panel.act(Write(scene.target, verb, (), inbound=change))


async def add(scene: Stage, spec: InboundSpec) -> ObservedInbound:
    """Add it and find it by its port."""
    await scene.panel.observe()
    outcome = await write(scene, Verb.ADD_INBOUND, InboundWrite(spec))
    assert Verdict.APPLIED is outcome.verdict, outcome.cause
    listed = await scene.hand.inbounds()
    made = next(one for one in listed if one["port"] == spec.port)
    scene.inbounds[spec.name] = InboundId(made["id"])
    return await seen(scene, spec.name)


async def seen(scene: Stage, name: str) -> ObservedInbound:
    look = await scene.look()
    return next(one for one in look.inbounds if one.id == scene.inbounds[name])


async def clients_on(scene: Stage, inbound: ObservedInbound) -> list[ObservedClient]:
    """Every client that is on it, as served: traffic and identity of rows apart."""
    look = await scene.look()
    return [c for c in look.clients if inbound.id in c.inbound_ids]


def keys_of(inbound: ObservedInbound) -> Any:
    held = json.loads(inbound.stream)["realitySettings"]
    return held["privateKey"], held["settings"]["publicKey"], held["shortIds"]


@pytest.mark.parametrize("version", params(VERSIONS))
@pytest.mark.parametrize("changes", [{}, SHADOWSOCKS, PLAIN_WS], ids=["reality", "ss", "ws"])
async def test_what_is_added_is_seen_as_it_was_declared(
    version: str, changes: dict[str, Any]
) -> None:
    spec = declare(sniffing=("http", "tls"), **changes)
    async with stage(version) as scene:
        made = await add(scene, spec)

        assert () == differing(declared_document(spec), seen_document(made))
        assert (spec.protocol, spec.method, True) == (
            made.protocol, made.method, made.carries_clients,
        )  # fmt: skip


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_a_changed_inbound_keeps_its_clients_and_the_keys_of_its_server(
    version: str,
) -> None:
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        await scene.create(*(make_record(n, VLESS, made.id) for n in (1, 2)))
        await scene.hand.add_client(made.id, guest(version))
        before = await clients_on(scene, made)
        other = replace(
            spec, port=spec.port + 1, remark=f"{REMARK}-moved",
            reality=Reality("www.example.net:443", ("www.example.net",)),
        )  # fmt: skip

        outcome = await write(scene, Verb.EDIT_INBOUND, InboundWrite(other, made))
        moved = await seen(scene, spec.name)

        assert Verdict.APPLIED is outcome.verdict, outcome.cause
        assert () == differing(declared_document(other), seen_document(moved))
        assert (3, before) == (len(before), await clients_on(scene, moved))
        assert keys_of(made) == keys_of(moved)
        assert (43, 43, 2) == (len(keys_of(made)[0]), len(keys_of(made)[1]), len(keys_of(made)[2]))


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_an_inbound_goes_only_without_clients(version: str) -> None:
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        record = make_record(1, VLESS, made.id)
        await scene.create(record)

        kept = await write(scene, Verb.DROP_INBOUND, InboundWrite(spec, made))
        still = [one.id for one in (await scene.look()).inbounds]
        allowed = frozenset({record.email.lower()})
        gone = await write(scene, Verb.DROP_INBOUND, InboundWrite(spec, made, allowed))
        left = [one.id for one in (await scene.look()).inbounds]
        del scene.inbounds[spec.name]

        assert (Verdict.REJECTED, Verdict.APPLIED) == (kept.verdict, gone.verdict)
        assert (True, False) == (made.id in still, made.id in left)


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_an_inbound_that_is_another_one_by_now_is_not_written(version: str) -> None:
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        once = replace(made, port=made.port + 7)

        edited = await write(scene, Verb.EDIT_INBOUND, InboundWrite(spec, once))
        dropped = await write(scene, Verb.DROP_INBOUND, InboundWrite(spec, once))

        assert [Verdict.REJECTED] * 2 == [edited.verdict, dropped.verdict]
        assert made == await seen(scene, spec.name)


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_a_taken_port_is_refused_in_the_panels_words(version: str) -> None:
    async with stage(version, VMESS) as scene:
        spec = declare(port=scene.ports["vmess"])
        await scene.look()

        outcome = await write(scene, Verb.ADD_INBOUND, InboundWrite(spec))

        assert Verdict.REJECTED is outcome.verdict
        assert str(spec.port) in outcome.cause


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_quirk_tag_follows_port(version: str) -> None:
    """Up to 2.9.4 every tag is made of the port, on 3.0.0 with every update; later what is given is kept."""
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        other = replace(spec, port=spec.port + 1)
        await write(scene, Verb.EDIT_INBOUND, InboundWrite(other, made))
        moved = await seen(scene, spec.name)

        number, made_of = number_of(version), f"inbound-{spec.port}"
        assert (made_of if number < (3, 0, 0) else spec.tag) == made.tag
        assert (f"inbound-{other.port}" if number < (3, 0, 1) else spec.tag) == moved.tag


@pytest.mark.parametrize("version", params(simulated(versions("3.0.0"))))
async def test_quirk_entries_overwrite(version: str) -> None:
    """Who was switched off by its row, as on quota, is not switched on by a change of its inbound."""
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        await scene.hand.add_client(made.id, guest(version))
        row = scene.simulated.state.traffic.get("visitor")
        assert row is not None
        row.enable, row.total = False, 77
        scene.simulated.touch()
        before = await clients_on(scene, made)

        other = replace(spec, port=spec.port + 1)
        await write(scene, Verb.EDIT_INBOUND, InboundWrite(other, made))

        assert [(False, 77)] == [(c.enable, c.total_bytes) for c in before]
        after = await clients_on(scene, await seen(scene, spec.name))
        assert before == after


@pytest.mark.parametrize("version", params(simulated(versions("3.1.0"))))
async def test_nothing_is_sent_where_the_panels_two_lists_of_clients_disagree(
    version: str,
) -> None:
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        await scene.hand.add_client(made.id, guest(version))
        inbound = scene.simulated.state.inbounds[int(made.id)]
        inbound.settings.keep(lambda entry: entry.email != "visitor")
        scene.simulated.touch()

        outcome = await write(
            scene, Verb.EDIT_INBOUND, InboundWrite(replace(spec, port=spec.port + 1), made)
        )

        assert Verdict.REJECTED is outcome.verdict
        assert ["visitor"] == [c.email for c in await clients_on(scene, made)]


@pytest.mark.parametrize("version", SIMULATED)
async def test_a_panel_without_xray_makes_no_keys_and_nothing_is_added(version: str) -> None:
    async with stage(version, options=PanelOptions(xray_state="error")) as scene:
        await scene.look()

        outcome = await write(scene, Verb.ADD_INBOUND, InboundWrite(declare()))

        assert Verdict.REJECTED is outcome.verdict
        assert [] == await scene.hand.inbounds()


@pytest.mark.parametrize("version", ["2.9.4", "3.6.0"])
async def test_no_key_of_a_server_shows_in_an_outcome_or_in_what_holds_it(version: str) -> None:
    spec = declare()
    async with stage(version) as scene:
        made = await add(scene, spec)
        private = keys_of(made)[0]
        change = InboundWrite(replace(spec, port=spec.port + 1), made)
        # A panel that repeats what it was asked with.
        by_hand.change_inbound(scene.simulated, int(made.id), {"remark": "another"})

        outcome = await write(scene, Verb.EDIT_INBOUND, change)

        assert Verdict.REJECTED is outcome.verdict
        assert private not in repr((outcome, change, made))


def guest(version: str) -> dict[str, Any]:
    """A client that has nothing to do with us."""
    return {
        "email": "visitor",
        "id": "0b6f0f0a-1111-4222-8333-444455556666",
        "enable": True,
        "limitIp": 2,
        "totalGB": 0,
        "expiryTime": 0,
        "subId": "visitor-sub-1",
        "flow": "",
        "tgId": 0 if number_of(version) >= (2, 4, 2) else "",
        "reset": 0,
    }
