"""Restoring the database from a backup: unpacked, proved, made careful, and only then put in its place.

Callers: `x3fleet backup restore`, which holds the controller's lock meanwhile. Not here: the steps
themselves (`store.backup`), what a person accepts afterwards (`commands.recovery`).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from desired_state.commands.recovery import Dropped, Source, recover
from desired_state.store.backup.calming import calm
from desired_state.store.backup.contents import Contents
from desired_state.store.backup.errors import RestoreRefused
from desired_state.store.backup.keys import BackupKey
from desired_state.store.backup.loading import load
from desired_state.store.backup.placing import (
    close_for_good,
    holds_anything,
    kept_name,
    put_in_place,
)
from desired_state.store.backup.proving import Unpacked, unpacked
from desired_state.store.backup.snapshot import settle
from desired_state.store.engine import Store
from desired_state.store.unit_of_work import begin


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. `replaced`: where the database that was there is kept; "" where there was none.

    `granted`: PostgreSQL roles that had rights on it and have them on the restored one.
    """

    contents: Contents
    replaced: str
    dropped: Dropped
    granted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be restored. `replace`: a database that holds something may be put aside."""

    backup: Path
    keys: tuple[BackupKey, ...]
    actor: str
    replace: bool = False


async def restore(store: Store, order: Order) -> Restored:
    """Restore a backup in the place of a database that nobody has open.

    Args:
        store: of the settings; nothing is connected to it, and no controller works on it.
        order: what, and whether it may replace what is there.

    Raises:
        RestoreRefused: there is a database that holds something, or somebody has it open.
        BackupKeyMissing: no key opens the backup.
        BackupError: it is damaged, or the disk refused; what was there is there.
        StoreError: the branch of what else went wrong; likewise.
    """
    if store.is_sqlite:
        return await _restore_file(store, order, _file_of(store))
    now = store.clock.now()
    async with unpacked(order.backup, order.keys, store.vault, order.backup.parent) as found:
        dropped = await _make_careful(found, order, now, "")
        loaded = await load(store, found.store, now, replace=order.replace)
        return Restored(found.contents, loaded.kept, dropped, loaded.granted)


async def _restore_file(store: Store, order: Order, database: Path) -> Restored:
    await _check_free(database, replace=order.replace)
    now = store.clock.now()
    kept = await asyncio.to_thread(_kept_name, database, now)
    async with unpacked(order.backup, order.keys, store.vault, database.parent) as found:
        dropped = await _make_careful(found, order, now, str(kept or ""))
        await found.store.engine.dispose()
        await asyncio.to_thread(settle, found.path)
        # Last, when nothing else can fail: until here the present database was not touched.
        await asyncio.to_thread(close_for_good, database)
        await asyncio.to_thread(put_in_place, found.path, database, kept)
        return Restored(found.contents, str(kept or ""), dropped)


async def _make_careful(found: Unpacked, order: Order, now: datetime, replaced: str) -> Dropped:
    source = Source(order.backup.name, found.contents.taken_at, replaced)
    async with found.store.recording() as session:
        await calm(session, source.backup, source.taken_at, now)
    async with begin(found.store, order.actor) as work:
        return await recover(work, source)


async def _check_free(database: Path, *, replace: bool) -> None:
    if await asyncio.to_thread(holds_anything, database) and not replace:
        raise RestoreRefused(
            f"{database} holds a database",
            hint="--replace puts it aside, under another name in the same folder",
        )


def _kept_name(database: Path, now: datetime) -> Path | None:
    return kept_name(database, now) if database.exists() else None


def _file_of(store: Store) -> Path:
    """The database's own file: under another name, a link leads to it."""
    return Path(str(store.engine.url.database)).resolve()
