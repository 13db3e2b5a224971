"""Settings of backups: where they lie, how often they are made, how many are kept, their own keys.

Read from `X3FLEET_BACKUP__*`. Callers: the roles that make or restore backups. Not here: the keys of
secrets, which encrypt backups too unless these have their own (`keys`).
"""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from desired_state.environment import Environment
from desired_state.model.errors import ConfigError
from desired_state.store.settings import StoreSettings

FOLDER = "backups"
"""Beside an SQLite database."""


class BackupSettings(BaseModel):
    """Where and when.

    `folder`: by default beside an SQLite database. `every_s`: 0 makes none by itself. `check_s`: how often
    it is looked whether one is due. `panels`: whether panels are asked for their databases too.
    `keep_last`, `keep_daily`, `keep_weekly`: how many of the newest, of days and of weeks are kept.
    `panel_limit_mib`: a panel's database that is larger is not fetched. `keys`: by commas, the first
    encrypts; none: the keys of secrets.
    """

    folder: Path | None = None
    every_s: float = Field(default=86_400.0, ge=0, le=31_536_000)
    check_s: float = Field(default=300.0, gt=0, le=86_400)
    panels: bool = True
    keep_last: int = Field(default=3, ge=1, le=10_000)
    keep_daily: int = Field(default=7, ge=0, le=10_000)
    keep_weekly: int = Field(default=4, ge=0, le=10_000)
    panel_limit_mib: int = Field(default=1024, ge=1, le=1_048_576)
    keys: SecretStr = SecretStr("")

    @property
    def own_keys(self) -> tuple[str, ...]:
        """The keys that are backups' alone, newest first."""
        parts = self.keys.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def place(self, store: StoreSettings) -> Path:
        """Return the folder that backups lie in; nothing is made.

        Raises:
            ConfigError: none is set, and there is no SQLite database to lie beside.
        """
        if self.folder is not None:
            return self.folder
        database = store.database.sqlite_path
        if database is None:
            raise ConfigError(
                "nobody says where backups are to lie",
                hint="set X3FLEET_BACKUP__FOLDER, best on another disk than the database",
            )
        return database.resolve().with_name(FOLDER)


class _Environment(Environment):
    backup: BackupSettings = BackupSettings()


def load_backup_settings() -> BackupSettings:
    """Read the settings from the environment.

    Raises:
        ConfigError: names every variable that is wrong, never its value.
    """
    return _Environment.read().backup
