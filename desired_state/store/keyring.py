"""Where encryption keys come from: the settings, or a file beside an SQLite database.

With no key configured and SQLite, `DATABASE.key` is made together with a new database, readable by
its owner alone, so that the embedded mode starts with nothing set. For an existing database a
missing key file is an error: a fresh key would open nothing in it. Callers: `store.engine`. Not
here: encryption.
"""

import os
from pathlib import Path

from desired_state.model.errors import ConfigError
from desired_state.store.secrets import make_key
from desired_state.store.settings import StoreSettings


def find_keys(settings: StoreSettings) -> tuple[str, ...]:
    """Return the encryption keys, newest first; makes a key file for a new SQLite database.

    Raises:
        ConfigError: none is configured for PostgreSQL, or the key file is missing or unreadable.
    """
    if settings.encryption_keys:
        return tuple(key.get_secret_value() for key in settings.encryption_keys)
    path = key_file(settings)
    if path is None:
        raise ConfigError(
            "X3FLEET_ENCRYPTION_KEYS is not set",
            hint="set one or more Fernet keys, or X3FLEET_DATABASE__KEY_FILE",
        )
    if path.exists():
        return _read(path)
    return (_create(path, settings.database.sqlite_path),)


def existing_keys(settings: StoreSettings) -> tuple[str, ...]:
    """Return the encryption keys as `find_keys` does, and never make any; empty where there is none.

    Raises:
        ConfigError: the key file cannot be read.
    """
    if settings.encryption_keys:
        return tuple(key.get_secret_value() for key in settings.encryption_keys)
    path = key_file(settings)
    return () if path is None or not path.exists() else _read(path)


def key_file(settings: StoreSettings) -> Path | None:
    """The file that keys are kept in when none is configured; None where there is no such file.

    Beside the database itself: a link to it, under another name, leads to the same keys.
    """
    if settings.database.key_file is not None:
        return settings.database.key_file
    database = settings.database.sqlite_path
    if database is None:
        return None
    database = database.resolve()
    return database.with_name(database.name + ".key")


def _read(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {path} cannot be read") from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise ConfigError(f"the key file {path} is empty")
    return keys


def _create(path: Path, database: Path | None) -> str:
    if database is None or (database.exists() and database.stat().st_size > 0):
        raise ConfigError(
            f"the key file {path} is missing",
            hint="restore it, or set X3FLEET_ENCRYPTION_KEYS to the keys of this database",
        )
    key = make_key()
    try:
        # Exclusive: of two starts at once one makes the key and the other reads it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)[0]
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key
