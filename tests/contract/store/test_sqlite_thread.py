"""A statement is one question to SQLite's thread, and a long result comes in parts."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from desired_state.store.engine import Store
from desired_state.store.sqlite_thread import AT_ONCE, Connection, connect

LENGTHS = (0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 500)
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) SELECT i FROM n"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    opened = await connect(str(tmp_path / "some.db"), isolation_level=None)
    await opened.cursor().execute("CREATE TABLE t (i INTEGER PRIMARY KEY)")
    yield opened  # type: ignore[misc]
    await opened.close()


class Counting:
    """Stands in for the queue of a connection's thread, and counts what is put there."""

    def __init__(self, connection: Connection) -> None:
        self.asked = 0
        self._queue, connection._tx = connection._tx, self  # type: ignore[assignment]

    def put_nowait(self, question: object) -> None:
        self.asked += 1
        self._queue.put_nowait(question)  # type: ignore[arg-type]


async def test_a_statement_with_its_rows_is_one_question(connection: Connection) -> None:
    counting = Counting(connection)

    cursor = await connection.cursor().execute(NUMBERS, (3,))
    rows = await cursor.fetchall()
    await cursor.close()

    assert ([(1,), (2,), (3,)], 1) == (rows, counting.asked)


@pytest.mark.parametrize("length", [n for n in LENGTHS if n])
async def test_every_row_of_a_result_is_fetched(connection: Connection, length: int) -> None:
    cursor = await connection.cursor().execute(NUMBERS, (length,))

    assert [(n,) for n in range(1, length + 1)] == await cursor.fetchall()
    assert [] == await cursor.fetchall()
    await cursor.close()


@pytest.mark.parametrize("length", [n for n in LENGTHS if n])
async def test_parts_of_a_result_come_in_order(connection: Connection, length: int) -> None:
    cursor = await connection.cursor().execute(NUMBERS, (length,))
    first = await cursor.fetchone()
    parts = [part async for part in parts_of(cursor)]

    assert [(n,) for n in range(1, length + 1)] == [first, *(row for part in parts for row in part)]
    assert all(len(part) == 300 for part in parts[:-1])
    await cursor.close()


async def parts_of(cursor: object) -> AsyncIterator[list[tuple[int]]]:
    while part := await cursor.fetchmany(300):  # type: ignore[attr-defined]
        yield part


async def test_a_statement_without_rows_tells_what_it_changed(connection: Connection) -> None:
    cursor = await connection.cursor().executemany("INSERT INTO t VALUES (?)", [(5,), (6,)])
    one = await connection.cursor().execute("INSERT INTO t VALUES (9)")

    assert (2, None, []) == (cursor.rowcount, cursor.description, await cursor.fetchall())
    assert (1, 9) == (one.rowcount, one.lastrowid)


async def test_a_refused_statement_leaves_the_connection_in_order(connection: Connection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        await cursor.execute("INSERT INTO t VALUES (1)")

    assert [(1,)] == await (await cursor.execute("SELECT i FROM t")).fetchall()


async def test_a_result_that_was_not_read_to_its_end_holds_nothing(sqlite_store: Store) -> None:
    """A stream left early keeps no snapshot, and the next writer of the same connection goes on."""
    async with sqlite_store.reading() as session:
        rows = await session.stream(text(NUMBERS.replace("?", "5000")))
        assert (1,) == await rows.fetchone()
        await rows.close()

    async with sqlite_store.recording() as session:
        await session.execute(text("CREATE TABLE later (i INTEGER)"))
