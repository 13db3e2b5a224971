"""Several writers and readers, several processes: waiting, giving up, and coming to an end."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select, text

from desired_state.store import engine
from desired_state.store.engine import Store
from desired_state.store.errors import StoreBusy, StoreError, StoreUnreachable
from desired_state.store.tables.desired import RevisionCounterRow, TariffRow, WakeRow
from desired_state.store.unit_of_work import CHANNEL, begin
from tests.stores import Databases, Postgres, opened, settings_for


@pytest.fixture
async def other(store: Store, databases: Databases) -> AsyncIterator[Store]:
    """Open the same database once more, as another process would."""
    del store
    async with opened(databases.borrowed[-1]) as second:
        yield second


async def write(store: Store, name: str) -> None:
    async with begin(store, "test") as work:
        revision = await work.revise()
        work.session.add(TariffRow(name=name, spec={}, revision=revision))
        work.audit("tariff_declared", f"tariff/{name}")


async def count_tariffs(store: Store) -> int:
    async with store.reading() as session:
        return (await session.scalar(select(func.count()).select_from(TariffRow))) or 0


async def test_a_second_writer_waits_for_the_first(store: Store, other: Store) -> None:
    order: list[str] = []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with begin(store, "first") as work:
            await work.revise()
            work.audit("test", "test/1")
            inside.set()
            await go_on.wait()
            order.append("first")

    async def second() -> None:
        await inside.wait()
        waiting = asyncio.create_task(write(other, "b"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        go_on.set()
        await waiting
        order.append("second")

    await asyncio.gather(first(), second())

    assert ["first", "second"] == order


async def test_writers_of_two_processes_lose_nothing(store: Store, other: Store) -> None:
    writers = [write(s, f"{n}-{i}") for i in range(15) for n, s in (("a", store), ("b", other))]

    await asyncio.gather(*writers)

    assert 30 == await count_tariffs(store)
    async with store.reading() as session:
        assert 31 == (await session.get_one(RevisionCounterRow, 1)).value


async def test_a_decision_is_taken_on_what_is_true_at_its_commit(
    store: Store, other: Store
) -> None:
    """Two read-then-write transactions never both see the state before either: no lost update."""

    async def add_one(target: Store) -> None:
        async with begin(target, "test") as work:
            row = await work.session.get(TariffRow, "counter")
            await asyncio.sleep(0)
            revision = await work.revise()
            if row is None:
                work.session.add(TariffRow(name="counter", spec={"n": 1}, revision=revision))
            else:
                row.spec = {"n": row.spec["n"] + 1}
            work.audit("counted", "tariff/counter")

    await asyncio.gather(*(add_one(target) for _ in range(10) for target in (store, other)))

    async with store.reading() as session:
        assert {"n": 20} == (await session.get_one(TariffRow, "counter")).spec


async def test_readers_are_not_stopped_by_a_writer(store: Store, other: Store) -> None:
    async with begin(store, "test") as work:
        await work.revise()
        work.audit("test", "test/1")
        assert 0 == await count_tariffs(other)


@pytest.mark.parametrize("who", ["this process", "another process"])
async def test_a_writer_that_waits_too_long_gives_up(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(engine, "WAIT_S", 1)
    url = databases.ready()
    async with opened(url) as store, opened(url) as second, begin(store, "test") as work:
        await work.revise()
        work.audit("test", "test/1")
        with pytest.raises(StoreBusy):
            await write(store if who == "this process" else second, "late")


async def test_a_cancelled_reader_leaves_a_connection_that_can_write(store: Store) -> None:
    async def read_for_ever(has_read: asyncio.Event) -> None:
        async with store.reading() as session:
            await session.execute(select(TariffRow))
            has_read.set()
            await asyncio.sleep(3600)

    for number in range(8):
        has_read = asyncio.Event()
        reader = asyncio.create_task(read_for_ever(has_read))
        if number % 2:  # Every other one is cancelled wherever it is by then.
            await has_read.wait()
        else:
            await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await write(store, f"t{number}")

    assert 8 == await count_tariffs(store)


async def test_a_cancelled_writer_writes_nothing_and_lets_the_next_one_in(store: Store) -> None:
    has_written = asyncio.Event()

    async def write_for_ever() -> None:
        async with begin(store, "test") as work:
            revision = await work.revise()
            work.session.add(TariffRow(name="never", spec={}, revision=revision))
            await work.session.flush()
            has_written.set()
            await asyncio.sleep(3600)

    writer = asyncio.create_task(write_for_ever())
    await has_written.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    await write(store, "next")

    assert 1 == await count_tariffs(store)


async def test_an_unmigrated_database_says_what_to_do(databases: Databases) -> None:
    async with opened(databases.empty()) as store:
        with pytest.raises(StoreError, match="x3fleet db upgrade"):
            await count_tariffs(store)


# -- one database each -----------------------------------------------------------------------------


async def test_a_reader_cancelled_while_it_connects_is_over_when_the_store_is_closed(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its thread reports to a loop that is gone, into the log of whoever runs next."""
    connecting = threading.Event()
    connect = sqlite3.connect

    def slowly(*args: Any, **options: Any) -> sqlite3.Connection:
        connecting.set()
        time.sleep(0.3)
        return connect(*args, **options)

    monkeypatch.setattr(sqlite3, "connect", slowly)
    before = set(threading.enumerate())
    async with opened(f"sqlite:///{sqlite_store.engine.url.database}") as store:
        reader = asyncio.create_task(count_tariffs(store))
        assert await asyncio.to_thread(connecting.wait, 30)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

    left = {thread for thread in threading.enumerate() if "worker_thread" in thread.name}
    assert set() == left - before


async def test_sqlite_is_set_up_for_several_writers(sqlite_store: Store) -> None:
    async with sqlite_store.engine.connect() as connection:
        found = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }

    full = 2
    assert found == {
        "journal_mode": "wal", "busy_timeout": 10_000, "foreign_keys": 1, "synchronous": full,
    }  # fmt: skip


async def test_sqlite_tells_a_watcher_that_another_connection_committed(
    sqlite_store: Store,
) -> None:
    """`PRAGMA data_version` is what a controller watches for wake-ups."""
    async with sqlite_store.engine.connect() as watcher:
        await watcher.execute(text("COMMIT"))
        version = text("PRAGMA data_version")
        before = (await watcher.execute(version)).scalar_one()
        still = (await watcher.execute(version)).scalar_one()
        await write(sqlite_store, "a")
        after = (await watcher.execute(version)).scalar_one()
        await watcher.execute(text("BEGIN"))

    assert before == still
    assert before != after


async def test_postgres_is_told_of_a_wake_up_with_its_commit(postgres_template: Postgres) -> None:
    server = postgres_template
    url = server.take()
    try:
        async with opened(url) as store:
            with psycopg.connect(url, autocommit=True) as listener:
                listener.execute(f"LISTEN {CHANNEL}")
                await write(store, "a")
                told = next(listener.notifies(timeout=60, stop_after=1))
            async with store.reading() as session:
                revision = await session.scalar(select(func.max(WakeRow.revision)))
    finally:
        server.give_back(url)

    assert str(revision) == told.payload


async def test_a_server_that_is_not_there_is_named_as_such() -> None:
    url = "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2"

    async with opened(url) as store:
        with pytest.raises(StoreUnreachable, match="refused"):
            await count_tariffs(store)


async def test_a_database_in_no_folder_is_named_as_such(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/missing/fleet.db") as store:
        with pytest.raises(StoreUnreachable, match="unable to open database file"):
            await count_tariffs(store)


PROGRAM = """
    import asyncio, sys
    from sqlalchemy import select
    from desired_state.store.engine import open_store
    from desired_state.store.settings import load_store_settings
    from desired_state.store.tables.desired import TariffRow

    ending = sys.argv[1]

    async def use():
        async with open_store(load_store_settings()) as store:
            async with store.reading() as session:
                await session.execute(select(TariffRow))
            if ending == "raises":
                raise LookupError
            while ending == "is cancelled in a query":
                async with store.reading() as session:
                    await session.execute(select(TariffRow))

    async def main():
        try:
            await asyncio.wait_for(use(), 0.3 if "query" in ending else 120)
        except TimeoutError:
            return 4
        except LookupError:
            return 3
        return 0

    raise SystemExit(asyncio.run(main()))
"""


@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled in a query"])
def test_a_process_that_used_the_store_comes_to_its_end(databases: Databases, ending: str) -> None:
    """Connections are disposed of whatever happens: no thread keeps the process."""
    url = databases.ready()
    key = settings_for(url).encryption_keys[0].get_secret_value()
    environment = {"X3FLEET_DATABASE__URL": url, "X3FLEET_ENCRYPTION_KEYS": key, "PATH": ""}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), ending],
        env=environment,
        timeout=200,
        check=False,
        capture_output=True,
    )

    expected = {"returns": 0, "raises": 3, "is cancelled in a query": 4}[ending]
    assert (expected, b"") == (done.returncode, done.stderr)
