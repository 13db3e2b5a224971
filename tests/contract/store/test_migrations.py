"""Migrations: up, down, and equal to the models, on both databases."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select, update

from desired_state.store import migrate, version
from desired_state.store.engine import Store
from desired_state.store.errors import StoreNewer, StoreOutdated
from desired_state.store.tables.types import DESIRED, STATUS, Base
from tests.stores import Databases, opened

HEAD = "0019"


@pytest.fixture
async def empty(databases: Databases) -> AsyncIterator[Store]:
    """Open a database without tables."""
    async with opened(databases.empty()) as store:
        yield store


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    """Open a prepared database of the test's own: its tables are changed here."""
    async with opened(databases.copy()) as store:
        yield store


def names_of_tables(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    schemas = (None,) if connection.dialect.name == "sqlite" else (DESIRED, STATUS)
    found = {
        name
        for schema in schemas
        if schema is None or schema in inspector.get_schema_names()
        for name in inspector.get_table_names(schema=schema)
    }
    return found - {"alembic_version"}


async def tables_in(store: Store) -> set[str]:
    async with store.engine.connect() as connection:
        return await connection.run_sync(names_of_tables)


async def run(store: Store, name: str, *arguments: str) -> None:
    """Run one of alembic's commands in a transaction."""

    def call(connection: Connection) -> None:
        getattr(command, name)(migrate.alembic_config(connection), *arguments)

    async with store.engine.begin() as connection:
        await connection.run_sync(call)


async def stamp(store: Store, revision: str) -> None:
    version = Table("alembic_version", MetaData(), Column("version_num", Text()), schema=DESIRED)
    async with store.engine.begin() as connection:
        await connection.execute(update(version).values(version_num=revision))


def test_history_is_one_line() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config())

    assert [HEAD] == scripts.get_heads()
    assert all(len(script._versioned_down_revisions) <= 1 for script in scripts.walk_revisions())


def test_the_light_check_knows_every_migration() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config())

    assert [script.revision for script in scripts.walk_revisions()] == [*reversed(version.KNOWN)]
    assert scripts.get_current_head() == version.HEAD


async def test_upgrade_makes_every_table_of_the_models(empty: Store) -> None:
    assert HEAD == await migrate.upgrade(empty)

    assert {table.name for table in Base.metadata.sorted_tables} == await tables_in(empty)


async def test_models_and_migrations_say_the_same(empty: Store) -> None:
    """Alembic compares columns, types, keys and indexes; it raises when a revision is missing."""
    await migrate.upgrade(empty)

    await run(empty, "check")


async def test_downgrade_leaves_nothing_and_upgrade_works_again(empty: Store) -> None:
    await migrate.upgrade(empty)
    await run(empty, "downgrade", "base")

    assert set() == await tables_in(empty)
    assert HEAD == await migrate.upgrade(empty)
    await run(empty, "check")


async def test_a_second_upgrade_changes_nothing(store: Store) -> None:
    before = await tables_in(store)

    assert HEAD == await migrate.upgrade(store)
    assert before == await tables_in(store)


async def test_a_present_database_is_accepted(store: Store) -> None:
    await version.check_version(store)

    assert HEAD == await version.current(store)


async def test_an_empty_database_is_refused_with_what_to_do(empty: Store) -> None:
    with pytest.raises(StoreOutdated, match=r"is empty.*x3fleet db upgrade"):
        await version.check_version(empty)

    assert await version.current(empty) is None


@pytest.mark.parametrize("call", [version.check_version, migrate.upgrade])
async def test_a_database_from_a_newer_release_is_refused(store: Store, call: object) -> None:
    """Neither used nor migrated: its tables mean something that this release does not know."""
    assert callable(call)
    await stamp(store, "9999")

    with pytest.raises(StoreNewer, match="9999, of a newer release"):
        await call(store)
    assert "9999" == await version.current(store)


async def test_the_initial_tables_count_revisions_from_zero(empty: Store) -> None:
    await migrate.upgrade(empty)

    async with empty.engine.connect() as connection:
        rows = await connection.execute(select(Base.metadata.tables["desired.revision_counter"]))
        assert [(1, 0)] == [tuple(row) for row in rows]
