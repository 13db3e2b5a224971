"""Making one backup: our database, what panels gave, the list of both, into one file.

Callers: the controller's job and `x3fleet backup create`. Not here: asking panels (a function of the caller's
does), when it is due, what is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from desired_state.store.backup.archive import measure, write_archive
from desired_state.store.backup.contents import Contents, PanelPart
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.folder import making, publish
from desired_state.store.backup.keys import BackupKey
from desired_state.store.backup.proving import unpacked
from desired_state.store.backup.room import COPIES, require_room
from desired_state.store.backup.scratch import scratch_folder
from desired_state.store.backup.snapshot import take_snapshot
from desired_state.store.engine import Store
from desired_state.store.files import Owner, owner_of

DATABASE, SEALED = "database.sqlite", "sealed"
Fetch = Callable[[Path], Awaitable[tuple[PanelPart, ...]]]
"""Puts panels' databases into a folder, each under its name inside, and tells what became of each."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is there. `bytes`: the size of its file; `key`: the id of what opens it."""

    path: Path
    bytes: int
    key: str
    contents: Contents


async def nothing_fetched(folder: Path) -> tuple[PanelPart, ...]:
    """Fetch no panel's database."""
    del folder
    return ()


async def make_backup(store: Store, folder: Path, key: BackupKey, fetch: Fetch) -> Made:
    """Make a backup, and restore it into a scratch database before it counts.

    Args:
        store: what is backed up; may be at work.
        folder: where to; made where it is not there.
        key: encrypts.
        fetch: called once, after our own database was copied.

    Raises:
        BackupError: it could not be made; nothing is left of it.
        StoreError: the database could not be read.
    """
    with making(folder, _owner(store)), scratch_folder(folder) as scratch:
        require_room(scratch, COPIES * _plain_bytes(store))
        taken_at = store.clock.now()
        copy = scratch / DATABASE
        snapshot = await take_snapshot(store, copy)
        panels = await fetch(scratch)
        fetched = sum(panel.part.bytes for panel in panels if panel.part is not None)
        # What lies there plain has its room already.
        require_room(scratch, (COPIES - 1) * fetched)
        contents = Contents(
            taken_at=taken_at,
            installation=snapshot.installation,
            schema=snapshot.schema,
            revision=snapshot.revision,
            engine=snapshot.engine,
            tables=snapshot.tables,
            database=await asyncio.to_thread(measure, copy, DATABASE),
            panels=panels,
        )
        files = {part.member: scratch / part.member for part in contents.parts}
        sealed = scratch / SEALED
        size = await asyncio.to_thread(write_archive, sealed, contents, files, key)
        # A backup that nobody ever restored is a hope, and does not get a backup's name.
        async with unpacked(sealed, (key,), store.vault, folder):
            path = await asyncio.to_thread(publish, sealed, folder, taken_at)
            return Made(path, size, key.id, contents)


def _plain_bytes(store: Store) -> int:
    """How large our own database is; 0 where a server has it."""
    if not store.is_sqlite:
        return 0
    try:
        return Path(str(store.engine.url.database)).stat().st_size
    except OSError as error:
        raise BackupError(f"{error.filename}: {error.strerror}") from error


def _owner(store: Store) -> Owner | None:
    """Whose the folder is to be: of an SQLite file's owner, who makes the next backup."""
    if not store.is_sqlite:
        return None
    try:
        return owner_of(Path(str(store.engine.url.database)))
    except OSError as error:
        raise BackupError(f"{error.filename}: {error.strerror}") from error
