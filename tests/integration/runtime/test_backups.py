"""Backups of a fleet: every panel's own database, a schedule, what is kept, and how long tombstones live."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update

from controller.jobs.backups import RETRY, Backups, Cabinet
from controller.jobs.retention import Retention
from controller.settings import RetentionSettings
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode
from desired_state.queries.backups import read_backups
from desired_state.store.backup.archive import unpack
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.folder import list_backups
from desired_state.store.backup.keys import backup_keys
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.tables.backups import BackupRow
from desired_state.store.tables.status import RemoteGenerationRow
from tests.integration.runtime.fleet import Wanted, open_fleet

TOKEN = "t" * 48
DAY = timedelta(days=1)


class Wall:
    """The wall clock of the job: moved by hand, and never behind the fleet's."""

    def __init__(self, clock) -> None:
        self._clock, self.ahead = clock, timedelta()

    def now(self):
        return self._clock.now() + self.ahead


class Kept:
    """The job over a fleet, as the service has it."""

    def __init__(self, fleet, folder: Path, **settings) -> None:
        self.fleet, self.folder = fleet, folder
        given = BackupSettings(folder=folder, **settings)
        self.keys = backup_keys(fleet.settings.store, given)
        controller = fleet.controller
        self.wall = Wall(controller.clock)
        store = replace(controller.store, clock=self.wall)
        cabinet = Cabinet(folder, self.keys[0], given)
        self.job = Backups(store, cabinet, self._fetch, self.wall)
        self.full = self.unwritable = False

    async def _fetch(self, nodes, folder, limit_mib):
        """Ask the panels, on a disk that may be full."""
        if self.full:
            raise BackupError("no space left on the device")
        if self.unwritable:
            for number in range(1, len(nodes) + 1):
                (folder / f"panel-{number:04}").mkdir()
        return await self.fleet.controller.exports.fetch(nodes, folder, limit_mib)

    async def make(self):
        names = tuple(NodeName(name) for name in sorted(self.fleet.sites))
        return (await self.job.make(names)).contents

    async def rows(self):
        async with self.fleet.controller.store.reading() as session:
            return list(await session.scalars(select(BackupRow).order_by(BackupRow.taken_at)))

    def files(self):
        return [one.name for one in list_backups(self.folder, self.wall.now())]


async def test_every_panels_database_is_in_a_backup_and_was_opened(tmp_path, monkeypatch) -> None:
    async with open_fleet(
        tmp_path, monkeypatch, count=None,
        oldest=Wanted("2.3.15"), old=Wanted("2.9.4"), new=Wanted("3.6.0", token=TOKEN),
    ) as fleet:  # fmt: skip
        await fleet.issue(2)
        await fleet.reconcile()
        fleet.forget_requests()
        kept = Kept(fleet, tmp_path / "backups")

        contents = await kept.make()

        assert [("new", "checked", 2), ("old", "checked", 2), ("oldest", "checked", 2)] == [
            (panel.node, panel.state.value, panel.clients) for panel in contents.panels
        ]
        assert [0, 0, 0] == [site.writes() for site in fleet.sites.values()]
        unpack(kept.folder / kept.files()[0], kept.keys, make(tmp_path / "out"))
        with closing(sqlite3.connect(tmp_path / "out" / contents.panels[0].part.member)) as found:
            emails = {email for (email,) in found.execute("SELECT email FROM clients")}
        assert set(fleet["new"].ours()) == emails


async def test_one_panel_that_fails_stops_no_other(tmp_path, monkeypatch) -> None:
    async with open_fleet(
        tmp_path, monkeypatch,
        busy=Wanted("3.6.0"), torn=Wanted("3.6.0"), away=Wanted("2.9.4"), well=Wanted("2.9.4"),
    ) as fleet:  # fmt: skip
        fleet["busy"].panel.faults.arm({"kind": "database_locked", "path": "getDb"})
        fleet["torn"].panel.faults.arm({"kind": "truncated", "path": "getDb"})
        await fleet.declare("away", mode=Mode.PAUSED)
        await fleet.declare("well", mode=Mode.OBSERVE)
        kept = Kept(fleet, tmp_path / "backups")

        contents = await kept.make()

        states = {panel.node: (panel.state.value, panel.reason) for panel in contents.panels}
        assert ("skipped", "paused") == states["away"]
        assert ("checked", "") == states["well"]
        assert {"failed"} == {states["busy"][0], states["torn"][0]}
        assert all(states[name][1] for name in ("busy", "torn"))
        (row,) = await kept.rows()
        assert states == {one["node"]: (one["state"], one["reason"]) for one in row.nodes}
        async with fleet.controller.store.reading() as session:
            assert (await read_backups(session, kept.wall.now())).panels_at is None


async def test_files_of_panels_that_cannot_be_written_are_a_failed_backup(
    tmp_path, monkeypatch
) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0"), two=Wanted("2.9.4")) as fleet:
        kept = Kept(fleet, tmp_path / "backups")
        kept.unwritable = True

        with pytest.raises(BackupError, match="panel-000"):
            await kept.make()

        assert ["failed"] == [row.state for row in await kept.rows()]
        assert [] == kept.files()


async def test_no_panel_is_asked_for_its_database_where_the_disk_is_nearly_full(
    tmp_path, monkeypatch
) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0"), two=Wanted("2.9.4")) as fleet:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))

        with pytest.raises(BackupError, match="1 are free"):
            await fleet.controller.exports.fetch((NodeName("one"), NodeName("two")), tmp_path, 1)

        assert [] == [
            line for site in fleet.sites.values() for line in site.log() if "getDb" in line
        ]


async def test_refused_credentials_are_tried_once_and_remembered(tmp_path, monkeypatch) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("2.9.4")) as fleet:
        monkeypatch.setenv("TEST_ONE_PASSWORD", "another")
        kept = Kept(fleet, tmp_path / "backups")

        first, again = await kept.make(), await kept.make()

        logins = [line for line in fleet["one"].log() if line.endswith("/login")]
        assert 1 == len(logins)
        assert ["failed", "failed"] == [made.panels[0].state.value for made in (first, again)]


async def test_a_database_that_is_too_large_is_not_fetched(tmp_path, monkeypatch) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        exports = fleet.controller.exports

        (panel,) = await exports.fetch((NodeName("one"),), tmp_path, limit_mib=0)

        assert ("failed", False) == (panel.state.value, panel.is_kept)
        assert "larger" in panel.reason


async def test_backups_are_made_when_due_and_a_failed_one_is_tried_again_after_a_while(
    tmp_path, monkeypatch
) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        kept = Kept(fleet, tmp_path / "backups", every_s=86_400.0)
        made = []

        async def look() -> None:
            await kept.job.run()
            made.append([row.state for row in await kept.rows()])

        await look()
        await look()
        kept.wall.ahead = DAY
        kept.full = True
        await look()
        kept.full = False
        await look()
        kept.wall.ahead += RETRY
        await look()

    assert [["good"], ["good"], ["good", "failed"], ["good", "failed"]] == made[:4]
    assert ["failed", "good", "good"] == sorted(made[4])


async def test_old_backups_go_and_rows_follow_the_files(tmp_path, monkeypatch) -> None:
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        kept = Kept(fleet, tmp_path / "backups", keep_last=2, keep_daily=0, keep_weekly=0)
        for _ in range(4):
            await kept.job.make(())
            kept.wall.ahead += DAY
        by_hand = kept.files()[0]
        (kept.folder / by_hand).rename(tmp_path / "moved.x3backup")
        await kept.job.tidy()

        assert 1 == len(kept.files())
        # It may lie in the folder of another host: its tombstones are kept as long as it would be.
        assert [True, True, False, False] == [
            row.removed_at is not None for row in await kept.rows()
        ]
        # It comes back: what lies there counts, whoever put it there.
        (tmp_path / "moved.x3backup").rename(kept.folder / by_hand)
        await kept.job.tidy()
        assert [True, True, False, False] == [
            row.removed_at is not None for row in await kept.rows()
        ]


async def test_tombstones_outlive_the_oldest_backup_and_sweep_what_an_old_panel_brings_back(
    tmp_path, monkeypatch
) -> None:
    """A panel is set back to the database of ninety days ago: what was deleted since is deleted again."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        key, lost, stays = await fleet.issue(3)
        await fleet.reconcile()
        held = fleet["one"].ours()
        before = fleet["one"].panel.snapshot()
        await fleet.revoke(key)
        await fleet.reconcile()
        store = fleet.controller.store
        long_ago = store.clock.now() - 80 * DAY
        await age(store, long_ago)

        pruning = Retention(store, RetentionSettings(), store.clock)
        async with store.recording() as session:
            session.add(backup_of(long_ago - DAY))
        kept = (await pruning.run()).get("remote_generation", 0)
        fleet["one"].panel.restore(before)
        await fleet.reconcile()

        assert 0 == kept
        assert {e: c["id"] for e, c in held.items() if key not in e} == {
            e: c["id"] for e, c in fleet["one"].ours().items()
        }
        assert {lost, stays} == {e.split("-")[1] for e in fleet["one"].ours()}
        async with store.recording() as session:
            await session.execute(update(BackupRow).values(removed_at=store.clock.now()))
        await age(store, long_ago)
        assert 1 == (await pruning.run())["remote_generation"]


def backup_of(moment) -> BackupRow:
    return BackupRow(
        name="old", taken_at=moment, finished_at=moment, state="good", verified_at=None,
        removed_at=None,
    )  # fmt: skip


async def age(store, moment) -> None:
    """Let every tombstone be as old as that."""
    async with store.recording() as session:
        await session.execute(
            update(RemoteGenerationRow)
            .where(RemoteGenerationRow.state == JournalState.GONE.value)
            .values(gone_at=moment)
        )


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder
