"""One hop to SQLite's thread a statement: run, fetched and closed there at once.

aiosqlite asks its thread four times a statement (make a cursor, run, fetch, close), and each question is
two switches between threads, which cost more than most statements do. Caller: `engine`, as the
connection that SQLAlchemy adapts. Not here: what a connection is told when it opens; transactions.
"""

import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

import aiosqlite

AT_ONCE = 1_000
"""Rows that come along with their statement; the rest of a longer result is asked for."""

T = TypeVar("T")
Row = tuple[Any, ...]


class Cursor:
    """What SQLAlchemy uses of a cursor. It has run one statement, or none yet."""

    def __init__(self, connection: "Connection") -> None:
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._connection = connection
        self._rows: list[Row] = []
        self._rest: sqlite3.Cursor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> Self:  # noqa: ANN401  # sqlite3's own
        """Run a statement, and fetch the first rows of what it gives."""
        await self._connection.run(self._run, statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Sequence[Any]) -> Self:
        """Run a statement once for each of these parameters; it gives no rows."""
        await self._connection.run(self._run_many, statement, parameters)
        return self

    async def fetchone(self) -> Row | None:
        """Fetch the next row; None at the end."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Row]:
        """Fetch the next rows, `arraysize` of them where no number is named."""
        size = self.arraysize if size is None else size
        if self._rest is not None and len(self._rows) < size:
            self._rows += await self._connection.on_thread(self._rest.fetchmany, size)
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def fetchall(self) -> list[Row]:
        """Fetch all rows that are left."""
        if self._rest is not None:
            self._rows += await self._connection.on_thread(self._rest.fetchall)
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Close the cursor; one that fetched all it had is closed already."""
        rest, self._rest = self._rest, None
        if rest is not None:
            await self._connection.on_thread(rest.close)

    # -- in SQLite's thread --------------------------------------------------------------------------

    def _run(self, held: sqlite3.Connection, statement: str, parameters: Any) -> None:  # noqa: ANN401  # the same
        cursor = held.execute(statement, parameters)
        self._rows = [] if cursor.description is None else cursor.fetchmany(AT_ONCE)
        self._note(cursor)
        if len(self._rows) < AT_ONCE:
            cursor.close()
        else:
            self._rest = cursor

    def _run_many(
        self, held: sqlite3.Connection, statement: str, parameters: Sequence[Any]
    ) -> None:
        cursor = held.executemany(statement, parameters)
        self._note(cursor)
        cursor.close()

    def _note(self, cursor: sqlite3.Cursor) -> None:
        self.description, self.rowcount = cursor.description, cursor.rowcount
        self.lastrowid = cursor.lastrowid


class Connection(aiosqlite.Connection):
    """A connection whose cursors cost one hop a statement."""

    def cursor(self) -> Cursor:  # type: ignore[override]  # a cursor without a statement needs no thread
        """Make a cursor."""
        return Cursor(self)

    async def on_thread(self, call: Callable[..., T], *arguments: object) -> T:
        """Have the thread call this."""
        answer = await self._execute(call, *arguments)  # type: ignore[no-untyped-call]  # aiosqlite's
        return cast("T", answer)

    async def run(
        self, call: Callable[..., None], statement: str, parameters: Sequence[Any]
    ) -> None:
        """Have the thread call this with its own connection."""
        await self.on_thread(call, self._conn, statement, parameters)


def connect(database: str, **options: Any) -> Connection:  # noqa: ANN401  # sqlite3's own
    """Make a connection that opens when it is awaited; `options` are those of `sqlite3.connect`."""
    return Connection(functools.partial(sqlite3.connect, database, **options), AT_ONCE)
