"""Copying every row of every table from one database into another of the same version, of either kind.

The tables' own types carry values across: moments, JSON, sealed secrets stay what they are. Callers:
`snapshot` (into a backup), `restoring` (out of one). Not here: making the tables, encryption.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from sqlalchemy import BigInteger, Integer, Table, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.store import tables as modules
from desired_state.store.tables.types import Base

AT_ONCE = 500


def tables() -> tuple[Table, ...]:
    """Return every table; one that another points at comes before it."""
    for module in iter_modules(modules.__path__, f"{modules.__name__}."):
        # A table whose module nobody has imported is in no metadata, and would be lost in silence.
        import_module(module.name)
    return tuple(Base.metadata.sorted_tables)


async def copy_tables(source: AsyncConnection, target: AsyncConnection) -> Mapping[str, int]:
    """Put every row of the source in the place of whatever the target holds.

    Args:
        source: one snapshot.
        target: one transaction, at the same version of the tables; committed by the caller.

    Returns:
        How many rows by table.
    """
    for table in reversed(tables()):
        await target.execute(delete(table))
    return {table.name: await _copy(table, source, target) for table in tables()}


async def count_rows(connection: AsyncConnection) -> Mapping[str, int]:
    """Count the rows of every table."""
    return {
        table.name: int(await connection.scalar(select(func.count()).select_from(table)) or 0)
        for table in tables()
    }


async def advance_numbers(target: AsyncConnection) -> None:
    """Let PostgreSQL number rows on from the highest that was copied; SQLite does so by itself."""
    if target.dialect.name == "sqlite":
        return
    for table in tables():
        column = table.autoincrement_column
        if column is None or not isinstance(column.type, BigInteger | Integer):
            continue
        name = f"{table.schema}.{table.name}"
        sequence = await target.scalar(
            text("SELECT pg_get_serial_sequence(:name, :column)"),
            {"name": name, "column": column.name},
        )
        if sequence is not None:
            highest = await target.scalar(select(func.coalesce(func.max(column), 0)))
            await target.execute(
                text("SELECT setval(:sequence, :next, false)"),
                {"sequence": sequence, "next": int(highest or 0) + 1},
            )


async def _copy(table: Table, source: AsyncConnection, target: AsyncConnection) -> int:
    copied = 0
    async with source.stream(select(table), execution_options={"yield_per": AT_ONCE}) as rows:
        async for some in rows.mappings().partitions(AT_ONCE):
            await target.execute(insert(table), [dict(row) for row in some])
            copied += len(some)
    return copied
