"""Which backups count, which go and which rows end: clocks that ran ahead, copies, several folders."""

from datetime import UTC, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from controller.jobs.backups import Backups, Cabinet
from desired_state.queries.backups import oldest_backup, read_backups
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.folder import find_backup, list_backups
from desired_state.store.backup.keys import read_keys
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.tables.backups import BackupRow
from tests.stores import KEY

DAY = timedelta(days=1)
KEYS = read_keys((KEY,))


class Host:
    """One host's job over a database, with a folder of its own."""

    def __init__(self, store, folder: Path, **settings) -> None:
        self.store, self.folder, self.clock = store, folder, store.clock
        given = BackupSettings(folder=folder, panels=False, **settings)
        self.job = Backups(store, Cabinet(folder, KEYS[0], given), self._fetch, self.clock)
        self.full = False

    async def _fetch(self, nodes, folder, limit_mib):
        if self.full:
            raise BackupError("no space left on the device")
        return ()

    async def make(self, days: float = 1) -> str:
        """Make one, and let the clock go on."""
        made = await self.job.make(())
        self.clock.advance(days=days)
        return made.path.name

    def files(self) -> set[str]:
        return {one.name for one in list_backups(self.folder, self.clock.now())}


async def rows(store):
    async with store.reading() as session:
        found = await session.scalars(select(BackupRow))
        return {row.name: row for row in found}


async def live(store) -> set[str]:
    return {name for name, row in (await rows(store)).items() if row.removed_at is None}


async def test_a_backup_of_a_clock_that_was_ahead_stops_none_and_is_not_the_latest(
    sqlite_store, tmp_path
) -> None:
    host = Host(sqlite_store, tmp_path / "kept", every_s=86_400.0)
    good = await host.make()
    sqlite_store.clock.advance(days=400)
    ahead = await host.make(0)
    sqlite_store.clock.advance(days=-400)
    now = sqlite_store.clock.now()

    latest = find_backup(host.folder, "latest", now).name
    async with sqlite_store.reading() as session:
        view = await read_backups(session, now)
    await host.job.run()
    listed = list_backups(host.folder, now)

    assert good == latest
    assert (now - DAY, now - DAY) == (view.database_at, view.tried_at)
    assert 3 == len(listed)
    assert [(ahead, True)] == [
        (one.name, "yet to come" in one.fault) for one in listed if one.fault
    ]
    assert ahead == listed[-1].name
    assert host.folder / ahead == find_backup(host.folder, ahead, now)


async def test_an_attempt_that_failed_while_the_clock_was_ahead_holds_up_no_later_one(
    sqlite_store, tmp_path
) -> None:
    host = Host(sqlite_store, tmp_path / "kept", every_s=86_400.0)
    sqlite_store.clock.advance(days=400)
    host.full = True
    await host.job.run()
    sqlite_store.clock.advance(days=-400)
    host.full = False

    await host.job.run()

    assert 1 == len(host.files())


async def test_a_backup_of_a_clock_that_was_ahead_takes_the_place_of_none_and_stays(
    sqlite_store, tmp_path
) -> None:
    host = Host(sqlite_store, tmp_path / "kept", keep_last=2, keep_daily=0, keep_weekly=0)
    sqlite_store.clock.advance(days=400)
    ahead = {await host.make(0), await host.make(0)}
    sqlite_store.clock.advance(days=-400)

    made = [await host.make() for _ in range(4)]

    assert {*made[-2:], *ahead} == host.files() == await live(sqlite_store)


async def test_where_every_backup_is_yet_to_come_the_clock_is_named(sqlite_store, tmp_path) -> None:
    host = Host(sqlite_store, tmp_path / "kept")
    await host.make()
    sqlite_store.clock.advance(days=-30)

    with pytest.raises(BackupError, match="this machine's clock"):
        find_backup(host.folder, "latest", sqlite_store.clock.now())


async def test_retention_removes_no_copy_and_nothing_that_it_did_not_make(
    sqlite_store, tmp_path
) -> None:
    host = Host(sqlite_store, tmp_path / "kept", keep_last=1, keep_daily=0, keep_weekly=0)
    first = host.folder / await host.make()
    for_good = ("for-good.x3backup", f"{first.stem}-copy.x3backup", "x3fleet-1.x3backup")
    strange = first.with_name("x3fleet-20200101T000000Z.x3backup")
    content = first.read_bytes()
    for path in (*(first.with_name(name) for name in for_good), strange):
        path.write_bytes(content)

    last = [await host.make() for _ in range(3)][-1]

    assert {*for_good, strange.name, last} == host.files()


async def test_what_was_proved_of_a_backup_stays_proved_while_its_file_was_away(
    sqlite_store, tmp_path
) -> None:
    host = Host(sqlite_store, tmp_path / "kept", keep_last=1, keep_daily=0, keep_weekly=0)
    away = await host.make(31)
    (host.folder / away).rename(tmp_path / away)
    await host.make()
    ended = (await rows(sqlite_store))[away]

    (tmp_path / away).rename(host.folder / away)
    # Somebody keeps more from now on.
    await Host(sqlite_store, host.folder, keep_last=5).job.tidy()

    back = (await rows(sqlite_store))[away]
    assert (True, None) == (ended.removed_at is not None, back.removed_at)
    assert ended.verified_at == back.verified_at is not None
    assert 2 == len(host.files())


async def test_two_hosts_with_folders_of_their_own_end_no_row_of_each_other(
    store, tmp_path
) -> None:
    settings = {"keep_last": 3, "keep_daily": 0, "keep_weekly": 0}
    here, there = (Host(store, tmp_path / name, **settings) for name in ("here", "there"))
    first = store.clock.now()

    made = [await host.make() for host in (here, there) * 3]
    async with store.reading() as session:
        oldest = await oldest_backup(await session.connection())

    assert first == oldest.astimezone(UTC)
    assert set(made) == here.files() | there.files() == await live(store)


async def test_rows_of_a_folder_that_is_gone_end_when_no_rule_would_keep_them(
    sqlite_store, tmp_path
) -> None:
    settings = {"keep_last": 2, "keep_daily": 0, "keep_weekly": 0}
    here, gone = (Host(sqlite_store, tmp_path / name, **settings) for name in ("here", "gone"))
    await gone.make()
    last = await here.make(20)

    soon = {await here.make(1), last}
    at_first = await live(sqlite_store)
    sqlite_store.clock.advance(days=10)
    later = {await here.make(1), *soon - {last}}

    assert (soon, 1) == (at_first & soon, len(at_first - soon))
    assert later == await live(sqlite_store)
