"""Bringing a database up to date.

Callers: `x3fleet db upgrade`, the demo, tests. Not here: the tables (`store.tables`), their history
(`store.migrations`), and telling which version a database is at (`store.version`).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from desired_state.store.engine import Store, translated
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.version import HEAD, read_version, refuse_newer

_UPGRADE_LOCK = 0x78336D67
"""Two upgrades at once wait for each other ("x3mg")."""


async def upgrade(store: Store) -> str:
    """Bring the tables to this release, in one transaction.

    Returns:
        The revision that the tables are at now.

    Raises:
        StoreNewer: they are of a newer release.
        StoreError: the branch of what else went wrong.
    """
    with translated():
        async with store.engine.begin() as connection:
            return await connection.run_sync(upgrade_connection)


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, which lives in no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def prepare_schemas(connection: Connection) -> None:
    """Make the two schemas on PostgreSQL; SQLite has none."""
    if connection.dialect.name == "sqlite":
        return
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
    for schema in (DESIRED, STATUS):
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))


def upgrade_connection(connection: Connection) -> str:
    """Do it in the caller's transaction; returns the revision.

    Raises:
        StoreNewer: the tables are of a newer release.
    """
    refuse_newer(read_version(connection))
    command.upgrade(alembic_config(connection), "head")
    return HEAD
