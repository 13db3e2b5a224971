"""Which version the tables are at, and whether this release can work with them.

Callers: every role at its start, `migrate`. Light on purpose: every command of the cli asks, and the
migration library takes longer to load than all the rest of the store. Not here: migrating.
"""

from sqlalchemy import Connection, inspect, text

from desired_state.store.engine import Store, translated
from desired_state.store.errors import StoreNewer, StoreOutdated
from desired_state.store.tables.types import DESIRED

VERSION_SCHEMA = DESIRED
VERSION_TABLE = "alembic_version"
KNOWN = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010",
    "0011", "0012", "0013", "0014", "0015", "0016", "0017", "0018", "0019",
)  # fmt: skip
"""Every revision of the tables, oldest first; a test compares them with the migrations."""
HEAD = KNOWN[-1]


async def current(store: Store) -> str | None:
    """Return the revision that the tables are at; None for an empty database."""
    with translated():
        async with store.engine.connect() as connection:
            return await connection.run_sync(read_version)


async def check_version(store: Store) -> None:
    """Refuse a database that this release cannot work with.

    Raises:
        StoreOutdated: empty, or of an older release.
        StoreNewer: of a newer release.
    """
    found = await current(store)
    if found == HEAD:
        return
    refuse_newer(found)
    what = "is empty" if found is None else f"is at {found}, of an older release"
    raise StoreOutdated(f"the database {what}", hint="run x3fleet db upgrade")


def read_version(connection: Connection) -> str | None:
    """Read the revision that the migrations left; None where there is none."""
    schema = None if connection.dialect.name == "sqlite" else VERSION_SCHEMA
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return None
    table = VERSION_TABLE if schema is None else f"{schema}.{VERSION_TABLE}"
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {table}"))  # noqa: S608  # our own constants
    return found


def refuse_newer(found: str | None) -> None:
    """Refuse a revision that this release does not know.

    Raises:
        StoreNewer: it was made by a newer release.
    """
    if found is not None and found not in KNOWN:
        raise StoreNewer(
            f"the database is at {found}, of a newer release of x3fleet",
            hint="install that release, or restore the backup made before the upgrade",
        )
