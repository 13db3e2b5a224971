"""Looking at simulated panels of every family: what a look costs, what it shows, what spoils it."""

import asyncio

import pytest

from controller.core.effects import Verb
from controller.core.features import Family
from controller.core.observed import NotObserved, NotSeen, XrayState
from controller.panels.panel import Panel, PanelPool
from simulator import by_hand
from simulator.app import PanelOptions
from tests.contract.panels.listeners import LISTENERS, SS_LEGACY, TROJAN, VLESS, VLESS_WS, Listener
from tests.contract.panels.stage import (
    EVERYWHERE,
    GIB,
    NEW,
    OLD,
    VALID_UNTIL_MS,
    VERSIONS,
    make_record,
    make_target,
    params,
    simulated,
    stage,
)

UUID = "2b0c9d0e-5a3f-4d7b-9c1e-0f6a8b7c5d4e"
LIST = "GET /panel/api/inbounds/list"
THREE = [
    "GET /panel/api/server/status",
    "GET /panel/api/inbounds/list/slim",
    "GET /panel/api/clients/list",
]


@pytest.mark.parametrize("version", params(OLD))
async def test_up_to_3_0_2_a_look_is_one_get(version: str) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        scene.forget()

        look = await scene.look()

        assert [LIST] == scene.requests()
        assert 1 == look.requests
        assert 0 < look.received_bytes


@pytest.mark.parametrize("version", params(NEW))
async def test_from_3_1_0_a_look_is_three_gets(version: str) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        scene.forget()

        look = await scene.look()

        assert THREE == scene.requests()
        assert 3 == look.requests


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_what_identifies_an_inbound_and_what_its_clients_need_is_seen(version: str) -> None:
    async with stage(version) as scene:
        there = [listener for listener in LISTENERS if scene.number >= listener.oldest]
        for listener in there:
            await scene.add(listener)

        look = await scene.look()

        seen = [(i.id, i.protocol, i.port, i.method, i.password_bytes) for i in look.inbounds]
        expected = [
            (
                scene.inbounds[listener.name],
                listener.protocol,
                scene.ports[listener.name],
                listener.settings.get("method", ""),
                {"ss-2022-16": 16, "ss-2022-32": 32}.get(listener.name),
            )
            for listener in there
        ]
        assert expected == seen
        assert all(inbound.enable and inbound.carries_clients for inbound in look.inbounds)
        assert ("tcp", "reality") == (look.inbounds[0].network, look.inbounds[0].security)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("version", "listener"), EVERYWHERE)
async def test_a_client_is_seen_as_it_was_written(version: str, listener: Listener) -> None:
    async with stage(version, listener) as scene:
        record = make_record(1, listener, scene.inbounds[listener.name])
        await scene.create(record)

        client = await scene.client(record.email)

        credential = {
            "vless": ("uuid",),
            "vmess": ("uuid",),
            "trojan": ("password",),
            "shadowsocks": ("password",),
            "hysteria2": ("auth",),
        }[record.protocol]
        written = ("email", "inbound_ids", "sub_id", "flow", "enable", "limit_ip", *credential)
        assert [getattr(record, n) for n in written] == [getattr(client, n) for n in written]
        assert (VALID_UNTIL_MS, 5 * GIB) == (client.expiry_ms, client.total_bytes)
        assert (0, 0, 0, 0) == (client.tg_id, client.reset, client.up_bytes, client.down_bytes)
        assert record.email == client.raw["email"]


@pytest.mark.parametrize("version", simulated(VERSIONS))
async def test_counters_come_from_the_traffic_row(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        scene.simulated.background.count(record.email, 1_000, 2_000)

        client = await scene.client(record.email)

        assert (1_000, 2_000) == (client.up_bytes, client.down_bytes)


@pytest.mark.parametrize("version", simulated(VERSIONS))
async def test_limits_are_those_that_the_panel_enforces(version: str) -> None:
    """A row that survived an earlier client of the same email keeps that one's limits."""
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        row = scene.simulated.state.traffic.get(record.email)
        row.total, row.expiry_ms = 7, 1_900_000_000_000
        scene.simulated.touch()

        client = await scene.client(record.email)

        assert (7, 1_900_000_000_000) == (client.total_bytes, client.expiry_ms)


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_a_negative_expiry_is_passed_on(version: str) -> None:
    """It means a term that begins with the first use."""
    async with stage(version, VLESS) as scene:
        client = {"id": UUID, "email": "x3f-hand-first-use", "subId": "x3f-hand"}
        waiting = client | {"expiryTime": -2_592_000_000}
        await scene.hand.add_client(scene.inbounds["vless"], waiting)

        assert -2_592_000_000 == (await scene.client("x3f-hand-first-use")).expiry_ms


@pytest.mark.parametrize("version", params(NEW))
async def test_one_record_shows_all_its_inbounds_in_order(version: str) -> None:
    async with stage(version, VLESS, VLESS_WS) as scene:
        both = (scene.inbounds["vless-ws"], scene.inbounds["vless"])
        record = make_record(1, VLESS, *both, flow="")
        await scene.create(record)

        assert tuple(sorted(both)) == (await scene.client(record.email)).inbound_ids


@pytest.mark.parametrize("version", params(NEW))
async def test_a_record_that_is_attached_nowhere_is_seen(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        await scene.write(Verb.DETACH, record)

        look = await scene.look()

        assert [(record.email, ())] == [(c.email, c.inbound_ids) for c in look.clients]
        assert not look.torn


async def test_clients_come_in_one_order_whatever_the_panel_answers() -> None:
    async with stage("2.9.4", VLESS, TROJAN) as scene:
        for number in (3, 1, 2):
            listener, name = (TROJAN, "trojan") if number == 1 else (VLESS, "vless")
            await scene.create(make_record(number, listener, scene.inbounds[name]))

        emails = [client.email for client in (await scene.look()).clients]

        assert sorted(emails) == emails


@pytest.mark.parametrize("version", ["3.1.0", "3.2.8", "3.6.0"])
async def test_a_torn_list_is_read_again_before_it_is_called_torn(version: str) -> None:
    """The inbound holds a client that the record list shows attached nowhere."""
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        await scene.look()
        scene.simulated.state.links.clear()
        scene.simulated.touch()
        scene.forget()

        look = await scene.look()

        assert look.torn
        assert 5 == look.requests
        assert [*THREE, *THREE[1:]] == scene.requests()


async def test_two_looks_at_a_panel_in_peace_are_equal() -> None:
    async with stage("3.6.0", VLESS) as scene:
        await scene.create(make_record(1, VLESS, scene.inbounds["vless"]))

        first, second = await scene.look(), await scene.look()

        assert first.clients == second.clients
        assert first.inbounds == second.inbounds


async def test_settings_are_kept_for_links_without_the_clients() -> None:
    async with stage("2.9.4", SS_LEGACY) as old, stage("3.6.0", SS_LEGACY) as new:
        for scene in (old, new):
            await scene.create(make_record(1, SS_LEGACY, scene.inbounds["ss-legacy"]))

            inbound = (await scene.look()).inbounds[0]

            assert '"password":"server"' in inbound.settings
            assert "x3f-key" not in inbound.settings
            assert '"network":"tcp"' in inbound.stream


async def test_single_user_shadowsocks_carries_no_clients() -> None:
    async with stage("3.6.0") as scene:
        method = "2022-blake3-chacha20-poly1305"
        by_hand.add_inbound(
            scene.simulated,
            {"protocol": "shadowsocks", "port": 20_001, "settings": {"method": method}},
        )

        assert [False] == [i.carries_clients for i in (await scene.look()).inbounds]


@pytest.mark.parametrize(
    ("version", "protocol"),
    [("2.9.4", "wireguard"), ("3.6.0", "wireguard"), ("3.6.0", "mtproto"), ("2.9.4", "http")],
)
async def test_other_protocols_are_shown_and_carry_none_of_ours(
    version: str, protocol: str
) -> None:
    async with stage(version) as scene:
        by_hand.add_inbound(scene.simulated, {"protocol": protocol, "port": 20_001})

        look = await scene.look()

        assert [(protocol, False)] == [(i.protocol, i.carries_clients) for i in look.inbounds]


@pytest.mark.parametrize("version", ["2.9.4", "3.6.0"])
async def test_a_foreign_client_full_of_nonsense_hides_nobody(version: str) -> None:
    async with stage(version, VLESS) as scene:
        inbound = scene.inbounds["vless"]
        await scene.create(make_record(1, VLESS, inbound))
        nonsense = {"id": "u", "email": "odd", "subId": 5, "limitIp": "many", "tgId": "777"}
        by_hand.add_client(scene.simulated, inbound, nonsense)

        emails = [client.email for client in (await scene.look()).clients]

        assert ["odd", "x3f-key0000001-g1"] == emails


async def test_settings_that_cannot_be_read_are_no_proof_of_absence() -> None:
    async with stage("2.9.4", VLESS) as scene:
        inbound = scene.simulated.state.inbounds[scene.inbounds["vless"]]
        inbound.settings = type(inbound.settings)('{"clients": [')
        scene.simulated.touch()

        look = await scene.panel.observe()

        assert isinstance(look, NotObserved)
        assert NotSeen.CONTRACT_BROKEN is look.reason
        assert f"inbound {inbound.id} (vless)" in look.message


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", XrayState.RUNNING), ("stop", XrayState.STOP), ("error", XrayState.ERROR)],
)
async def test_xray_is_seen_from_3_1_0_on(state: str, expected: XrayState) -> None:
    options = PanelOptions(xray_state=state)
    async with stage("3.6.0", options=options) as new, stage("3.0.2", options=options) as old:
        assert expected is (await new.look()).xray
        assert XrayState.UNKNOWN is (await old.look()).xray


async def test_the_panels_clock_is_compared_with_ours() -> None:
    async with stage("3.6.0") as scene:
        scene.simulated.clock.advance(3_600)

        skew = (await scene.look()).clock_skew

        assert skew is not None
        assert 3_590 < skew.total_seconds() < 3_610


@pytest.mark.parametrize(("before", "after"), [("2.9.4", "3.6.0"), ("3.0.2", "3.2.8")])
async def test_a_panel_upgraded_under_us_is_spoken_to_in_its_new_dialect(
    before: str, after: str
) -> None:
    async with stage(before, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        first = await scene.look()
        scene.simulated.upgrade(after)
        scene.version = after

        second = await scene.look()

        assert first.features.family in (Family.V2, Family.V30)
        assert (Family.V31, after) == (second.features.family, second.version)
        assert [c.email for c in first.clients] == [c.email for c in second.clients]


async def test_an_upgrade_within_a_family_is_noticed_too() -> None:
    async with stage("3.2.8", VLESS) as scene:
        await scene.look()
        scene.simulated.upgrade("3.6.0")
        await scene.look()  # a panel that has just started does not tell its version yet
        scene.simulated.clock.advance(10)

        look = await scene.look()

        assert ("3.6.0", True) == (look.version, look.features.bulk_enable)


@pytest.mark.parametrize(
    ("version", "fault", "reason"),
    [
        ("2.9.4", "empty_200", NotSeen.BUSY),
        ("2.9.4", "null_obj", NotSeen.BUSY),
        ("2.9.4", "truncated", NotSeen.BUSY),
        ("3.6.0", "error_500", NotSeen.BUSY),
        ("3.6.0", "null_obj", NotSeen.BUSY),
        ("3.6.0", "truncated", NotSeen.BUSY),
        ("3.6.0", "bad_gateway_502", NotSeen.BUSY),
    ],
)
async def test_a_list_that_says_nothing_is_no_observation(
    version: str, fault: str, reason: NotSeen
) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        scene.simulated.faults.arm({"kind": fault, "path": "/list", "count": None})

        look = await scene.panel.observe()

        assert isinstance(look, NotObserved)
        assert reason is look.reason


async def test_refused_credentials_are_tried_once() -> None:
    async with stage("3.6.0", served=True) as scene:
        panel = Panel(make_target(scene.target.url, password="wrong"))
        looks = [await panel.observe(), await panel.observe()]
        await panel.close()

        assert [NotSeen.CREDENTIALS_REFUSED] * 2 == [look.reason for look in looks]  # type: ignore[union-attr]
        assert 1 == sum(line.path == "/login" for line in scene.simulated.log)


async def test_a_target_that_cannot_work_is_said_before_any_request() -> None:
    panel = Panel(make_target("ftp://127.0.0.1/"))

    look = await panel.observe()

    assert isinstance(look, NotObserved)
    assert NotSeen.NOT_CONFIGURED is look.reason
    assert "panel.url" in look.message


async def test_a_panel_that_is_gone_is_unreachable() -> None:
    async with stage("3.6.0", served=True) as scene:
        target = scene.target
    panel = Panel(target)

    look = await panel.observe()
    await panel.close()

    assert isinstance(look, NotObserved)
    assert NotSeen.UNREACHABLE is look.reason


async def test_the_pool_keeps_a_panel_until_it_is_reached_otherwise() -> None:
    async with stage("2.9.4", VLESS, served=True) as scene:
        pool = PanelPool()
        first = await pool.panel(scene.target)
        again = await pool.panel(make_target(scene.target.url))
        changed = await pool.panel(make_target(scene.target.url, password="other"))
        await pool.close()

        assert first is again
        assert changed is not first
        assert await pool.panel(scene.target) not in (first, changed)
        await pool.close()


async def test_a_large_list_is_decoded_beside_the_event_loop() -> None:
    """While one node's 4,000 clients are decoded, other tasks of this process go on."""
    async with stage("2.9.4", VLESS) as scene:
        inbound = scene.inbounds["vless"]
        await scene.create(*(make_record(n, VLESS, inbound) for n in range(4_000)))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        look = await scene.look()
        task.cancel()

        assert 4_000 == len(look.clients)
        assert turns > 0
