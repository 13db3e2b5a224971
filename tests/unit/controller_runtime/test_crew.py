"""Crews: many names at once, one worker a name, defects contained, an orderly end."""

import asyncio
from collections import Counter

import structlog

from controller.runtime.crew import Crew
from controller.runtime.queue import Priority, WorkQueue
from tests.fakes.loop import run_fast


def test_names_are_handled_at_once_up_to_the_number_of_workers_and_each_by_one():
    """While thirty seconds of work are done for each of a hundred names, everybody adds them again."""

    async def crowd():
        queue, running, most, times = WorkQueue("nodes"), Counter(), [0, 0], Counter()

        async def handle(name):
            running[name] += 1
            times[name] += 1
            most[0] = max(most[0], running.total())
            most[1] = max(most[1], *running.values())
            await asyncio.sleep(30)
            running[name] -= 1

        crew = Crew(queue, handle, workers=32, panicked=lambda _: None)
        task = asyncio.create_task(crew.run())
        for _ in range(3):
            for name in range(100):
                queue.add(name)
            await asyncio.sleep(10)
        await asyncio.sleep(1_000)
        await crew.drain(25)
        await task
        return most, set(times.values())

    most, times = run_fast(crowd())

    assert [32, 1] == most
    assert times <= {1, 2}


def test_a_defect_is_contained_told_once_and_leaves_the_others_alone():
    async def broken():
        queue, done, panics = WorkQueue("nodes"), [], []

        async def handle(name):
            if name == "bad":
                raise ZeroDivisionError
            done.append(name)

        crew = Crew(queue, handle, workers=1, panicked=panics.append)
        task = asyncio.create_task(crew.run())
        for name in ("bad", "good"):
            queue.add(name)
        await asyncio.sleep(1)
        knows = queue.knows("bad")
        await crew.drain(25)
        await task
        return done, panics, knows

    with structlog.testing.capture_logs() as lines:
        assert (["good"], ["bad"], False) == run_fast(broken())
    assert [("cycle_broken_off", "error")] == [(line["event"], line["log_level"]) for line in lines]


def test_a_drain_waits_for_what_is_in_hand_and_begins_nothing_more():
    async def drained():
        queue, done = WorkQueue("nodes"), []

        async def handle(name):
            await asyncio.sleep(10)
            done.append(name)

        crew = Crew(queue, handle, workers=2, panicked=lambda _: None)
        task = asyncio.create_task(crew.run())
        for name in "abcd":
            queue.add(name, priority=Priority.CUSTOMER)
        await asyncio.sleep(1)
        started = asyncio.get_running_loop().time()
        await crew.drain(25)
        await task
        return sorted(done), round(asyncio.get_running_loop().time() - started)

    assert (["a", "b"], 9) == run_fast(drained())


def test_a_cancelled_crew_cancels_what_is_in_hand():
    async def cancelled():
        queue, ends = WorkQueue("nodes"), []

        async def handle(name):
            try:
                await asyncio.Event().wait()
            finally:
                ends.append(name)

        task = asyncio.create_task(Crew(queue, handle, workers=2, panicked=lambda _: None).run())
        queue.add("a")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ends, dict(queue.running())

    assert (["a"], {}) == run_fast(cancelled())
