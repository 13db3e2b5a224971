"""Settings of the database: where it is, and the keys that secrets in it are encrypted with.

Read from `X3FLEET_DATABASE__URL`, `X3FLEET_DATABASE__KEY_FILE`, `X3FLEET_ENCRYPTION_KEYS`. Callers:
the roles that open a store. Not here: opening anything; where keys come from is `store.keyring`.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, SecretStr, field_validator
from pydantic_settings import NoDecode
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from desired_state.environment import Environment

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
"""The one driver that each kind of database is spoken to with."""


class DatabaseSettings(BaseModel):
    """Where the database is.

    `key_file`: holds the encryption keys, one a line; by default beside an SQLite database.
    """

    url: str = "sqlite:///x3fleet.db"
    key_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _is_known(cls, url: str) -> str:
        try:
            kind = make_url(url).get_backend_name()
        except (ArgumentError, ValueError):
            # The text is not repeated: it may hold a password.
            message = "is no database URL, write sqlite:///PATH or postgresql://HOST/NAME"
            raise ValueError(message) from None
        if kind not in DRIVERS:
            message = f"{kind} is not supported, use sqlite or postgresql"
            raise ValueError(message)
        return url

    @property
    def sqlalchemy_url(self) -> URL:
        """The URL with our driver."""
        url = make_url(self.url)
        return url.set(drivername=DRIVERS[url.get_backend_name()])

    @property
    def sqlite_path(self) -> Path | None:
        """The database's file; None for PostgreSQL and for a database in memory."""
        url = make_url(self.url)
        if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
            return None
        return Path(str(url.database))


class StoreSettings(Environment):
    """What it takes to open the store; of `encryption_keys`, by commas, the first encrypts."""

    database: DatabaseSettings = DatabaseSettings()
    encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


def load_store_settings() -> StoreSettings:
    """Read the settings from the environment.

    Raises:
        ConfigError: names every variable that is wrong, never its value.
    """
    return StoreSettings.read()
