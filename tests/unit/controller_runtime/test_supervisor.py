"""The supervisor: parts are started again when they break, and ended in order, in time."""

import asyncio
from itertools import pairwise

import structlog

from controller.runtime.supervisor import Supervisor
from desired_state.store.errors import StoreBusy, StoreUnreachable
from tests.fakes.loop import run_fast


def now():
    return round(asyncio.get_running_loop().time() - 1_000, 3)


def test_a_part_that_breaks_is_started_again_after_a_growing_while_and_counted():
    """1, 2, 4 seconds ..., one traceback and one count each; the others never hear of it."""

    async def breaking():
        starts, quiet, broke = [], [], []

        async def part():
            starts.append(now())
            raise ZeroDivisionError

        async def other():
            quiet.append(now())
            await asyncio.Event().wait()

        supervisor = Supervisor(broke.append)
        supervisor.add("other", other)
        supervisor.add("part", part)
        await asyncio.sleep(10)
        await supervisor.stop()
        return starts, quiet, broke

    with structlog.testing.capture_logs() as lines:
        starts, quiet, broke = run_fast(breaking())

    assert ([0.0, 1.0, 3.0, 7.0], [0.0]) == (starts, quiet)
    assert ["part"] * 4 == broke
    assert ["part_broke"] * 4 == [line["event"] for line in lines]


def test_the_pause_never_grows_beyond_a_minute_and_begins_anew_after_a_steady_time():
    async def steady():
        starts = []

        async def part():
            starts.append(now())
            # The ninth run is a good one.
            await asyncio.sleep(1_000 if len(starts) == 9 else 0)
            raise ZeroDivisionError

        supervisor = Supervisor()
        supervisor.add("part", part)
        await asyncio.sleep(1_400)
        await supervisor.stop()
        return starts

    with structlog.testing.capture_logs():
        starts = run_fast(steady())

    pauses = [round(b - a) for a, b in pairwise(starts)]
    assert [1, 2, 4, 8, 16, 32, 60, 60, 1_001, 2, 4] == pauses[:11]


def test_a_database_that_is_away_is_no_defect_of_a_part_and_is_tried_every_few_seconds():
    async def waiting():
        starts, broke = [], []

        async def part():
            starts.append(now())
            raise StoreBusy("held") if len(starts) % 2 else StoreUnreachable("away")

        supervisor = Supervisor(broke.append)
        supervisor.add("part", part)
        await asyncio.sleep(30)
        await supervisor.stop()
        return starts, broke

    with structlog.testing.capture_logs() as lines:
        starts, broke = run_fast(waiting())

    assert [0, 1, 3, 7, 12, 17, 22, 27] == [round(start) for start in starts]
    assert [] == broke
    assert {("part_waits", "warning")} == {(line["event"], line["log_level"]) for line in lines}


def test_a_part_that_returns_is_done_with():
    async def returning():
        runs = []

        async def part():
            runs.append(now())

        supervisor = Supervisor()
        supervisor.add("part", part)
        await asyncio.sleep(100)
        return runs, await supervisor.stop()

    assert ([0.0], True) == run_fast(returning())


def test_parts_end_in_reverse_order_and_each_is_drained_before_it_is_cancelled():
    async def ordered():
        told = []

        def part(name):
            async def run():
                try:
                    await asyncio.Event().wait()
                finally:
                    told.append(f"{name} cancelled")

            async def drain(within_s):
                await asyncio.sleep(3)
                told.append(f"{name} drained")

            return name, run, drain

        supervisor = Supervisor()
        for name in ("lease", "nodes", "wake-ups"):
            supervisor.add(*part(name))
        await asyncio.sleep(1)
        return await supervisor.stop(), told

    assert (
        True,
        [
            "wake-ups drained", "wake-ups cancelled", "nodes drained", "nodes cancelled",
            "lease drained", "lease cancelled",
        ],
    ) == run_fast(ordered())  # fmt: skip


def test_a_stop_ends_in_its_time_whatever_parts_do():
    """One drains for ever, one breaks while draining, one does not even end when it is cancelled."""

    async def stubborn():
        stuck = asyncio.Event()

        async def waits():
            await asyncio.Event().wait()

        async def drains_for_ever(within_s):
            await asyncio.Event().wait()

        async def breaks(within_s):
            raise ZeroDivisionError

        async def ignores():
            while not stuck.is_set():
                try:
                    await stuck.wait()
                except asyncio.CancelledError:
                    continue

        supervisor = Supervisor()
        supervisor.add("ignores", ignores)
        supervisor.add("breaks", waits, breaks)
        supervisor.add("drains for ever", waits, drains_for_ever)
        await asyncio.sleep(1)
        started = now()
        clean = await supervisor.stop(25)
        took = now() - started
        stuck.set()
        await asyncio.sleep(0)
        return clean, took

    with structlog.testing.capture_logs() as lines:
        clean, took = run_fast(stubborn())

    assert not clean
    assert took <= 25.5
    assert ["part_cut_short", "part_broke", "part_stuck"] == [line["event"] for line in lines]


def test_nothing_is_started_again_once_the_stop_has_begun():
    async def stopping():
        starts = []

        async def part():
            starts.append(now())
            await asyncio.sleep(5)
            raise ZeroDivisionError

        async def drain(within_s):
            await asyncio.sleep(10)

        supervisor = Supervisor()
        supervisor.add("part", part, drain)
        await asyncio.sleep(1)
        await supervisor.stop()
        return starts

    with structlog.testing.capture_logs():
        assert [0.0] == run_fast(stopping())
