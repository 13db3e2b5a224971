"""The files of an embedded database: whose they are, under which names, and when they are broken."""

import os
import stat
from pathlib import Path

import pytest

from controller.runtime.errors import AlreadyRunning, HolderKind
from controller.runtime.single import hold_lock, lock_file
from desired_state.store.errors import StoreError
from desired_state.store.version import current
from tests.stores import make_ready, opened


@pytest.fixture
def open_umask():
    """Every file is readable by all, unless its maker says otherwise."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


@pytest.mark.usefixtures("open_umask")
async def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    await make_ready(f"sqlite:///{path}")

    async with opened(f"sqlite:///{path}") as store, store.reading():
        await current(store)
        modes = modes_in(tmp_path)

    assert {"f.db": 0o600, "f.db-wal": 0o600, "f.db-shm": 0o600} == modes


@pytest.mark.usefixtures("open_umask")
async def test_a_new_database_behind_a_link_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "f.db")

    await make_ready(f"sqlite:///{tmp_path}/link.db")

    assert 0o600 == mode(tmp_path / "f.db")


async def test_the_mode_of_a_database_that_is_there_is_its_owners_choice(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    await make_ready(f"sqlite:///{path}")
    path.chmod(0o640)

    async with opened(f"sqlite:///{path}") as store:
        await current(store)

    assert 0o640 == mode(path)


async def test_a_database_has_one_lock_under_all_its_names(tmp_path: Path) -> None:
    """Two controllers that came by two names would interleave."""
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path}/data/f.db"
    await make_ready(url)
    (tmp_path / "link.db").symlink_to("data/f.db")
    (tmp_path / "folder").symlink_to("data")

    async with opened(url) as store, hold_lock(store, HolderKind.DAEMON):
        for name in ("link.db", "folder/f.db", "data/../folder/f.db"):
            async with opened(f"sqlite:///{tmp_path}/{name}") as other:
                assert lock_file(store) == lock_file(other)
                with pytest.raises(AlreadyRunning):
                    async with hold_lock(other, HolderKind.ONE_SHOT):
                        pass


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"these are no pages of a database" * 200, "is a file, and no SQLite database"),
        (None, "is an SQLite database that is damaged"),
    ],
    ids=["another file", "damaged"],
)
async def test_a_file_that_is_no_database_is_named(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    path = tmp_path / "f.db"
    if content is None:
        await make_ready(f"sqlite:///{path}")
        whole = path.read_bytes()
        content = whole[:4096] + bytes(len(whole) - 4096)
    path.write_bytes(content)

    async with opened(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match=f"X3FLEET_DATABASE__URL names {text}") as caught:
            await current(store)

    assert "restore the database from a backup" in str(caught.value)
