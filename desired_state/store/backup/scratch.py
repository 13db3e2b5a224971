"""A scratch database: a private folder, and an SQLite file in it that is opened like any other.

What lies there is plain and goes with the folder, however the block ends; what a killed process left goes
with the next folder that is made beside it. A folder is locked while somebody is at work in it. Callers:
everything that makes, proves or restores a backup. Not here: what is done with it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from desired_state.store.backup.errors import BackupError
from desired_state.store.engine import Store, make_engine
from desired_state.store.secrets import Vault
from desired_state.store.settings import DatabaseSettings

PREFIX = ".x3fleet-scratch-"
_LOCK = ".lock"
_TRIES = 10
"""Somebody who sweeps may take a folder that is not locked yet for one that was left."""


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Make a folder that is its owner's alone, on the disk of another one; it goes with its files.

    Raises:
        BackupError: it cannot be made.
    """
    sweep_scratch(beside)
    try:
        folder, lock = _make_locked(beside.absolute())
    except OSError as error:
        raise BackupError(f"{beside}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_scratch(beside: Path) -> None:
    """Remove what processes left that were killed; whoever is at work is left alone."""
    for left in beside.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            _sweep(left)


def _make_locked(beside: Path) -> tuple[Path, int]:
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(folder / _LOCK, flags, 0o600)
        except FileNotFoundError:
            continue  # Swept before there was a lock in it.
        try:
            if _is_locked_now(descriptor, folder / _LOCK):
                return folder, descriptor
        except OSError:
            os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        os.close(descriptor)
    raise BackupError(f"{beside}: somebody removes every scratch folder as soon as it is made")


def _is_locked_now(descriptor: int, path: Path) -> bool:
    """Lock a file that was just opened; not where it was swept away in between."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _sweep(left: Path) -> None:
    try:
        descriptor = os.open(left / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Either it was made this moment and is empty, or an older release left it, which had no locks.
        try:
            left.rmdir()
        except OSError:
            if not (left / _LOCK).exists():
                shutil.rmtree(left, ignore_errors=True)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def opened_scratch(path: Path, vault: Vault) -> AsyncIterator[Store]:
    """Open an SQLite file, by its absolute path, as a store; `vault` opens the secrets in it."""
    engine = make_engine(DatabaseSettings(url=f"sqlite:///{path}"), [])
    try:
        yield Store(engine, vault)
    finally:
        await engine.dispose()
