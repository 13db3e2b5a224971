"""Thousands of rows in one statement: insert, insert what is missing, insert or overwrite.

The statement is written here and its values are converted a column at a time, a value that rows share
once: the expression language takes ten times as long as the database. Callers: whoever writes status.
Not here: transactions, what is written.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]


async def insert(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, all with the same columns; defaults of the model are not filled in.

    Raises:
        IntegrityError: one of them is there already.
    """
    await _execute(connection, table, rows, "")


async def insert_missing(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows whose primary key is not there yet; a column that is not given gets its default."""
    filled = [{**_defaults(table), **row} for row in rows]
    await _execute(connection, table, filled, " ON CONFLICT DO NOTHING")


async def upsert(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, or overwrite those that exist with the columns given.

    Args:
        connection: in a transaction.
        table: its primary key tells which rows exist.
        rows: all with the same columns, the primary key among them.
    """
    if not rows:
        return
    given = tuple(rows[0])
    keys = [column.name for column in table.primary_key]
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in given if name not in keys)
    ending = f" ON CONFLICT ({_listed(keys)}) DO UPDATE SET {changed}"
    defaults = {name: value for name, value in _defaults(table).items() if name not in given}
    filled = [{**row, **defaults} for row in rows] if defaults else rows
    await _execute(connection, table, filled, ending)


async def _execute(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], ending: str
) -> None:
    if not rows:
        return
    dialect = connection.dialect
    names = tuple(rows[0])
    columns = [
        _convert((row[name] for row in rows), _processor(table, name, dialect)) for name in names
    ]
    statement = _insert(table, names, dialect.name == "sqlite") + ending
    await connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


def _insert(table: Table, names: Sequence[str], is_sqlite: bool) -> str:  # noqa: FBT001 - one of two
    where = table.name if is_sqlite else f"{table.schema}.{table.name}"
    marks = ", ".join(["?" if is_sqlite else "%s"] * len(names))
    return f"INSERT INTO {where} ({_listed(names)}) VALUES ({marks})"  # noqa: S608 - our own names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@cache
def _defaults(table: Table) -> Row:
    """The model's defaults of columns, which the expression language would fill in."""
    found: Row = {}
    for column in table.columns:
        if column.default is None:
            continue
        value = column.default.arg  # type: ignore[attr-defined]  # scalars and callables have one
        found[column.name] = value(None) if callable(value) else value
    return found


_Processor = Callable[[Any], Any] | None


def _processor(table: Table, name: str, dialect: Dialect) -> _Processor:
    return table.c[name].type.dialect_impl(dialect).bind_processor(dialect)


def _convert(values: Iterable[Any], process: _Processor) -> list[Any]:
    if process is None:
        return list(values)
    converted, last, known = [], object(), None
    for value in values:
        if value is not last:
            last, known = value, process(value)
        converted.append(known)
    return converted
