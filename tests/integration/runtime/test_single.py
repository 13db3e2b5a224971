"""One controller a database: a second one is refused or waits, and never works in between."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from controller.runtime.errors import AlreadyRunning, HolderKind, LeaseLost
from controller.runtime.single import hold_lock, lock_file
from tests.integration.runtime.fleet import Wanted, open_fleet
from tests.stores import opened

ROOT = Path(__file__).parents[3]
HOLD = """
import asyncio, sys
from controller.runtime.errors import HolderKind
from controller.runtime.single import hold_lock
from tests.stores import opened

async def main():
    async with opened(sys.argv[1]) as store, hold_lock(store, HolderKind(sys.argv[2])):
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main())
"""
RECONCILE = """
import asyncio, sys
from controller.runtime.errors import AlreadyRunning
from controller.service import open_controller
from controller.settings import load_settings

async def main():
    async with open_controller(load_settings()) as controller:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        try:
            report = await controller.reconcile(wait=sys.argv[1] == "wait")
        except AlreadyRunning as refused:
            print("refused", refused.holder.kind.value, refused.holder.pid, flush=True)
        else:
            print("done", report.totals["created"], flush=True)

asyncio.run(main())
"""


async def start(code, *arguments, **environment):
    """Start a Python process of ours."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


async def line_of(process, *beginnings):
    """Read up to the line that begins so; log lines are passed over."""
    while line := (await process.stdout.readline()).decode().strip():
        if line.startswith(beginnings):
            return line
    raise AssertionError("the process ended without a word")


@pytest.fixture
def kind():
    """What holds the lock: a run that ends by itself."""
    return "one-shot"


@pytest.fixture
async def holder(databases, kind):
    """Another process that holds the lock of a database; gives its URL."""
    url = databases.ready()
    process = await start(HOLD, url, kind)
    await line_of(process, "held")
    yield url, process
    if process.returncode is None:
        process.stdin.close()
        await process.wait()


@pytest.mark.parametrize("kind", ["daemon", "one-shot"])
async def test_the_refused_one_is_told_who_holds_the_lock(holder, kind):
    url, process = holder
    async with opened(url) as store:
        with pytest.raises(AlreadyRunning) as refused:
            async with hold_lock(store, HolderKind.ONE_SHOT):
                pass

    assert (HolderKind(kind), process.pid) == (refused.value.holder.kind, refused.value.holder.pid)
    assert str(process.pid) in str(refused.value)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("kind", ["daemon"])
async def test_one_that_stays_is_not_waited_for(holder):
    url, _ = holder
    async with opened(url) as store:
        with pytest.raises(AlreadyRunning):
            async with hold_lock(store, HolderKind.ONE_SHOT, wait=True):
                pass


async def test_the_one_who_waits_goes_on_when_the_holder_ends(holder):
    url, process = holder
    entered = asyncio.Event()

    async def second():
        async with opened(url) as store, hold_lock(store, HolderKind.ONE_SHOT, wait=True):
            entered.set()

    task = asyncio.create_task(second())
    await asyncio.sleep(0.3)
    was_waiting = not entered.is_set()
    process.stdin.close()
    await task

    assert was_waiting


async def test_a_process_that_died_holds_nothing(holder):
    url, process = holder
    process.send_signal(signal.SIGKILL)
    await process.wait()

    async with opened(url) as store, hold_lock(store, HolderKind.ONE_SHOT, wait=True):
        pass


async def test_waiting_can_be_given_up(holder):
    url, _ = holder
    async with opened(url) as store:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), hold_lock(store, HolderKind.ONE_SHOT, wait=True):
                pass


async def test_a_database_without_tables_can_be_locked(databases):
    """A backup is restored into one: no tables means that no replica lives."""
    async with opened(databases.empty()) as store, hold_lock(store, HolderKind.ONE_SHOT):
        pass


async def test_the_lock_is_free_after_its_block_and_after_an_error_in_it(databases):
    url = databases.ready()
    async with opened(url) as store:
        with pytest.raises(ZeroDivisionError):
            async with hold_lock(store, HolderKind.ONE_SHOT):
                raise ZeroDivisionError

        async with hold_lock(store, HolderKind.ONE_SHOT):
            pass


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_who_loses_the_lock_with_its_connection_is_ended(databases):
    """Others may begin from then on: what is in hand is cancelled, and the reason is told."""
    url = databases.ready()
    held = asyncio.Event()

    async def hold():
        async with opened(url) as store, hold_lock(store, HolderKind.ONE_SHOT):
            held.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await held.wait()
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'x3fleet one-shot%' AND datname = current_database()"
        )

    with pytest.raises(LeaseLost, match="broke"):
        await task


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_the_holder_is_named_in_a_file_beside_the_database(databases):
    async with opened(databases.ready()) as store:
        path = lock_file(store)
        async with hold_lock(store, HolderKind.ONE_SHOT):
            during = json.loads(path.read_text())
        after = path.read_text()

    assert {"kind": "one-shot", "pid": os.getpid()} == during
    assert "" == after


@pytest.mark.parametrize(("mode", "said"), [("refuse", "refused"), ("wait", "done")])
async def test_two_runs_at_once_never_interleave(tmp_path, monkeypatch, mode, said):
    """The second process comes while the first one is in the middle of its turn."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(3)
        panel = fleet["one"].panel
        url = fleet.settings.store.database.url
        second = await start(RECONCILE, mode, X3FLEET_DATABASE__URL=url)
        await line_of(second, "ready")
        panel.faults.arm({"kind": "slow", "method": "POST", "delay_ms": 700})

        async def come(_):
            second.stdin.write(b"\n")
            await second.stdin.drain()

        first = await fleet.reconcile_while(come)
        answer = await line_of(second, "refused", "done")
        await second.wait()

        assert said == answer.split()[0]
        assert 3 == first.totals["created"]
        assert 3 == len(fleet["one"].ours())
        if mode == "refuse":
            assert f"refused one-shot {os.getpid()}" == answer
        else:
            assert "done 0" == answer
            # The second one's first request comes after the first one's last.
            assert answers_in_one_piece(panel)


def answers_in_one_piece(panel):
    """Whether no request of a second session stands between two of the first one."""
    writes = [line for line in panel.log if line.write]
    return len(writes) == 1
