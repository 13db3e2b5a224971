"""Putting a restored SQLite file in the place of the database; what was there is kept beside it.

The old file is proved to be open nowhere, or to be no database at all; from then on there is no moment at
which a database is missing under its name, but that of a crash between two renamings, after which the same
command goes on; a file system without hard links has a second such moment. Callers: `commands.restore`,
under the controller's lock. Not here: PostgreSQL (`loading`).
"""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from desired_state.store.backup.archive import sync_folder
from desired_state.store.backup.errors import BackupError, RestoreRefused
from desired_state.store.files import hand_over, owner_of, take_name

_LOGS = ("-wal", "-shm", "-journal")
_PRIMARY = 0xFF
"""The part of SQLite's codes that names the error; the rest tells more of it."""
_NO_DATABASE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
HELD = ("node", "key", "subscription", "person", "payment")
"""A database without a row in any of these is as `db upgrade` makes it."""


def holds_anything(database: Path) -> bool:
    """Tell whether a file would be a loss: not where there is none, nor one that was just made."""
    if not database.exists() or database.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as found:
            known = {name for (name,) in found.execute("SELECT name FROM sqlite_master")}
            return any(
                found.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone()  # noqa: S608  # our own names
                for table in HELD
                if table in known
            )
    except sqlite3.Error:
        # Whatever it is, somebody may want it back.
        return True


def kept_name(database: Path, now: datetime) -> Path:
    """Name what the database is called once it is replaced."""
    stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    path, number = database.with_name(f"{database.name}.replaced-{stamp}"), 1
    while path.exists():
        number += 1
        path = database.with_name(f"{database.name}.replaced-{stamp}-{number}")
    return path


def close_for_good(database: Path) -> None:
    """Prove that nobody has a database open, and put what its log holds into it.

    Raises:
        RestoreRefused: somebody has it open, or that cannot be told.
    """
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=2.0)) as found:
            # SQLite leaves its log behind only for one who is alone with the file.
            mode = found.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if code in _NO_DATABASE:
            return  # Nobody works on it, and it is kept as it is.
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _in_use(database) from error
        raise RestoreRefused(
            f"it cannot be told whether a process has {database} open: {error}",
            hint="stop whatever uses it and move the file away; then nothing is in the way",
        ) from error
    if mode is not None and mode[0] == "wal":
        raise _in_use(database)


def put_in_place(restored: Path, database: Path, kept: Path | None) -> None:
    """Let a restored file take the database's name.

    Args:
        restored: on the same disk, closed.
        database: its name from now on.
        kept: what the database that is there is called from now on; None where there is none.

    Raises:
        BackupError: the disk refused; whatever was there is there, or under its new name.
    """
    try:
        restored.chmod(0o600)
        hand_over(restored, owner_of(database))
        with restored.open("rb+") as file:
            os.fsync(file.fileno())
        if kept is not None:
            for log in _LOGS:
                left = database.with_name(database.name + log)
                if left.exists():
                    # A log of another file: under this name it would be taken for the restored one's.
                    left.rename(kept.with_name(kept.name + log))
            take_name(database, kept)
        restored.replace(database)
        sync_folder(database.parent)
    except OSError as error:
        named = error.filename or database
        raise BackupError(f"{named}: {error.strerror}") from error


def _in_use(database: Path) -> RestoreRefused:
    return RestoreRefused(
        f"another process has {database} open",
        hint="stop x3fleet run, x3fleet sync, the bot and whatever else uses this database",
    )
