"""Health over real sockets: back-off that is kept, one cheap probe, recovery, Xray, certificates, clocks."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from sqlalchemy import select

from controller.core.conditions import ConditionType
from controller.panels.api.clock import SystemClock
from desired_state.model.ids import NodeName
from desired_state.model.node import Tls, TlsKind
from desired_state.model.policy import Policy
from desired_state.queries.fleet import node_summary
from desired_state.queries.key import show_key
from desired_state.store.tables.status import EventRow
from tests.integration.runtime.fleet import Wanted, open_fleet, status_of
from tests.integration.runtime.serving import EAGER, eventually, serving
from tests.unit.controller_panels_api.test_tls import server_context

ONE = NodeName("one")
VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
DEAD = {"kind": "lost_request", "path": ".*", "count": None}
KNOCK = ["GET /panel/api/server/status"]


@pytest.fixture(params=[pytest.param(v, marks=pytest.mark.sampled(3)) for v in VERSIONS])
async def fleet(request, tmp_path, monkeypatch):
    """One node with two keys in sync."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(request.param)) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        fleet.forget_requests()
        yield fleet


@pytest.fixture
async def new(tmp_path, monkeypatch):
    """One node of the newest version, with a key in sync."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue()
        await fleet.reconcile()
        fleet.forget_requests()
        yield fleet


def die(site):
    site.panel.faults.arm(DEAD)


def rise(site):
    site.panel.faults.clear()


async def told(fleet):
    """Events of the node's health, in order."""
    query = select(EventRow.name).where(EventRow.name.startswith("node_")).order_by(EventRow.id)
    async with fleet.controller.store.reading() as session:
        return list(await session.scalars(query))


def held(report):
    """Conditions of the one node that hold."""
    return {f"{c.type.value}/{c.reason}" for c in report.nodes[0].status.conditions if c.status}


# -- back-off ----------------------------------------------------------------------------------------


async def test_failures_and_the_next_try_are_stored_and_survive_a_restart(fleet):
    site = fleet["one"]
    die(site)
    await fleet.reconcile()
    before = await status_of(fleet, "one")

    async with fleet.reopened() as again:
        await again.reconcile()
        now = again.controller.clock.now()
        after = await status_of(again, "one")
        async with again.controller.store.reading() as session:
            shown = (await node_summary(session, ONE)).next_try(now)

    assert (1, 2) == (before.failures, after.failures)
    assert after.next_look_at <= now + timedelta(seconds=10)
    assert shown.endswith("after 2 failures")


async def test_a_node_that_failed_is_asked_one_cheap_thing_until_it_answers(fleet):
    """Not a login, not a list, and no repetition."""
    site = fleet["one"]
    die(site)
    await fleet.reconcile()
    fleet.forget_requests()
    async with fleet.reopened() as again:
        await again.reconcile()
        for_a_dead_one = site.log()
        rise(site)
        fleet.forget_requests()

        report = await again.reconcile()

    assert KNOCK == for_a_dead_one
    assert KNOCK == site.log()[:1]
    assert report.in_sync


@pytest.mark.parametrize("version", VERSIONS)
async def test_connected_and_recovered_are_two_things(tmp_path, monkeypatch, version):
    """The panel answers, and its writes get no answer: that is neither a recovery nor an outage."""
    hasty = Policy(unknown_create_wait_s=0)
    async with open_fleet(tmp_path, monkeypatch, policies=(hasty,), one=Wanted(version)) as fleet:
        site = fleet["one"]
        await fleet.issue()
        die(site)
        await fleet.reconcile()
        rise(site)
        site.panel.faults.arm(
            {"kind": "lost_request", "method": "POST", "path": "/panel/api/", "count": None}
        )
        half = await fleet.reconcile()
        between, status = await told(fleet), await status_of(fleet, "one")
        rise(site)
        for _ in range(3):
            whole = await fleet.reconcile()

        assert ["node_unreachable", "node_connected"] == between
        assert "Reconciling/Connected" in held(half)
        assert (1, None) == (status.failures, status.next_look_at)
        assert ["node_unreachable", "node_connected", "node_recovered"] == await told(fleet)
        assert {"Ready/InSync"} == held(whole)
        assert 0 == (await status_of(fleet, "one")).failures


async def test_a_node_that_flaps_is_not_ready_the_moment_it_answers(fleet):
    site = fleet["one"]
    for _ in range(2):
        die(site)
        await fleet.reconcile()
        rise(site)
        report = await fleet.reconcile()
    before = await fleet.database()

    again = await fleet.reconcile()

    assert {"Reconciling/Connected"} == held(report)
    assert held(report) == held(again)
    assert report.in_sync, "what it holds is as it should be, all the same"
    assert before == await fleet.database(), "waiting is not written down"


async def test_a_fleet_without_trouble_writes_nothing_and_asks_nothing_more(fleet):
    before = await fleet.database()

    await fleet.reconcile()

    assert before == await fleet.database()
    assert len(fleet["one"].log()) == (1 if fleet["one"].panel.version < (3, 1, 0) else 3)


async def test_a_service_leaves_a_dead_panel_alone_until_its_time_and_finds_it_back(new):
    """Whatever changes meanwhile; then it is probed, filled and recovered with nobody at the keyboard."""
    site = new["one"]
    async with serving(new, EAGER):
        await eventually(lambda: len(site.log()) > 3)
        die(site)
        await eventually(lambda: _failures(new, 2))
        await new.issue()
        rise(site)
        await eventually(lambda: len(site.ours()) == 2)
        await eventually(lambda: _failures(new, 0))

    assert ["node_unreachable", "node_connected", "node_recovered"] == await told(new)


async def _failures(fleet, wanted):
    return (await status_of(fleet, "one")).failures == wanted


async def test_a_key_on_a_dead_node_tells_the_failures_the_next_try_and_the_event(new):
    die(new["one"])
    (key,) = await new.issue(node="one")
    await new.reconcile()
    await new.reconcile()

    async with new.controller.store.reading() as session:
        detail = await show_key(session, key, new.controller.clock.now())
    (found,) = detail.nodes

    assert "journalled" == found.failed.value
    assert found.why.startswith("one is Unreachable/")
    assert found.next_try.endswith("after 2 failures")
    assert ("condition_came", found.why.split()[2].rstrip(":")) == (
        found.event.name,
        found.event.after,
    )


# -- the panel's server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "reason"), [("stop", "Drifted/XrayStopped"), ("error", "Drifted/XrayFailing")]
)
async def test_xray_that_does_not_run_is_a_condition_and_gets_no_new_keys(new, state, reason):
    new["one"].panel.xray_state = state

    down = await new.reconcile()
    await new.issue()
    refused = await new.reconcile()
    new["one"].panel.xray_state = "running"
    await new.reconcile()
    up = await new.reconcile()

    assert reason in held(down)
    assert not down.in_sync
    assert 1 == len(refused.unschedulable)
    assert {"Ready/InSync"} == held(up)
    assert 2 == len(new["one"].ours())


async def test_a_clock_that_is_wrong_is_named_and_written_once(tmp_path, monkeypatch):
    class LateClock(SystemClock):
        """Ours is eleven minutes behind."""

        def now(self):
            return super().now() - timedelta(minutes=11)

    async with open_fleet(tmp_path, monkeypatch, clock=LateClock(), one=Wanted("3.6.0")) as fleet:
        report = await fleet.reconcile()
        before = await fleet.database()
        await asyncio.sleep(1.1)
        await fleet.reconcile()

        assert before == await fleet.database()

    assert "Blocked/ClockSkew" in held(report)


@asynccontextmanager
async def behind_tls(site, days):
    """A door with TLS before a panel, whose certificate ends in so many days."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    certificate = trustme.CA().issue_cert("127.0.0.1", not_after=until)
    port = int(site.url.split(":")[2].split("/")[0])
    pumps = set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        for one in (pump(reader, inner_writer), pump(inner_reader, writer)):
            pumps.add(asyncio.create_task(one))

    door = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(certificate))
    async with door:
        yield f"https://127.0.0.1:{door.sockets[0].getsockname()[1]}/", until
    for task in pumps:
        task.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        (30, None),
        (10, "Drifted/CertificateExpiring"),
        (2, "Drifted/CertificateExpiringSoon"),
        (-1, "Drifted/CertificateExpired"),
    ],
)
async def test_a_certificate_near_its_end_is_a_warning_and_the_node_stays_ready(new, days, reason):
    async with behind_tls(new["one"], days) as (url, until):
        await new.declare("one", url=url, tls=Tls(TlsKind.OFF))

        report = await new.reconcile()
        before = await new.database()
        await new.reconcile()

        assert before == await new.database()
        assert {"Ready/InSync", reason} - {None} == held(report)
        assert report.in_sync
        assert until == (await status_of(new, "one")).certificate_until


async def test_a_certificate_that_ended_stops_a_verified_node_with_a_slow_probe(new):
    async with behind_tls(new["one"], -1) as (url, _):
        await new.declare("one", url=url, tls=Tls(TlsKind.VERIFY))

        report = await new.reconcile()

    status = await status_of(new, "one")
    left = status.next_look_at - new.controller.clock.now()
    assert "TlsMismatch" == report.nodes[0].status.find(ConditionType.STALLED).reason
    assert timedelta(minutes=13) < left < timedelta(minutes=17)
    assert ["node_stalled"] == await told(new)
