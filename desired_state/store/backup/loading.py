"""Putting a restored database into PostgreSQL; what was there is kept in schemas of another name.

One transaction: either everything is there afterwards, or nothing happened. Callers: `commands.restore`,
under the lock, as the owner of the tables. Not here: SQLite (`placing`).
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, literal, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.store.backup.copying import advance_numbers, copy_tables
from desired_state.store.backup.errors import RestoreRefused
from desired_state.store.backup.placing import HELD
from desired_state.store.engine import Store, translated
from desired_state.store.migrate import upgrade_connection
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.unit_of_work import LOCK
from desired_state.store.version import read_version


async def load(target: Store, source: Store, now: datetime, *, replace: bool) -> str:
    """Copy every row of a restored database into PostgreSQL, whose own tables are put aside.

    Returns:
        The names of the schemas that what was there is kept in; "" where there was nothing.

    Raises:
        RestoreRefused: the database holds something and may not be replaced.
        StoreError: whoever is connected is not its owner, or the branch of what else went wrong.
    """
    with translated():
        async with target.engine.begin() as connection:
            # Whoever writes desired state waits, and finds the restored tables.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            kept = await _put_aside(connection, now, replace=replace)
            await connection.run_sync(upgrade_connection)
            async with source.reading() as session:
                await copy_tables(await session.connection(), connection)
            await advance_numbers(connection)
            return kept


async def _put_aside(connection: AsyncConnection, now: datetime, *, replace: bool) -> str:
    if await connection.run_sync(read_version) is None:
        return ""
    if not replace and await connection.run_sync(_holds_anything):
        raise RestoreRefused(
            "the database holds something",
            hint="--replace puts it aside, in schemas of other names",
        )
    stamp = f"{now.astimezone(UTC):%Y%m%dt%H%M%Sz}"
    kept = []
    for schema in (DESIRED, STATUS):
        kept.append(f"{schema}_replaced_{stamp}")
        await connection.execute(text(f"ALTER SCHEMA {schema} RENAME TO {kept[-1]}"))
    return ", ".join(kept)


def _holds_anything(connection: Connection) -> bool:
    return any(
        connection.execute(
            select(literal(1)).select_from(table(name, schema=DESIRED)).limit(1)
        ).first()
        for name in HELD
        if connection.dialect.has_table(connection, name, schema=DESIRED)
    )
