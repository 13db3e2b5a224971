"""SQLite's authorizer as a guard: which tables a piece of code may write.

Use: `async with writes_refused(store, STATUS): ...` makes every INSERT, UPDATE and DELETE on a table of
that group fail inside the block, whoever tries. Callers: tests of commands (never status), of queries
(nothing at all) and of the controller (never desired). Not here: PostgreSQL's grants.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from desired_state.store.engine import Store
from desired_state.store.tables import desired, shop, status
from desired_state.store.tables.types import DESIRED, STATUS, Base

GROUPS = (DESIRED, STATUS)
TABLES = (desired, shop, status)
_WRITES = {
    sqlite3.SQLITE_INSERT: "INSERT",
    sqlite3.SQLITE_UPDATE: "UPDATE",
    sqlite3.SQLITE_DELETE: "DELETE",
}


@dataclass(slots=True)
class Refusals:
    """What was tried and refused: `UPDATE placement`, in order."""

    statements: list[str] = field(default_factory=list)


def tables_of(*groups: str) -> frozenset[str]:
    """Names of the tables of these groups."""
    return frozenset(t.name for t in Base.metadata.tables.values() if t.schema in groups)


@asynccontextmanager
async def writes_refused(store: Store, *groups: str) -> AsyncIterator[Refusals]:
    """Refuse writes to these groups of tables on every connection of the store.

    A refused statement raises in the code that tried it (`StoreError` through a transaction of the
    store); what was refused is kept too, for code that would swallow the error.
    """
    refusals = Refusals()
    tables = tables_of(*groups)

    def authorize(action: int, table: str | None, *_: str | None) -> int:
        if action in _WRITES and table in tables:
            refusals.statements.append(f"{_WRITES[action]} {table}")
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def guard(connection: Any, record: object) -> None:
        del record
        _set_authorizer(connection, authorize)

    # Connections that exist already are closed, so that each new one is guarded from its start.
    await store.engine.dispose()
    event.listen(store.engine.sync_engine, "connect", guard)
    try:
        yield refusals
    finally:
        event.remove(store.engine.sync_engine, "connect", guard)
        await store.engine.dispose()


def _set_authorizer(connection: Any, authorize: object) -> None:
    """Set it on sqlite3's connection, in the thread that owns it."""

    async def install(driver: Any) -> None:
        await driver._execute(driver._conn.set_authorizer, authorize)

    connection.run_async(install)
