"""The engine: SQLite or PostgreSQL behind one `Store`, and the three kinds of transaction.

`reading` is one snapshot, `recording` writes status (the controller), and writes of desired state
go through `store.unit_of_work`. Driver errors become ours here. Not here: tables, migrations,
revisions.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from desired_state.store import sqlite_thread
from desired_state.store.clock import Clock, Randomness, SystemClock, SystemRandomness
from desired_state.store.errors import (
    ConcurrentUpdate,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)
from desired_state.store.keyring import find_keys
from desired_state.store.secrets import Vault
from desired_state.store.settings import DatabaseSettings, StoreSettings
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.turnstile import Turnstile

WAIT_S = 10
"""How long a writer waits for another one before it gives up with `StoreBusy`."""
_READS_ONLY = "x3fleet_reads_only"
_SNAPSHOT_SQLITE: dict[str, Any] = {_READS_ONLY: True}
_SNAPSHOT_POSTGRES: dict[str, Any] = {
    "isolation_level": "REPEATABLE READ",
    "postgresql_readonly": True,
}
_POSTGRES_BUSY = frozenset({"55P03", "57014"})
"""lock_not_available, query_canceled (its statement time-out)."""
_BROKEN_FILE = {
    "file is not a database": "is a file, and no SQLite database",
    "database disk image is malformed": "is an SQLite database that is damaged",
}
_RESTORE = "correct the path, or restore the database from a backup"
_POSTGRES_RACE = frozenset({"40001", "40P01"})
"""serialization_failure, deadlock_detected."""


class StoreWatcher(Protocol):
    """Told what the database costs, for metrics."""

    def waited(self, seconds: float) -> None:
        """A writing transaction waited so long before it began."""

    def failed(self, error: StoreError) -> None:
        """A transaction failed."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open database. Made by `open_store`, shared by everything in one process.

    `vault` opens its secrets; `clock` and `randomness` are what commands are given. `watcher` is told
    of waits and failures.
    """

    engine: AsyncEngine
    vault: Vault
    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    watcher: StoreWatcher | None = field(default=None, repr=False)
    _one_writer: Turnstile = field(default_factory=Turnstile, repr=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded mode."""
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open one snapshot: whatever is read in it belongs together. Nothing can be written.

        Raises:
            StoreError: the branch of what went wrong.
        """
        options = _SNAPSHOT_SQLITE if self.is_sqlite else _SNAPSHOT_POSTGRES
        with self._watched(), translated():
            async with _session(self.engine.execution_options(**options)) as session:
                yield session

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[AsyncSession]:
        """Open one write transaction; commits at the end, rolls back on any error.

        For status, which the controller alone writes. Desired state is written by a unit of work.

        Raises:
            StoreBusy: another writer held the database for 10 s.
            StoreError: the branch of what else went wrong.
        """
        started_s = time.monotonic()
        with self._watched(), translated():
            async with self._writer(), _session(self.engine) as session, session.begin():
                # It begins here and not at its first statement: its wait is to be known.
                await session.connection()
                if self.watcher is not None:
                    self.watcher.waited(time.monotonic() - started_s)
                if not self.is_sqlite:
                    await session.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                yield session

    async def room(self) -> None:
        """Wait, for 10 s at most, until not many writers of this process wait; PostgreSQL has room."""
        if not self.is_sqlite:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self._one_writer.room()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if self.watcher is not None:
                self.watcher.failed(error)
            raise

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[None]:
        """Let the writers of this process in by turns: SQLite's own wait is a lottery."""
        if not self.is_sqlite:
            yield
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await self._one_writer.acquire()
        except TimeoutError as error:
            raise StoreBusy("another writer of this process holds the database") from error
        try:
            yield
        finally:
            self._one_writer.release()


@asynccontextmanager
async def open_store(
    settings: StoreSettings,
    *,
    clock: Clock | None = None,
    randomness: Randomness | None = None,
    watcher: StoreWatcher | None = None,
) -> AsyncIterator[Store]:
    """Open the database of these settings and dispose of every connection at the end.

    Does not look at the version of its tables: see `store.version.check_version`.

    Raises:
        ConfigError: there is no usable encryption key.
    """
    vault = Vault(find_keys(settings))
    threads: list[Thread] = []
    engine = make_engine(settings.database, threads)
    try:
        yield Store(
            engine, vault, clock or SystemClock(), randomness or SystemRandomness(), watcher
        )
    finally:
        # A pool left to the garbage collector keeps aiosqlite's threads, and so the process, alive.
        await engine.dispose()
        # A connection that was cancelled half-way ends by itself, and reports that to this loop.
        await asyncio.to_thread(_join, threads)


def make_engine(settings: DatabaseSettings, threads: list[Thread]) -> AsyncEngine:
    """Make the engine; it connects at first use. SQLite's threads appear in `threads`."""
    url = settings.sqlalchemy_url
    if url.get_backend_name() != "sqlite":
        return create_async_engine(
            url, pool_pre_ping=True, pool_size=10, max_overflow=20, hide_parameters=True
        )
    # isolation_level None: the driver begins nothing by itself, `_begin` below does.
    engine = create_async_engine(
        url,
        connect_args={"isolation_level": None, "timeout": WAIT_S},
        hide_parameters=True,
        execution_options={"schema_translate_map": {DESIRED: None, STATUS: None}},
    )

    def connect(database: str, **options: Any) -> sqlite_thread.Connection:  # noqa: ANN401  # sqlite3's own
        _make_private(Path(database))
        connection = sqlite_thread.connect(database, **options)
        connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does; there is no other way
        threads[:] = [thread for thread in threads if not _has_ended(thread)]
        threads.append(connection._thread)  # noqa: SLF001  # the same
        return connection

    def announce(dialect: object, record: object, args: object, options: dict[str, Any]) -> None:
        del dialect, record, args
        options["async_creator_fn"] = connect

    event.listen(engine.sync_engine, "do_connect", announce)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Turn what SQLAlchemy and the drivers raise into errors of ours.

    Raises:
        StoreError: its branch says what happened; the cause is chained.
    """
    try:
        yield
    except IntegrityError as error:
        raise ConcurrentUpdate(
            "a row changed or appeared between our look and our write"
        ) from error
    except DBAPIError as error:
        raise _translate(error) from error
    except PoolTimeoutError as error:
        raise StoreBusy("every connection to the database is in use") from error


def _translate(error: DBAPIError) -> StoreError:
    state = getattr(error.orig, "sqlstate", None)
    reason = str(error.orig)
    if state in _POSTGRES_BUSY or "database is locked" in reason:
        return StoreBusy(f"another writer held the database for {WAIT_S} s", hint="try again")
    if state in _POSTGRES_RACE:
        return ConcurrentUpdate("another writer was faster", hint="try again")
    if "no such table" in reason or state == "42P01":
        return StoreError("the database has no tables", hint="run x3fleet db upgrade")
    if reason in _BROKEN_FILE:
        return StoreError(f"what X3FLEET_DATABASE__URL names {_BROKEN_FILE[reason]}", hint=_RESTORE)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        # Of these the first line says where and why, and holds no value of a statement.
        return StoreUnreachable(f"the database does not answer: {reason.partition(chr(10))[0]}")
    return StoreError(f"the database refused: {type(error.orig).__name__}")


@asynccontextmanager
async def _session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


def _make_private(database: Path) -> None:
    """Make a new database its owner's alone: it names every client, and SQLite would let all read it.

    Its `-wal` and `-shm` take over its mode. What exists stays as its owner has set it.
    """
    if database.name in ("", ":memory:"):
        return
    try:
        # Resolved: through a link that leads nowhere yet, SQLite makes what it leads to.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(database.resolve(), flags, 0o600))
    except OSError:
        # It is there already; or it cannot be made, and SQLite says so in its own words.
        return


def _has_ended(thread: Thread) -> bool:
    return thread.ident is not None and not thread.is_alive()


def _join(threads: list[Thread]) -> None:
    for thread in threads:
        if thread.ident is not None:
            thread.join(WAIT_S)


def _prepare_sqlite(connection: DBAPIConnection, record: object) -> None:
    """Set what SQLite keeps per connection; WAL is kept in the file."""
    del record
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        f"busy_timeout = {WAIT_S * 1000}",
        "foreign_keys = ON",
        # NORMAL would let a power cut take the last commits: an intent must outlive its create.
        "synchronous = FULL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once, whatever the time-out.
    # query_only outlives a transaction, so each sets its own: a cancelled one cannot leave it
    # behind.
    reads_only = connection.get_execution_options().get(_READS_ONLY, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
