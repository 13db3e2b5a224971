"""What is written down of backups: which were made, which failed, which are gone.

A row whose file is not in this process's folder may tell of one in another host's: it ends when the rule of
what is kept ends it, or when its file was removed here. Callers: `backups`. Not here: files, the rule itself
(`model.backups`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.model.backups import Keep, is_ahead, kept
from desired_state.queries.backups import FAILED, GOOD
from desired_state.store.backup.folder import BackupFile
from desired_state.store.backup.making import Made
from desired_state.store.bulk import insert_missing, upsert
from desired_state.store.engine import Store
from desired_state.store.tables.backups import BackupRow

_BACKUP = cast("Table", BackupRow.__table__)


@dataclass(frozen=True, slots=True)
class Known:
    """A good backup as the database knows it. `ours`: made, and read back, by a job like this one."""

    taken_at: datetime
    ours: bool
    removed: bool


class BackupRows:
    """Rows of backups.

    Args:
        store: the database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record_made(self, made: Made, now: datetime) -> None:
        """Write a backup down that was made and read back.

        Raises:
            StoreError: the database failed.
        """
        row = _row(made.path.name, made.contents.taken_at, now, GOOD) | {
            "bytes": made.bytes,
            "verified_at": now,
            "nodes": [
                {
                    "node": panel.node,
                    "state": panel.state.value,
                    "reason": panel.reason,
                    "bytes": 0 if panel.part is None else panel.part.bytes,
                }
                for panel in made.contents.panels
            ],
        }
        await self._write([row])

    async def record_failed(self, name: str, started_at: datetime, now: datetime, why: str) -> None:
        """Write a failed attempt down.

        Raises:
            StoreError: the database failed.
        """
        await self._write([_row(name, started_at, now, FAILED) | {"error": why}])

    async def known(self) -> dict[str, Known]:
        """Read every good backup that was ever here, by its name.

        Raises:
            StoreError: the database failed.
        """
        async with self._store.reading() as session:
            return await _read(await session.connection())

    async def follow(
        self, here: Sequence[BackupFile], gone: Collection[str], keep: Keep, now: datetime
    ) -> None:
        """Know what lies in the folder: after a restore, rows and files tell different stories.

        Args:
            here: files that lie there and stay.
            gone: names of those that were just removed.
            keep: what is kept, of all folders together.
            now: the moment.

        Raises:
            StoreError: the database failed.
        """
        there = {one.name: one.taken_at for one in here if one.taken_at is not None}
        async with self._store.recording() as session:
            connection = await session.connection()
            known = await _read(connection)
            live = {name: row for name, row in known.items() if not row.removed}
            ended = set(gone) | _outlived(live, there, keep, now)
            await _mark(connection, ended & live.keys(), now)
            # Only that: what was proved of a backup stays proved while its file was away.
            await _mark(connection, (known.keys() - live.keys()) & there.keys(), None)
            rows = [
                _row(one.name, one.taken_at, one.taken_at, GOOD) | {"bytes": one.bytes}
                for one in here
                if one.name not in known and one.taken_at is not None
            ]
            await insert_missing(connection, _BACKUP, rows)

    async def _write(self, rows: list[dict[str, Any]]) -> None:
        async with self._store.recording() as session:
            await upsert(await session.connection(), _BACKUP, rows)


def _outlived(
    live: dict[str, Known], there: dict[str, datetime], keep: Keep, now: datetime
) -> set[str]:
    """Names of rows without a file here that no folder is to keep any more.

    Another host keeps of its own backups what the rule says of them alone. That holds while it goes on
    making some: of a folder that is gone for good nobody takes the rows away, and so they end by their age.
    """
    away = {
        name: row.taken_at
        for name, row in live.items()
        if name not in there and not is_ahead(row.taken_at, now)
    }
    stay = set(kept((*away.values(), *there.values()), keep))
    stay |= {at for at in kept(away.values(), keep) if now - at < keep.reach}
    return {name for name, at in away.items() if at not in stay}


async def _read(connection: AsyncConnection) -> dict[str, Known]:
    columns = _BACKUP.c
    query = select(columns.name, columns.taken_at, columns.verified_at, columns.removed_at).where(
        columns.state == GOOD
    )
    return {
        name: Known(taken_at, verified_at is not None, removed_at is not None)
        for name, taken_at, verified_at, removed_at in await connection.execute(query)
    }


async def _mark(
    connection: AsyncConnection, names: Iterable[str], removed_at: datetime | None
) -> None:
    if chosen := sorted(names):
        here = _BACKUP.c.name.in_(chosen)
        await connection.execute(update(_BACKUP).where(here).values(removed_at=removed_at))


def _row(name: str, taken_at: datetime, finished_at: datetime, state: str) -> dict[str, Any]:
    return {
        "name": name, "taken_at": taken_at, "finished_at": finished_at, "state": state,
        "error": "", "bytes": 0, "nodes": [], "verified_at": None, "removed_at": None,
    }  # fmt: skip
