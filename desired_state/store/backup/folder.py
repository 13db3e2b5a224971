"""The folder that backups lie in: which there are, their names, and who makes one now.

Reads the readable headers alone; needs no key and no database, so that a list can be had when everything
else is lost. Callers: the job, `x3fleet backup`. Not here: what is inside a file (`archive`).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from desired_state.store.backup.archive import UNFINISHED, sync_folder
from desired_state.store.backup.errors import BackupBroken, BackupError
from desired_state.store.backup.scratch import sweep_scratch
from desired_state.store.backup.sealing import read_header

SUFFIX = ".x3backup"
LATEST = "latest"
_LOCK = ".x3fleet-backup.lock"
_STAMP = "x3fleet-%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file. `taken_at`, `schema`, `key_id`: as its header says; `fault`: why that cannot be read."""

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


def list_backups(folder: Path) -> tuple[BackupFile, ...]:
    """List the backups in a folder, the newest first; those that cannot be read come last.

    Raises:
        BackupError: the folder is there and cannot be read.
    """
    try:
        found = [_look(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from error
    oldest = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(found, key=lambda one: (one.taken_at or oldest, one.name), reverse=True))


def find_backup(folder: Path, name: str) -> Path:
    """Find a backup by its path, by its name in the folder, or the newest by `latest`.

    Raises:
        BackupError: there is none.
    """
    if name == LATEST:
        for one in list_backups(folder):
            if not one.fault:
                return one.path
        raise BackupError(
            f"there is no backup in {folder}",
            hint="name a file, or set X3FLEET_BACKUP__FOLDER to where they lie",
        )
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
    """Let a whole and proved file appear among the backups, under the name of its moment.

    Raises:
        BackupError: the folder cannot be written.
    """
    path = new_name(folder, moment)
    try:
        # A link and not a renaming: of two backups at once none takes the other's place.
        os.link(sealed, path)
        sync_folder(folder)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    return path


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Be the only one who makes a backup in a folder; makes the folder, and sweeps what killed ones left.

    Raises:
        BackupError: somebody else is making one, or the folder cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        sweep_scratch(folder)
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


def _look(path: Path) -> BackupFile:
    size = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = read_header(file)
        taken_at = datetime.fromisoformat(header.facts["created"])
        return BackupFile(path, size, taken_at, str(header.facts["schema"]), header.key_id)
    except BackupBroken as error:
        return BackupFile(path, size, fault=error.message)
    except (KeyError, ValueError, TypeError):
        return BackupFile(path, size, fault="its header cannot be read")
    except OSError as error:
        return BackupFile(path, size, fault=error.strerror or str(error))
