"""The version of the database: what it is, whether we can work with it, and bringing it up to date.

Callers: `x3fleet db upgrade`, every role at its start (`check_version`), tests. Not here: the
tables (`store.tables`) and their history (`store.migrations`).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from desired_state.store.engine import Store, translated
from desired_state.store.errors import StoreNewer, StoreOutdated
from desired_state.store.tables.types import DESIRED, STATUS

VERSION_SCHEMA = DESIRED
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
            return await connection.run_sync(_upgrade)


async def current(store: Store) -> str | None:
    """Return the revision that the tables are at; None for an empty database."""
    with translated():
        async with store.engine.connect() as connection:
            return await connection.run_sync(_current)


async def check_version(store: Store) -> None:
    """Refuse a database that this release cannot work with.

    Raises:
        StoreOutdated: empty, or of an older release.
        StoreNewer: of a newer release.
    """
    found = await current(store)
    scripts = ScriptDirectory.from_config(alembic_config())
    if found == scripts.get_current_head():
        return
    _refuse_newer(found, scripts)
    what = "is empty" if found is None else f"is at {found}, of an older release"
    raise StoreOutdated(f"the database {what}", hint="run x3fleet db upgrade")


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


def _upgrade(connection: Connection) -> str:
    config = alembic_config(connection)
    scripts = ScriptDirectory.from_config(config)
    _refuse_newer(_current(connection), scripts)
    command.upgrade(config, "head")
    return str(scripts.get_current_head())


def _current(connection: Connection) -> str | None:
    schema = None if connection.dialect.name == "sqlite" else VERSION_SCHEMA
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    return context.get_current_revision()


def _refuse_newer(found: str | None, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise StoreNewer(
            f"the database is at {found}, of a newer release of x3fleet",
            hint="install that release, or restore the backup made before the upgrade",
        )
