"""A panel upgraded under us: family detected anew, journal kept, nothing created twice."""

import pytest

from desired_state.model.generation import JournalState
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet

PATHS = [("2.9.4", "3.6.0"), ("3.0.2", "3.2.8"), ("3.2.8", "3.6.0")]


@pytest.mark.parametrize(("before", "after"), PATHS, ids=lambda version: version)
async def test_an_upgrade_keeps_the_journal_and_creates_nothing_twice(
    tmp_path, monkeypatch, before, after
):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(before)) as fleet:
        on, off = await fleet.issue(2)
        await fleet.reconcile()
        await fleet.suspend(off)
        await fleet.reconcile()
        emails = sorted(fleet["one"].ours())
        rows = await journal_of(fleet, "one")

        fleet["one"].panel.upgrade(after)
        first = await fleet.reconcile()
        # A restarted panel tells its status, and so its version, after some seconds.
        fleet["one"].panel.clock.advance(5)
        second = await fleet.reconcile()

        assert emails == sorted(fleet["one"].ours())
        state = {
            key: fleet["one"].enabled()[email]
            for key in (on, off)
            for email in emails
            if key in email
        }
        assert {on: True, off: False} == state
        assert (0, 0) == (first.totals["created"], first.totals["deleted"])
        assert after == second.nodes[0].status.version
        assert second.in_sync
        assert 0 == second.writes
        live = {
            row.email for row in await journal_of(fleet, "one") if row.state is JournalState.LIVE
        }
        assert {row.email for row in rows} == live


@pytest.mark.parametrize(("before", "after"), PATHS, ids=lambda version: version)
async def test_after_an_upgrade_keys_are_issued_and_rotated_in_the_new_dialect(
    tmp_path, monkeypatch, before, after
):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(before)) as fleet:
        (old,) = await fleet.issue(1)
        await fleet.reconcile()
        fleet["one"].panel.upgrade(after)
        await fleet.reconcile()
        (new,) = await fleet.issue(1)
        await fleet.rotate(old)

        report = await fleet.reconcile()

        assert {f"x3f-{old}-g2": True, f"x3f-{new}-g1": True} == fleet["one"].enabled()
        assert report.in_sync
