"""One moment of a database as an SQLite file, whichever kind it is of itself.

SQLite: its own online backup, writers go on. PostgreSQL: every row of one repeatable read, so that no
program but ours is needed and a backup opens, is proved and is restored in one way. Callers: `making`. Not
here: the encrypted file.
"""

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from desired_state.store import migrate
from desired_state.store.backup.copying import copy_tables, count_rows
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.scratch import opened_scratch
from desired_state.store.engine import Store
from desired_state.store.tables.desired import InstallationRow, RevisionCounterRow
from desired_state.store.version import read_version

_WHOLE = [("ok",)]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy holds; see `Contents`."""

    installation: str
    schema: str
    revision: int
    engine: str
    tables: Mapping[str, int]


async def take_snapshot(store: Store, path: Path) -> Snapshot:
    """Copy a database into a new SQLite file, and count what the copy holds.

    Raises:
        BackupError: the copy is not whole, or there is no room for it.
        StoreError: the database could not be read.
    """
    if store.is_sqlite:
        await asyncio.to_thread(_copy_file, Path(str(store.engine.url.database)), path)
    else:
        await _copy_rows(store, path)
    await asyncio.to_thread(settle, path)
    async with opened_scratch(path, store.vault) as copy, copy.reading() as session:
        connection = await session.connection()
        schema = await connection.run_sync(read_version)
        installation = await session.scalar(select(InstallationRow.name))
        revision = await session.scalar(select(RevisionCounterRow.value))
        if schema is None or installation is None:
            raise BackupError("the database has no installation yet", hint="run x3fleet db upgrade")
        engine = "sqlite" if store.is_sqlite else "postgresql"
        rows = await count_rows(connection)
        return Snapshot(installation, schema, int(revision or 0), engine, rows)


def check_whole(path: Path) -> None:
    """Let SQLite check a file of its own, page by page and row by row.

    Raises:
        BackupError: it is not whole.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchall()
            astray = database.execute("PRAGMA foreign_key_check").fetchmany(1)
    except sqlite3.Error as error:
        raise BackupError(f"the copy of the database does not open: {error}") from error
    if found != _WHOLE or astray:
        raise BackupError(f"the copy of the database is damaged: {(found or astray)[0][0]}")


def settle(path: Path) -> None:
    """Make one file of an SQLite database, without a log beside it, and check it.

    Raises:
        BackupError: it is not whole.
    """
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupError(f"the copy of the database cannot be closed: {error}") from error
    check_whole(path)


def _copy_file(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(target)) as copy:
            ours.execute("PRAGMA query_only = ON")
            ours.backup(copy)
    except sqlite3.Error as error:
        raise BackupError(f"the database could not be copied: {error}") from error


async def _copy_rows(store: Store, path: Path) -> None:
    async with opened_scratch(path, store.vault) as copy:
        await migrate.upgrade(copy)
        async with store.reading() as session, copy.recording() as into:
            await copy_tables(await session.connection(), await into.connection())
