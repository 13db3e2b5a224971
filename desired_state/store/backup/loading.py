"""Putting a restored database into PostgreSQL; what was there is kept in schemas of another name.

One transaction: either everything is there afterwards, or nothing happened. Roles that had their parts have
them again, on the restored tables alone. Callers: `commands.restore`,
under the lock, as the owner of the tables. Not here: SQLite (`placing`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, literal, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.store.backup.copying import advance_numbers, copy_tables
from desired_state.store.backup.errors import RestoreRefused
from desired_state.store.backup.placing import HELD
from desired_state.store.engine import Store, translated
from desired_state.store.migrate import upgrade_connection
from desired_state.store.roles import give, granted, take_away
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.unit_of_work import LOCK
from desired_state.store.version import read_version


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was done. `kept`: names of the schemas that what was there is kept in; "": there was nothing.

    `granted`: the roles that had rights and have them again.
    """

    kept: str = ""
    granted: tuple[str, ...] = ()


async def load(target: Store, source: Store, now: datetime, *, replace: bool) -> Loaded:
    """Copy every row of a restored database into PostgreSQL, whose own tables are put aside.

    Raises:
        RestoreRefused: the database holds something and may not be replaced.
        StoreError: whoever is connected is not its owner, or the branch of what else went wrong.
    """
    with translated():
        async with target.engine.begin() as connection:
            # Whoever writes desired state waits, and finds the restored tables.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            served = await granted(connection)
            kept = await _put_aside(connection, now, replace=replace)
            await connection.run_sync(upgrade_connection)
            async with source.reading() as session:
                await copy_tables(await session.connection(), connection)
            await advance_numbers(connection)
            for roles in served:
                if kept:
                    await take_away(connection, roles, *kept)
                await give(connection, roles)
            return Loaded(", ".join(kept), tuple(name for one in served for name in one.all))


async def _put_aside(
    connection: AsyncConnection, now: datetime, *, replace: bool
) -> tuple[str, ...]:
    if await connection.run_sync(read_version) is None:
        return ()
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
    return tuple(kept)


def _holds_anything(connection: Connection) -> bool:
    return any(
        connection.execute(
            select(literal(1)).select_from(table(name, schema=DESIRED)).limit(1)
        ).first()
        for name in HELD
        if connection.dialect.has_table(connection, name, schema=DESIRED)
    )
