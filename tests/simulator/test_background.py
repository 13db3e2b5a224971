"""What the panel does by itself, by its own clock."""

import pytest

DAY_MS = 86_400_000
START_MS = 1_795_415_000_000


async def opened(open_site, version: str, **options):
    site = await open_site(version, **options)
    await site.inbound()
    return site


@pytest.mark.parametrize(
    ("version", "settings", "record"),
    [
        ("2.8.11", True, None),
        ("2.9.4", False, None),
        ("3.0.2", False, None),
        ("3.6.0", False, False),
    ],
)
async def test_a_spent_quota_disables_at_the_next_poll(open_site, version, settings, record):
    site = await opened(open_site, version)
    await site.add("bob", totalGB=100)
    await site.control("/traffic", {"email": "bob", "up": 60, "down": 60})
    before = site.row("bob").enable

    await site.control("/clock", {"advance_s": 10})

    assert (True, False) == (before, site.row("bob").enable)
    assert settings == site.entry("bob")["enable"]
    assert record is None or record == site.record("bob")["enable"]


@pytest.mark.parametrize(
    ("version", "state", "enforced"),
    [
        ("2.3.15", "error", True),
        ("2.9.4", "stop", True),
        ("3.0.2", "error", False),
        ("3.5.0", "error", False),
        ("3.5.0", "running", True),
        ("3.6.0", "error", True),
    ],
)
async def test_expiry_without_xray(open_site, version, state, enforced):
    site = await opened(open_site, version, xray_state=state)
    await site.add("past", expiryTime=1_600_000_000_000)

    await site.control("/clock", {"advance_s": 12})

    assert enforced == (not site.row("past").enable)


@pytest.mark.parametrize(("version", "interval"), [("2.9.4", 10), ("3.6.0", 5)])
async def test_polls_come_at_the_versions_pace(open_site, version, interval):
    site = await opened(open_site, version)
    await site.add("past", expiryTime=1_600_000_000_000)

    await site.control("/clock", {"advance_s": interval - 1})
    early = site.row("past").enable
    await site.control("/clock", {"advance_s": 2})

    assert (True, False) == (early, site.row("past").enable)


async def test_jobs_run_on_demand(open_site):
    site = await opened(open_site, "2.9.4")
    await site.add("past", expiryTime=1_600_000_000_000)

    await site.control("/background", {})

    assert not site.row("past").enable


@pytest.mark.parametrize("version", ["2.3.15", "2.9.4", "3.6.0"])
async def test_first_use_turns_a_duration_into_a_date(open_site, version):
    site = await opened(open_site, version)
    await site.add("new", expiryTime=-30 * DAY_MS)

    await site.control("/traffic", {"email": "new", "up": 1, "down": 0})

    expiry = site.row("new").expiry_ms
    assert 0 <= expiry - 30 * DAY_MS - START_MS < 60_000
    assert expiry == site.entry("new")["expiryTime"]
    assert version != "3.6.0" or expiry == site.record("new")["expiryTime"]


@pytest.mark.parametrize(("version", "enabled"), [("2.9.4", False), ("3.0.2", True)])
async def test_renewal_moves_the_expiry_by_whole_terms(open_site, version, enabled):
    site = await opened(open_site, version)
    await site.add("bob", reset=10, expiryTime=START_MS + 1000, enable=False)
    site.row("bob").up = 7

    await site.control("/clock", {"advance_s": 25 * 86_400})

    row = site.row("bob")
    assert (START_MS + 1000 + 30 * DAY_MS, 0, True) == (row.expiry_ms, row.up, row.enable)
    assert enabled == site.entry("bob")["enable"]


async def test_traffic_shows_who_is_online(open_site):
    site = await opened(open_site, "3.6.0")
    await site.add("bob")
    await site.add("eve")
    await site.control("/traffic", {"email": "bob", "up": 1, "down": 2})

    online = (await site.api("clients/onlines", {}))["obj"]
    seen = (await site.api("clients/lastOnline", {}))["obj"]
    await site.control("/clock", {"advance_s": 60})

    assert ["bob"] == online
    assert (True, 0) == (seen["bob"] > 0, seen["eve"])
    assert [] == (await site.api("clients/onlines", {}))["obj"]


async def test_a_spent_inbound_is_switched_off(open_site):
    site = await opened(open_site, "2.9.4")
    await site.add("bob")
    await site.control("/inbounds/1", {"set": {"total": 10}})
    await site.control("/traffic", {"email": "bob", "up": 10, "down": 0})

    await site.control("/clock", {"advance_s": 10})

    assert not (await site.api("inbounds/list"))["obj"][0]["enable"]


async def test_a_clock_that_goes_back_does_not_stop_the_jobs(open_site):
    site = await opened(open_site, "2.9.4")
    await site.control("/clock", {"advance_s": -3600})
    await site.add("past", expiryTime=1_600_000_000_000)

    await site.control("/clock", {"advance_s": 10})

    assert not site.row("past").enable


async def test_adjusting_revives_who_was_spent(open_site):
    site = await opened(open_site, "3.6.0")
    await site.add("bob", totalGB=100)
    await site.control("/traffic", {"email": "bob", "up": 100, "down": 0})
    await site.control("/clock", {"advance_s": 5})
    spent = site.record("bob")["enable"]

    answer = await site.api("clients/bulkAdjust", {"emails": ["bob"], "addBytes": 100})

    assert (False, {"adjusted": 1}) == (spent, answer["obj"])
    assert (True, 200, True) == (
        site.record("bob")["enable"],
        site.row("bob").total,
        site.row("bob").enable,
    )
