"""Makes backups when one is due or asked for, and keeps what is to be kept.

One attempt at a time: the folder is locked. A failed one is written down, logged, counted and tried again
after a while. Callers: the service (by schedule), `x3fleet backup create`. Not here: the file
(`store.backup`), rows (`backup_rows`), how panels are asked (`runtime.exporting`), the rule of what is kept
(`model.backups`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import select

from controller.jobs.backup_rows import BackupRows
from controller.telemetry import events, metrics
from desired_state.model.backups import Keep, kept
from desired_state.model.ids import NodeName
from desired_state.queries.backups import read_backups
from desired_state.store.backup.contents import PanelPart, PanelState
from desired_state.store.backup.folder import BackupFile, list_backups, new_name, remove_backup
from desired_state.store.backup.keys import BackupKey
from desired_state.store.backup.making import Made, make_backup
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.tables.desired import NodeRow

log = structlog.get_logger(__name__)

RETRY = timedelta(minutes=15)
"""After a failed attempt; a due one is tried this often at most."""

Fetch = Callable[[Sequence[NodeName], Path, int], Awaitable[tuple[PanelPart, ...]]]
"""Fetches panels' databases: nodes, folder, the largest in MiB."""
Tell = Callable[[str], Awaitable[None]]


async def _nobody(stage: str) -> None:
    """Tell nobody."""
    del stage


@dataclass(frozen=True, slots=True)
class Cabinet:
    """Where backups go, and what seals them; `key` encrypts."""

    folder: Path
    key: BackupKey = field(repr=False)
    settings: BackupSettings = field(repr=False)

    @property
    def keep(self) -> Keep:
        """How many stay."""
        settings = self.settings
        return Keep(settings.keep_last, settings.keep_daily, settings.keep_weekly)


class Backups:
    """The job.

    Args:
        store: what is backed up.
        cabinet: where to.
        fetch: asks panels.
        clock: the wall clock.
    """

    def __init__(self, store: Store, cabinet: Cabinet, fetch: Fetch, clock: Clock) -> None:
        self._store = store
        self._rows = BackupRows(store)
        self._cabinet = cabinet
        self._fetch = fetch
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Make a backup if one is due; a failure is written down and not raised.

        Raises:
            StoreError: it cannot even be told whether one is due.
        """
        if not await self._is_due():
            return
        names = await self.declared() if self._cabinet.settings.panels else ()
        try:
            await self.make(names)
        except StoreError as error:
            # Written down and counted by `make`: the next look tries again after a while.
            log.warning(events.BACKUP_FAILED, error=str(error))

    async def make(self, nodes: Sequence[NodeName], tell: Tell = _nobody) -> Made:
        """Make a backup now, with the panels of these nodes, and remove what is not kept any more.

        Args:
            nodes: whose panels are asked.
            tell: told what is done next, for whoever waits.

        Raises:
            BackupError: it could not be made; that is written down.
            StoreError: the database failed.
        """
        # A scheduled one and one that was asked for wait for each other; other processes are refused.
        async with self._one_at_a_time:
            return await self._make(nodes, tell)

    async def _make(self, nodes: Sequence[NodeName], tell: Tell) -> Made:
        started_at = self._clock.now()
        limit_mib = self._cabinet.settings.panel_limit_mib

        async def fetch(folder: Path) -> tuple[PanelPart, ...]:
            await tell(f"asking {len(nodes)} panels for their databases")
            parts = await self._fetch(nodes, folder, limit_mib)
            await tell("encrypting and proving")
            return parts

        try:
            await tell("copying the database")
            made = await make_backup(self._store, self._cabinet.folder, self._cabinet.key, fetch)
        except StoreError as error:
            metrics.BACKUP_FAILURES.labels("database").inc()
            await self._record_failure(started_at, error)
            raise
        await self._record(made)
        await self.tidy()
        return made

    async def tidy(self) -> int:
        """Remove backups that are not kept, and know of those that others put there or took away.

        Only files go that a job like this one made, under the name that it gave: a copy stays.

        Returns:
            How many files were removed.

        Raises:
            BackupError: the folder cannot be read, or a file not removed.
            StoreError: the database failed.
        """
        now, keep = self._clock.now(), self._cabinet.keep
        found = [one for one in await self._listed() if not one.fault]
        known = await self._rows.known()
        own = [one for one in found if one.name in known and known[one.name].ours]
        own = [one for one in own if one.is_named_as_ours]
        stay = kept([one.taken_at for one in own if one.taken_at], keep)
        gone = {one.name: one.path for one in own if one.taken_at not in stay}
        for path in gone.values():
            await asyncio.to_thread(remove_backup, path)
        here = [one for one in found if one.name not in gone]
        await self._rows.follow(here, gone.keys(), keep, now)
        if gone:
            log.info(events.BACKUPS_REMOVED, removed=len(gone), kept=len(here))
        return len(gone)

    async def _listed(self) -> tuple[BackupFile, ...]:
        return await asyncio.to_thread(list_backups, self._cabinet.folder, self._clock.now())

    async def _is_due(self) -> bool:
        every_s = self._cabinet.settings.every_s
        if not every_s:
            return False
        now = self._clock.now()
        async with self._store.reading() as session:
            view = await read_backups(session, now)
        if view.database_at is not None and now < view.database_at + timedelta(seconds=every_s):
            return False
        return not view.error or view.tried_at is None or now >= view.tried_at + RETRY

    async def declared(self) -> tuple[NodeName, ...]:
        """Read the names of every declared node, sorted.

        Raises:
            StoreError: the database failed.
        """
        async with self._store.reading() as session:
            names = await session.scalars(select(NodeRow.name).order_by(NodeRow.name))
            return tuple([NodeName(name) for name in names])

    async def _record(self, made: Made) -> None:
        contents = made.contents
        await self._rows.record_made(made, self._clock.now())
        for panel in contents.failed:
            metrics.BACKUP_FAILURES.labels("panel").inc()
            log.warning(events.PANEL_BACKUP_FAILED, node=panel.node, reason=panel.reason)
        held = sum(
            panel.state in (PanelState.CHECKED, PanelState.UNCHECKED) for panel in contents.panels
        )
        log.info(
            events.BACKUP_CREATED, backup=made.path.name, bytes=made.bytes, panels=held,
            failed=len(contents.failed),
        )  # fmt: skip

    async def _record_failure(self, started_at: datetime, error: StoreError) -> None:
        name = await asyncio.to_thread(new_name, self._cabinet.folder, started_at)
        now = self._clock.now()
        try:
            await self._rows.record_failed(name.name, started_at, now, error.message)
        except StoreError as unwritten:
            # The database that could not be backed up cannot be written either: the log has both.
            log.warning(events.BACKUP_FAILED, error=str(unwritten))
