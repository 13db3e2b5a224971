"""What panels do that nobody expects, over the whole path: wanted keys are served, and each once."""

import os
import re
from datetime import datetime, timedelta

import pytest

from controller.panels.api.clock import SystemClock
from desired_state.commands import subscriptions
from desired_state.model.node import Match
from desired_state.model.policy import Policy
from tests.integration.runtime.fleet import Site, Wanted, open_fleet, status_of

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
FAMILIES = ("2.9.4", "3.0.2", "3.6.0")
SOON = (Policy(unknown_create_wait_s=0),)


def served(site: Site) -> dict[str, bool]:
    """Whether each generation of a key is served, by `key-g1`; up to 3.0.2 emails name the inbound too."""
    return {
        re.sub(r"^x3f-(.*?)(-i\d+)?$", r"\1", email): on for email, on in site.enabled().items()
    }


class MovedClock(SystemClock):
    """The machine's clock, moved on by days."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


@pytest.mark.parametrize("version", ["2.3.15", "2.9.4", "3.0.2"])
async def test_a_client_that_another_writer_wrote_over_is_created_after_all(
    tmp_path, monkeypatch, version
):
    """Up to 3.0.2 the panel answers success, and another writer's older copy takes it away."""
    async with open_fleet(tmp_path, monkeypatch, policies=SOON, one=Wanted(version)) as fleet:
        (before,) = await fleet.issue(1)
        await fleet.reconcile()
        keys = await fleet.issue(3)
        fleet["one"].panel.faults.arm({"kind": "lost_parallel_write", "method": "POST"})

        for _ in range(3):
            report = await fleet.reconcile()

        assert {f"{key}-g1": True for key in (before, *keys)} == served(fleet["one"])
        assert report.in_sync


async def _rotate_one_whose_row_gets_lost(tmp_path, monkeypatch, version, protocol):
    """Rotate two keys while the first delete meets a locked database; tell where that leads to."""
    wanted = Wanted(version, inbounds=({"protocol": protocol},))
    async with open_fleet(tmp_path, monkeypatch, policies=SOON, one=wanted) as fleet:
        keys = await fleet.issue(2)
        await fleet.reconcile()
        for key in keys:
            await fleet.rotate(key)
        site = fleet["one"]
        site.panel.faults.arm({"kind": "database_locked", "path": "delClient"})
        for _ in range(6):
            report = await fleet.reconcile()
        emails = [e.email for i in site.panel.state.inbounds.values() for e in i.settings.clients]
        # A placeholder is no key: versions without comments do not say which client it is.
        ours = {n: on for n, on in served(site).items() if n.startswith(tuple(keys))}
        return keys, ours, emails, report


@pytest.mark.quirk("row-lost-in-delete")
@pytest.mark.parametrize("protocol", ["vless", "trojan"])
@pytest.mark.parametrize("version", ["2.3.15", "2.9.4", "3.0.2"])
async def test_quirk_row_lost_in_delete(tmp_path, monkeypatch, version, protocol):
    """Up to 3.0.2 a delete that was cut short leaves a client that serves on and cannot be deleted."""
    keys, clients, emails, report = await _rotate_one_whose_row_gets_lost(
        tmp_path, monkeypatch, version, protocol
    )

    assert {f"{key}-g2": True for key in keys} == clients
    assert all(emails)
    assert report.in_sync


@pytest.mark.parametrize("version", ["2.3.15", "2.9.4", "3.0.2"])
async def test_a_shadowsocks_client_that_cannot_be_deleted_serves_nobody_and_stays_a_debt(
    tmp_path, monkeypatch, version
):
    """It has no key but its email: nothing takes it away, and its successor waits."""
    keys, clients, _, report = await _rotate_one_whose_row_gets_lost(
        tmp_path, monkeypatch, version, "shadowsocks"
    )

    stuck = min(keys)
    assert {f"{stuck}-g1": False, f"{max(keys)}-g2": True} == clients
    assert "DeleteRefused" in str(report)


EMPTIED = [
    (version, protocol)
    for version in ("2.3.15", "2.9.4", "3.0.2", "3.1.0", "3.2.8", "3.6.0")
    for protocol in ("trojan", "shadowsocks", "vmess")
]


# Each protocol over a family of panels; `make deep` tries every version with every protocol.
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("version", "protocol"), [pair for pair in EMPTIED if DEEP or pair[0] in FAMILIES]
)
async def test_an_inbound_that_is_matched_no_more_is_emptied_whatever_its_protocol(
    tmp_path, monkeypatch, version, protocol
):
    """Its clients go by the field that its protocol knows them by, and nothing is mended for ever."""
    inbounds = ({"protocol": "vless"}, {"protocol": protocol})
    async with open_fleet(
        tmp_path, monkeypatch, policies=SOON, one=Wanted(version, inbounds)
    ) as fleet:
        keys = await fleet.issue(2)
        await fleet.reconcile()
        await fleet.declare("one", matches=(Match(protocol="vless"),))

        for _ in range(2):
            report = await fleet.reconcile()

        held = {
            email[4:14]: client["inboundIds"]
            for email, client in fleet["one"].ours().items()
            # Before 2.4.11 there is no comment that would tell the placeholder.
            if email[4:14] in keys
        }
        assert {key: [1] for key in keys} == held
        assert {f"{key}-g1": True for key in keys}.items() <= served(fleet["one"]).items()
        assert (True, 0) == (report.in_sync, report.writes)


@pytest.mark.parametrize(
    ("version", "by_itself"),
    [
        ("2.3.15", True), ("2.9.4", True), ("3.0.2", False), ("3.1.0", False),
        ("3.2.8", False), ("3.5.0", False), ("3.6.0", True),
    ],
)  # fmt: skip
async def test_an_ended_key_is_switched_off_whether_the_panel_would_or_not(
    tmp_path, monkeypatch, version, by_itself
):
    """From 3.0.2 to 3.5.0 a panel whose Xray is down lets an expired client live on."""
    clock = MovedClock()
    async with open_fleet(tmp_path, monkeypatch, clock=clock, one=Wanted(version)) as fleet:
        panel = fleet["one"].panel
        on, ended = await fleet.issue(2)
        owner = await fleet.owner(on)
        await fleet.run(lambda work: subscriptions.extend(work, owner, 60))
        await fleet.reconcile()
        # The expiry on the panel is a day behind that of the subscription.
        clock.days = 32
        panel.xray_state = "stop"
        panel.clock.advance(32 * 86_400)
        panel.background.run()
        before = served(fleet["one"])

        await fleet.reconcile()

        assert {f"{on}-g1": True, f"{ended}-g1": not by_itself} == before
        assert {f"{on}-g1": True, f"{ended}-g1": False} == served(fleet["one"])


@pytest.mark.parametrize(
    ("before", "after", "revived"),
    [("2.3.15", "3.6.0", True), ("2.9.4", "3.1.0", False), ("3.0.2", "3.2.8", False)],
)
async def test_a_wave_of_records_that_an_upgrade_enabled_is_healed_and_trips_no_guard(
    tmp_path, monkeypatch, before, after, revived
):
    """Up to 2.8.0 the traffic rows never said otherwise: there all of them come alive."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(before)) as fleet:
        panel = fleet["one"].panel
        on, *off = await fleet.issue(11)
        await fleet.reconcile()
        for key in off:
            await fleet.suspend(key)
        await fleet.reconcile()
        wanted = {f"{key}-g1": key == on for key in (on, *off)}
        switched_off = served(fleet["one"])

        panel.upgrade(after)
        records = [client["enable"] for client in fleet["one"].ours().values()]
        upgraded = served(fleet["one"])
        panel.clock.advance(5)
        reports = [await fleet.reconcile() for _ in range(2)]

        assert wanted == switched_off
        assert [True] * 11 == records
        assert (dict.fromkeys(wanted, True) if revived else wanted) == upgraded
        assert wanted == served(fleet["one"])
        assert [] == fleet["one"].panel.xray.lingering()
        assert [(), ()] == [report.blocked for report in reports]
        assert reports[-1].in_sync


@pytest.mark.parametrize("version", ["3.2.8", "3.6.0"])
async def test_what_a_refused_call_stored_all_the_same_is_neither_lost_nor_doubled(
    tmp_path, monkeypatch, version
):
    async with open_fleet(tmp_path, monkeypatch, policies=SOON, one=Wanted(version)) as fleet:
        keys = await fleet.issue(4)
        fleet["one"].panel.faults.arm(
            {"kind": "partial_batch", "path": "bulkCreate", "keep": 2, "answer": "reject"}
        )

        for _ in range(2):
            report = await fleet.reconcile()

        assert {f"{key}-g1": True for key in keys} == served(fleet["one"])
        assert report.in_sync


@pytest.mark.sampled(2)
@pytest.mark.parametrize("language", ["ru-RU", "zh-CN"])
@pytest.mark.parametrize("version", ["2.9.4", "3.0.2", "3.1.0", "3.6.0"])
async def test_a_panel_that_answers_in_another_language_is_kept_in_sync(
    tmp_path, monkeypatch, version, language
):
    async with open_fleet(tmp_path, monkeypatch, policies=SOON, one=Wanted(version)) as fleet:
        fault = {"kind": "localised", "language": language, "method": "POST", "count": None}
        fleet["one"].panel.faults.arm(fault)
        kept, rotated, revoked = await fleet.issue(3)
        await fleet.reconcile()
        await fleet.rotate(rotated)
        await fleet.revoke(revoked)

        report = await fleet.reconcile()

        assert {f"{kept}-g1": True, f"{rotated}-g2": True} == served(fleet["one"])
        assert report.in_sync


# -- shadowsocks that the running Xray loses ---------------------------------------------------------

SHADOWSOCKS = {
    "protocol": "shadowsocks",
    "settings": {
        "method": "2022-blake3-aes-256-gcm",
        "password": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "clients": [],
    },
}


def restarts(site: Site) -> list[str]:
    """Requests for a restart of Xray, since they were last forgotten."""
    return [line for line in site.log() if line.endswith("restartXrayService")]


async def renew(fleet, *keys):
    """Extend what each of these keys' persons bought."""
    for key in keys:
        owner = await fleet.owner(key)
        await fleet.run(lambda work, owner=owner: subscriptions.extend(work, owner, 60))


async def settled(fleet, count):
    """Keys that are live, on a panel that has restarted its Xray for them by itself."""
    keys = await fleet.issue(count)
    await fleet.reconcile()
    fleet["one"].panel.clock.advance(60)
    await fleet.reconcile()
    fleet.forget_requests()
    return keys


@pytest.mark.parametrize(
    ("version", "count"), [("2.3.15", 0), ("2.6.6", 1), ("2.9.4", 1), ("3.0.2", 1), ("3.1.0", 1),
                           ("3.2.8", 1), ("3.4.1", 1), ("3.5.0", 0)],
)  # fmt: skip
async def test_renewed_shadowsocks_keys_are_served_after_one_restart_for_all_of_them(
    tmp_path, monkeypatch, version, count
):
    wanted = Wanted(version, inbounds=(SHADOWSOCKS,))
    async with open_fleet(tmp_path, monkeypatch, one=wanted) as fleet:
        site = fleet["one"]
        keys = await settled(fleet, 3)

        await renew(fleet, *keys)
        report = await fleet.reconcile()
        first = len(restarts(site))
        await fleet.suspend(keys[0])
        await fleet.reconcile()
        off = len(restarts(site)) - first
        await fleet.resume(keys[0])
        report_on = await fleet.reconcile()

        assert (count, 0, 2 * count) == (first, off, len(restarts(site)))
        assert [] == site.panel.xray.unserved()
        assert report.in_sync
        assert report_on.in_sync


@pytest.mark.promise("S8")
async def test_other_protocols_are_renewed_without_a_restart(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("2.9.4")) as fleet:
        keys = await settled(fleet, 2)

        await renew(fleet, *keys)
        await fleet.reconcile()

        assert [] == restarts(fleet["one"])


async def test_a_restart_that_is_refused_is_told_and_comes_about_later(tmp_path, monkeypatch):
    wanted = Wanted("2.9.4", inbounds=(SHADOWSOCKS,))
    async with open_fleet(tmp_path, monkeypatch, one=wanted) as fleet:
        site = fleet["one"]
        keys = await settled(fleet, 1)
        site.panel.xray_state = "error"
        await renew(fleet, *keys)
        refused = await fleet.reconcile()
        status = await status_of(fleet, "one")
        lost = site.panel.xray.unserved()

        site.panel.xray_state = "running"
        async with fleet.reopened() as later:
            report = await later.reconcile()

        drifted = [c for c in status.conditions if c["reason"] == "XrayNotRestarted"]
        assert not refused.in_sync
        assert status.restart_owed
        assert "no such file" in drifted[0]["message"]
        assert 1 == len(lost)
        assert report.in_sync
        assert [] == site.panel.xray.unserved()


async def test_a_controller_that_died_after_the_edit_has_xray_restarted_when_it_is_back(
    tmp_path, monkeypatch
):
    wanted = Wanted("3.2.8", inbounds=(SHADOWSOCKS,))
    async with open_fleet(tmp_path, monkeypatch, one=wanted) as fleet:
        site = fleet["one"]
        keys = await settled(fleet, 1)
        await renew(fleet, *keys)
        site.panel.faults.arm({"kind": "lost_request", "path": "restartXrayService"})
        # As far as the panel can tell, the request died with the process that sent it.
        await fleet.reconcile()
        lost = site.panel.xray.unserved()
        site.panel.faults.clear()

        async with fleet.reopened() as later:
            report = await later.reconcile()

        assert 1 == len(lost)
        assert report.in_sync
        assert [] == site.panel.xray.unserved()
