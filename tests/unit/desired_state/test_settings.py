"""Settings of the store, and where its encryption keys come from."""

import stat
from pathlib import Path

import pytest

from desired_state.model.errors import ConfigError
from desired_state.store.keyring import find_keys, key_file
from desired_state.store.secrets import make_key
from desired_state.store.settings import DatabaseSettings, StoreSettings, load_store_settings


def settings(url: str, **changes: object) -> StoreSettings:
    return StoreSettings(database=DatabaseSettings(url=url, **changes))


def test_without_settings_the_database_lies_in_the_working_directory() -> None:
    found = load_store_settings()

    assert "sqlite:///x3fleet.db" == found.database.url
    assert Path("x3fleet.db") == found.database.sqlite_path
    assert () == found.encryption_keys


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X3FLEET_DATABASE__URL", "postgresql://db/fleet")
    monkeypatch.setenv("X3FLEET_DATABASE__KEY_FILE", "/run/keys")
    monkeypatch.setenv("X3FLEET_ENCRYPTION_KEYS", "one, two,")

    found = load_store_settings()

    assert "postgresql+psycopg://db/fleet" == str(found.database.sqlalchemy_url)
    assert Path("/run/keys") == found.database.key_file
    assert ["one", "two"] == [key.get_secret_value() for key in found.encryption_keys]


def test_keys_are_not_shown() -> None:
    shown = repr(StoreSettings(encryption_keys="hunter2"))

    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "url", ["mysql://db/fleet", "fleet.db", "postgresql://a@db:hunter2/fleet"], ids=str
)
def test_a_wrong_url_is_named_by_its_variable_without_its_value(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("X3FLEET_DATABASE__URL", url)

    with pytest.raises(ConfigError, match="X3FLEET_DATABASE__URL") as caught:
        load_store_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("sqlite+pysqlite:///a.db", "sqlite+aiosqlite"),
        ("postgresql://db/fleet", "postgresql+psycopg"),
        ("postgresql+asyncpg://db/fleet", "postgresql+psycopg"),
    ],
)
def test_each_database_is_spoken_to_by_one_driver(url: str, driver: str) -> None:
    assert driver == DatabaseSettings(url=url).sqlalchemy_url.drivername


# -- keys ------------------------------------------------------------------------------------------


def test_configured_keys_win_over_a_file(tmp_path: Path) -> None:
    found = StoreSettings(
        database=DatabaseSettings(url=f"sqlite:///{tmp_path}/f.db"), encryption_keys="a,b"
    )

    assert ("a", "b") == find_keys(found)
    assert [] == list(tmp_path.iterdir())


def test_a_new_sqlite_database_gets_a_key_file_for_its_owner_alone(tmp_path: Path) -> None:
    embedded = settings(f"sqlite:///{tmp_path}/f.db")

    made = find_keys(embedded)

    path = tmp_path / "f.db.key"
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert made == find_keys(embedded) == (path.read_text().strip(),)


def test_a_key_file_may_hold_several_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("new\n\nold\n")

    assert ("new", "old") == find_keys(settings("postgresql://db/f", key_file=tmp_path / "keys"))


def test_no_fresh_key_is_made_for_a_database_that_has_data(tmp_path: Path) -> None:
    """It would open nothing in it, and hide that the right one is lost."""
    (tmp_path / "f.db").write_bytes(b"SQLite format 3")

    with pytest.raises(ConfigError, match=r"f\.db\.key is missing.*restore it"):
        find_keys(settings(f"sqlite:///{tmp_path}/f.db"))
    assert ["f.db"] == [path.name for path in tmp_path.iterdir()]


def test_postgres_without_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="X3FLEET_ENCRYPTION_KEYS is not set"):
        find_keys(settings("postgresql://db/fleet"))


def test_a_database_in_memory_has_no_key_file() -> None:
    assert key_file(settings("sqlite://")) is None


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")

    with pytest.raises(ConfigError, match="is empty"):
        find_keys(settings("postgresql://db/f", key_file=tmp_path / "keys"))


def test_an_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        find_keys(settings("postgresql://db/f", key_file=tmp_path))


def test_a_key_file_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        find_keys(settings(f"sqlite:///{tmp_path}/missing/f.db"))


def test_of_two_starts_at_once_one_makes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other finds the file there, between its look and its try, and reads it."""
    embedded = settings(f"sqlite:///{tmp_path}/f.db")
    first = find_keys(embedded)
    exists = Path.exists
    answers = iter([False])
    monkeypatch.setattr(
        Path, "exists", lambda self: next(answers, exists(self)) if self.suffix == ".key" else False
    )

    assert first == find_keys(embedded)


def test_keys_are_drawn_anew() -> None:
    assert make_key() != make_key()


def test_a_database_has_one_key_file_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link.db").symlink_to("data/f.db")

    made = find_keys(settings(f"sqlite:///{tmp_path}/link.db"))

    assert ["f.db.key"] == [path.name for path in (tmp_path / "data").iterdir()]
    assert made == find_keys(settings(f"sqlite:///{tmp_path}/data/f.db"))
