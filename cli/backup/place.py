"""Where backups lie and what opens them, from the settings alone: the database may be lost.

Callers: the commands beside this file. Not here: what they do with it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.jobs.backups import Cabinet
    from desired_state.store.backup.keys import BackupKey
    from desired_state.store.backup.settings import BackupSettings
    from desired_state.store.secrets import Vault
    from desired_state.store.settings import StoreSettings


@dataclass(frozen=True)
class Place:
    """The folder, the keys of files, newest first, and the vault of the secrets in their databases."""

    store: "StoreSettings"
    settings: "BackupSettings"
    folder: Path
    keys: "tuple[BackupKey, ...]" = field(repr=False)
    vault: "Vault" = field(repr=False)


def read_place() -> Place:
    """Read the settings; makes no key and no folder.

    Raises:
        ConfigError: a setting is wrong, or nobody says where backups lie.
        BackupKeyMissing: there is no key.
    """
    from desired_state.store.backup.errors import BackupKeyMissing
    from desired_state.store.backup.keys import backup_keys
    from desired_state.store.backup.settings import load_backup_settings
    from desired_state.store.keyring import existing_keys, key_file
    from desired_state.store.secrets import Vault
    from desired_state.store.settings import load_store_settings

    store, settings = load_store_settings(), load_backup_settings()
    keys = existing_keys(store)
    if not keys:
        where = key_file(store)
        raise BackupKeyMissing(
            f"there is no encryption key{f' at {where}' if where else ''}: a database without its"
            " keys opens no seed",
            hint="put the key file back, or set X3FLEET_ENCRYPTION_KEYS",
        )
    folder = settings.place(store)
    return Place(store, settings, folder, backup_keys(store, settings), Vault(keys))


def cabinet_of(store: "StoreSettings", settings: "BackupSettings") -> "Cabinet | None":
    """Where a service puts its backups; None where nobody says, or there is no key."""
    from controller.jobs.backups import Cabinet
    from desired_state.model.errors import X3FleetError
    from desired_state.store.backup.keys import backup_keys

    try:
        return Cabinet(settings.place(store), backup_keys(store, settings)[0], settings)
    except X3FleetError:
        return None  # The look before the start has said it.


def with_keys(place: Place) -> "StoreSettings":
    """The settings of the database with the keys that were found: opening it then makes none."""
    from pydantic import SecretStr

    from desired_state.store.keyring import existing_keys

    keys = tuple(SecretStr(key) for key in existing_keys(place.store))
    return place.store.model_copy(update={"encryption_keys": keys})
