"""The folder that backups lie in: which there are, their names, and who makes one now.

Reads the readable headers alone; needs no key and no database, so that a list can be had when everything
else is lost. Callers: the job, `x3fleet backup`. Not here: what is inside a file (`archive`).
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from desired_state.model.backups import is_ahead
from desired_state.store.backup.archive import UNFINISHED, sync_folder
from desired_state.store.backup.errors import BackupBroken, BackupError
from desired_state.store.backup.sealing import read_header
from desired_state.store.files import (
    Owner,
    hand_over,
    lock_descriptor,
    make_folder,
    owner_of,
    take_name,
)

SUFFIX = ".x3backup"
LATEST = "latest"
_LOCK = ".x3fleet-backup.lock"
_STAMP = "x3fleet-%Y%m%dT%H%M%SZ"
_OURS = re.compile(rf"x3fleet-\d{{8}}T\d{{6}}Z(-\d+)?{re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file. `taken_at`, `schema`, `key_id`: as its header says; `fault`: why it is not the latest.

    A file with a fault cannot be read, or is of a moment that is yet to come: it can still be named.
    """

    path: Path
    bytes: int
    taken_at: datetime | None = None
    schema: str = ""
    key_id: str = ""
    fault: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def is_named_as_ours(self) -> bool:
        """Whether its whole name is one that we give: a copy that somebody keeps has another."""
        return _OURS.fullmatch(self.name) is not None


def list_backups(folder: Path, now: datetime) -> tuple[BackupFile, ...]:
    """List the backups in a folder, the newest first; those with a fault come last.

    Raises:
        BackupError: the folder is there and cannot be read.
    """
    try:
        found = [_doubted(_look(path), now) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from error
    oldest = datetime.min.replace(tzinfo=UTC)

    def age(one: BackupFile) -> tuple[bool, datetime, str]:
        return not one.fault, one.taken_at or oldest, one.name

    return tuple(sorted(found, key=age, reverse=True))


def find_backup(folder: Path, name: str, now: datetime) -> Path:
    """Find a backup by its path, by its name in the folder, or the newest by `latest`.

    Raises:
        BackupError: there is none.
    """
    if name == LATEST:
        return _latest(folder, now)
    for path in (Path(name), folder / name, folder / f"{name}{SUFFIX}"):
        if path.is_file():
            return path
    raise BackupError(f"there is no backup {name}", hint=f"x3fleet backup list shows {folder}")


def new_name(folder: Path, moment: datetime) -> Path:
    """Name a backup of a moment; a second one of the same second gets a number."""
    stem = f"{moment.astimezone(UTC):{_STAMP}}"
    path, number = folder / f"{stem}{SUFFIX}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{SUFFIX}"
    return path


def publish(sealed: Path, folder: Path, moment: datetime) -> Path:
    """Let a whole and proved file appear among the backups, under the name of its moment; as `making`.

    Raises:
        BackupError: the folder cannot be written.
    """
    path = new_name(folder, moment)
    try:
        hand_over(sealed, owner_of(folder))
        take_name(sealed, path)
        sync_folder(folder)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    return path


@contextmanager
def making(folder: Path, owner: Owner | None = None) -> Iterator[None]:
    """Be the only one who makes a backup in a folder; makes the folder, and sweeps what killed ones left.

    Args:
        folder: which one.
        owner: whose a folder that is missing is to be; None: who owns the one above it.

    Raises:
        BackupError: somebody else is making one, or the folder cannot be made.
    """
    try:
        make_folder(folder, owner)
        descriptor = lock_descriptor(folder / _LOCK, owner_of(folder))
    except OSError as error:
        raise BackupError(
            f"{folder}: {error.strerror}",
            hint="X3FLEET_BACKUP__FOLDER names a folder that can be written",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another process makes a backup in {folder} now") from None
        except OSError as error:
            raise BackupError(f"{folder} cannot be locked: {error.strerror}") from error
        for left in folder.glob(f"*{SUFFIX}{UNFINISHED}"):
            with contextlib.suppress(OSError):
                left.unlink()
        yield
    finally:
        os.close(descriptor)


def remove_backup(path: Path) -> bool:
    """Remove a backup; tells whether it is gone.

    Raises:
        BackupError: it is there and cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    return True


def _latest(folder: Path, now: datetime) -> Path:
    found = list_backups(folder, now)
    for one in found:
        if not one.fault:
            return one.path
    if any(one.taken_at for one in found):
        raise BackupError(
            f"every backup in {folder} is of a moment that is yet to come by this machine's clock",
            hint="set the clock, or name the file: x3fleet backup list shows them",
        )
    raise BackupError(
        f"there is no backup in {folder}",
        hint="name a file, or set X3FLEET_BACKUP__FOLDER to where they lie",
    )


def _doubted(one: BackupFile, now: datetime) -> BackupFile:
    if one.taken_at is None or not is_ahead(one.taken_at, now):
        return one
    moment = f"{one.taken_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return replace(one, fault=f"of {moment}, which is yet to come: a clock was ahead")


def _look(path: Path) -> BackupFile:
    size = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = read_header(file)
        taken_at = datetime.fromisoformat(header.facts["created"])
        if taken_at.tzinfo is None:
            return BackupFile(path, size, fault="its header cannot be read")
        return BackupFile(path, size, taken_at, str(header.facts["schema"]), header.key_id)
    except BackupBroken as error:
        return BackupFile(path, size, fault=error.message)
    except (KeyError, ValueError, TypeError):
        return BackupFile(path, size, fault="its header cannot be read")
    except OSError as error:
        return BackupFile(path, size, fault=error.strerror or str(error))
