"""A scratch database: a private folder, and an SQLite file in it that is opened like any other.

What lies there is plain and goes with the folder, however the block ends. Callers: everything that makes,
proves or restores a backup. Not here: what is done with it.
"""

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


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Make a folder that is its owner's alone, on the disk of another one; it goes with its files.

    Raises:
        BackupError: it cannot be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside.absolute()))
    except OSError as error:
        raise BackupError(f"{beside}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch(beside: Path) -> None:
    """Remove what processes left that were killed; only while nobody makes a backup there."""
    for left in beside.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


@asynccontextmanager
async def opened_scratch(path: Path, vault: Vault) -> AsyncIterator[Store]:
    """Open an SQLite file, by its absolute path, as a store; `vault` opens the secrets in it."""
    engine = make_engine(DatabaseSettings(url=f"sqlite:///{path}"), [])
    try:
        yield Store(engine, vault)
    finally:
        await engine.dispose()
