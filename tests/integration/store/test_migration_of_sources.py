"""A database of the release before keeps its sources, and what is known of them, through the migration."""

from alembic import command
from sqlalchemy import Connection, text

from desired_state.queries.sources import list_sources
from desired_state.store import migrate
from desired_state.store.engine import Store
from tests.stores import Databases, opened


async def run(store: Store, name: str, revision: str) -> None:
    def call(connection: Connection) -> None:
        getattr(command, name)(migrate.alembic_config(connection), revision)

    async with store.engine.begin() as connection:
        await connection.run_sync(call)


async def execute(store: Store, statement: str) -> None:
    table = "manifest_source" if store.is_sqlite else "desired.manifest_source"
    async with store.engine.begin() as connection:
        await connection.execute(text(statement.format(table=table)))


async def test_a_source_that_was_applied_counts_as_fetched_and_well(databases: Databases) -> None:
    async with opened(databases.empty()) as store:
        await run(store, "upgrade", "0003")
        await execute(
            store,
            "INSERT INTO {table} (name, applied_revision, applied_at, revision)"
            " VALUES ('fleet', 'r1', '2026-01-02 03:04:05+00', 7)"
            if not store.is_sqlite
            else "INSERT INTO {table} (name, applied_revision, applied_at, revision)"
            " VALUES ('fleet', 'r1', '2026-01-02 03:04:05.000000', 7)",
        )

        await migrate.upgrade(store)

        async with store.reading() as session:
            (found,) = await list_sources(session)
        assert ("fleet", "r1", "r1", "", (), True) == (
            found.source, found.applied_revision, found.fetched_revision, found.code,
            found.faults, found.in_force,
        )  # fmt: skip
        assert found.applied_at == found.fetched_at == found.checked_at


async def test_a_source_that_never_was_applied_goes_with_the_downgrade(
    databases: Databases,
) -> None:
    """The release before cannot say "never"."""
    async with opened(databases.empty()) as store:
        await migrate.upgrade(store)
        await execute(
            store,
            "INSERT INTO {table} (name, applied_revision, fetched_revision, error_code, error,"
            " faults, revision) VALUES ('fleet', '', 'r1', 'manifest', 'bad', '[]', 7)",
        )

        await run(store, "downgrade", "0003")
        await migrate.upgrade(store)

        async with store.reading() as session:
            assert () == await list_sources(session)
