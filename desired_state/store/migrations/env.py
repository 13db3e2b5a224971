"""Alembic's entry: runs migrations over a connection that `store.migrate` (or a test) hands over.

Not here: settings and engines; there is no alembic.ini, so nobody can run this against a guess.
"""

from alembic import context
from sqlalchemy import Connection, MetaData
from sqlalchemy.schema import BLANK_SCHEMA

from desired_state.store.migrate import prepare_schemas
from desired_state.store.tables import (
    adoption,
    backups,
    desired,
    forgotten,
    inbounds,
    measures,
    shop,
    sight,
    status,
)
from desired_state.store.tables.types import Base
from desired_state.store.version import VERSION_SCHEMA

TABLES = (adoption, backups, desired, forgotten, inbounds, measures, shop, sight, status)
"""Imported so that the metadata is complete."""


def run(connection: Connection) -> None:
    """Run what was asked for in one transaction."""
    on_sqlite = connection.dialect.name == "sqlite"
    prepare_schemas(connection)
    context.configure(
        connection=connection,
        target_metadata=flat_metadata() if on_sqlite else Base.metadata,
        include_schemas=not on_sqlite,
        version_table_schema=None if on_sqlite else VERSION_SCHEMA,
        render_as_batch=on_sqlite,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def flat_metadata() -> MetaData:
    """The same tables without their schemas, as SQLite holds them."""
    flat = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        # Both arguments say "no schema"; the library's annotations know neither.
        table.to_metadata(
            flat,
            schema=None,  # type: ignore[arg-type]  # None is meant
            referred_schema_fn=lambda *_: BLANK_SCHEMA,  # type: ignore[arg-type]  # as documented
        )
    return flat


run(context.config.attributes["connection"])
