"""Files that a backup and a restore leave behind: whose they are, and on which disks they can lie."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.runtime.errors import HolderKind
from controller.runtime.single import hold_lock
from desired_state.commands.restore import Order, restore
from desired_state.store.backup.archive import measure, unpack
from desired_state.store.backup.contents import PanelPart, PanelState
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.folder import making, publish
from desired_state.store.backup.keys import read_keys
from desired_state.store.backup.making import make_backup, nothing_fetched
from desired_state.store.backup.proving import unpacked
from desired_state.store.backup.scratch import PREFIX, scratch_folder, sweep_scratch
from desired_state.store.files import hand_over, make_folder, owner_of
from tests.stores import KEY, Databases, opened

KEYS = read_keys((KEY,))
SERVICE = 4321
"""A user that runs nothing here."""


def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others: run as root")


def owners_in(folder: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_uid for path in folder.iterdir()}


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def lose(database: Path) -> None:
    database.unlink()


def is_there(path: str) -> bool:
    return Path(path).is_file()


def owned_by_service(folder: Path) -> Path:
    folder.mkdir()
    os.chown(folder, SERVICE, SERVICE)
    return folder


@pytest.fixture
def home(tmp_path, sqlite_template) -> str:
    """The URL of a database that belongs to the service, in a folder of its own."""
    as_root()
    url = Databases("sqlite", owned_by_service(tmp_path / "home"), template=sqlite_template).copy()
    os.chown(url.removeprefix("sqlite:///"), SERVICE, SERVICE)
    return url


async def test_what_root_backs_up_belongs_to_the_user_of_the_service(home, tmp_path) -> None:
    folder = tmp_path / "home" / "kept" / "here"
    async with opened(home) as store:
        made = await make_backup(store, folder, KEYS[0], nothing_fetched)

    assert {made.path.name: SERVICE, ".x3fleet-backup.lock": SERVICE} == owners_in(folder)
    assert (SERVICE, SERVICE) == (folder.stat().st_uid, folder.parent.stat().st_uid)


async def test_what_root_restores_belongs_to_the_user_of_the_service(home, tmp_path) -> None:
    database = Path(home.removeprefix("sqlite:///"))
    async with opened(home) as store:
        made = await make_backup(store, tmp_path / "kept", KEYS[0], nothing_fetched)
    order = Order(made.path, KEYS, "test", replace=True)

    for lost in (False, True):
        if lost:
            lose(database)
        async with opened(home) as store, hold_lock(store, HolderKind.ONE_SHOT):
            await restore(store, order)

        owners = owners_in(database.parent)
        assert (SERVICE, {SERVICE}) == (owners[database.name], set(owners.values()))


def test_who_is_not_root_gives_nothing_away(tmp_path) -> None:
    as_root()
    (tmp_path / "mine").touch()

    hand_over(tmp_path / "mine", owner_of(owned_by_service(tmp_path / "theirs")), user=1000)

    assert os.geteuid() == owner_of(tmp_path / "mine").user


def test_a_folder_that_is_there_keeps_its_owner(tmp_path) -> None:
    as_root()
    (tmp_path / "kept").mkdir()

    make_folder(tmp_path / "kept", owner_of(owned_by_service(tmp_path / "theirs")))

    assert 0 == owner_of(tmp_path / "kept").user


# -- scratch folders -------------------------------------------------------------------------------


async def test_a_backup_that_is_made_beside_a_verify_takes_nothing_from_it(
    sqlite_store, tmp_path
) -> None:
    made = await make_backup(sqlite_store, tmp_path, KEYS[0], nothing_fetched)

    async with unpacked(made.path, KEYS, sqlite_store.vault, tmp_path) as found:
        await make_backup(sqlite_store, tmp_path, KEYS[0], nothing_fetched)

        assert found.path.is_file()
        async with found.store.reading() as session:
            await session.connection()
    assert [] == list(tmp_path.glob(f"{PREFIX}*"))


def test_what_a_killed_process_left_goes_with_whoever_needs_a_folder_next(tmp_path) -> None:
    with_lock, without, empty = (tmp_path / f"{PREFIX}{n}" for n in ("new", "old", "empty"))
    for folder in (with_lock, without, empty):
        folder.mkdir()
    (with_lock / ".lock").touch()
    (without / "database.sqlite").touch()

    with scratch_folder(tmp_path) as mine:
        assert [mine] == list(tmp_path.glob(f"{PREFIX}*"))
        sweep_scratch(tmp_path)
        assert mine.is_dir()


# -- disks without hard links ----------------------------------------------------------------------


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP])
def no_links(request, monkeypatch) -> None:
    """A disk that knows no hard links, as exFAT and some network shares."""

    def refuse(*_, **__):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("no_links")
async def test_backups_are_made_and_restored_on_a_disk_without_hard_links(
    sqlite_store, sqlite_template, tmp_path
) -> None:
    kept = tmp_path / "kept"
    made = [await make_backup(sqlite_store, kept, KEYS[0], nothing_fetched) for _ in range(2)]
    url = Databases("sqlite", tmp_path, template=sqlite_template).copy()

    async with opened(url) as store:
        restored = await restore(store, Order(made[0].path, KEYS, "test", replace=True))

    assert 2 == len({one.path for one in made})
    assert [1, 1] == [len(unpack(one.path, KEYS, None).parts) for one in made]
    assert is_there(restored.replaced)
    assert is_there(url.removeprefix("sqlite:///"))


@pytest.mark.usefixtures("no_links")
def test_on_a_disk_without_hard_links_no_backup_takes_the_place_of_another(
    sqlite_store, tmp_path
) -> None:
    moment = sqlite_store.clock.now()
    with making(tmp_path):
        names = []
        for content in ("one", "two"):
            (tmp_path / "sealed").write_text(content)
            names.append(publish(tmp_path / "sealed", tmp_path, moment))

    assert ["one", "two"] == [path.read_text() for path in names]


def test_another_fault_of_the_disk_is_told(sqlite_store, tmp_path, monkeypatch) -> None:
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "sealed").touch()

    with making(tmp_path), pytest.raises(BackupError, match="No space left"):
        publish(tmp_path / "sealed", tmp_path, sqlite_store.clock.now())


# -- disks without room ----------------------------------------------------------------------------


class Disk:
    """What is free on it, as the system tells."""

    def __init__(self, monkeypatch, free_mib: float) -> None:
        self.free = int(free_mib * (1 << 20))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=self.free))


async def test_no_backup_is_begun_that_the_disk_has_no_room_for(
    sqlite_store, tmp_path, monkeypatch
) -> None:
    asked = []

    async def fetch(folder):
        asked.append(folder)
        return ()

    for free_mib in (1, 64.5):
        Disk(monkeypatch, free_mib)
        with pytest.raises(BackupError, match="of room, and"):
            await make_backup(sqlite_store, tmp_path / "kept", KEYS[0], fetch)

    assert [] == asked
    assert [".x3fleet-backup.lock"] == [path.name for path in files_in(tmp_path / "kept")]


async def test_panels_databases_that_leave_no_room_to_encrypt_and_prove_them_end_the_backup(
    sqlite_store, tmp_path, monkeypatch
) -> None:
    disk = Disk(monkeypatch, 1000)

    async def fetch(folder):
        (folder / "panel-0001").write_bytes(bytes(1 << 20))
        disk.free = 65 << 20
        part = measure(folder / "panel-0001", "panel-0001")
        return (PanelPart("one", PanelState.UNCHECKED, part=part),)

    with pytest.raises(BackupError, match="66 MiB of room, and 65 are free"):
        await make_backup(sqlite_store, tmp_path / "kept", KEYS[0], fetch)

    assert [".x3fleet-backup.lock"] == [path.name for path in files_in(tmp_path / "kept")]
