"""Ticks: names at their periods, one at a time, armed anew when the clock was set."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent

from controller.runtime import schedule as schedule_module
from controller.runtime.jobs_loop import RETRY_S, Jobs
from controller.runtime.lease import SoleLease
from controller.runtime.queue import WorkQueue
from controller.runtime.schedule import Job, Schedule
from desired_state.store.errors import StoreBusy
from tests.fakes.loop import run_fast


@asynccontextmanager
async def ticking(schedule):
    task = asyncio.create_task(schedule.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_name_comes_again_and_again_at_its_period():
    came = asyncio.Queue()
    schedule = Schedule(came.put_nowait)
    schedule.every("often", 0.05)
    schedule.every("never here", 3_600)

    async with ticking(schedule), asyncio.timeout(30):
        names = [await came.get() for _ in range(4)]

    assert ["often"] * 4 == names


async def test_a_clock_that_was_set_back_does_not_silence_the_ticks(monkeypatch):
    """They stand on the wall clock: set back by an hour they would not come for an hour."""
    monkeypatch.setattr(schedule_module, "CLOCK_CHECK_S", 0.02)
    steps, armed = [], asyncio.Queue()
    arm = Schedule._arm

    def count(self, scheduler):
        armed.put_nowait(len(scheduler.get_jobs()))
        arm(self, scheduler)

    monkeypatch.setattr(Schedule, "_arm", count)
    schedule = Schedule(
        lambda _: None, wall=lambda: datetime.now(UTC) - timedelta(hours=len(steps))
    )
    schedule.every("place", 60)

    async with ticking(schedule), asyncio.timeout(30):
        first = await armed.get()
        steps.append("an hour back")
        second = await armed.get()

    assert (0, 1) == (first, second)


def test_ticks_that_did_not_come_are_told_and_counted():
    told = []
    schedule = Schedule(
        lambda _: None,
        missed=lambda name: told.append(("missed", name)),
        skipped=lambda name: told.append(("skipped", name)),
    )

    with structlog.testing.capture_logs() as lines:
        for code in (EVENT_JOB_MISSED, EVENT_JOB_MAX_INSTANCES):
            schedule._heard(JobExecutionEvent(code, "place", "default", datetime.now(UTC)))

    assert [("missed", "place"), ("skipped", "place")] == told
    assert ["tick_missed", "tick_missed"] == [line["event"] for line in lines]


# -- jobs ------------------------------------------------------------------------------------------


async def _leads_not() -> None:
    raise AssertionError


def test_a_job_that_fails_is_tried_again_soon_and_counted():
    async def failing():
        queue, ends, tries = WorkQueue("jobs"), [], []

        async def run():
            tries.append(1)
            if len(tries) == 1:
                raise StoreBusy("it is busy")

        jobs = Jobs(
            queue, (Job("place", 60, run),), SoleLease(), lambda name, _, done: ends.append((name, done))
        )  # fmt: skip
        jobs.tick("place")
        for _ in range(2):
            name = await queue.get()
            await jobs.handle(name)
            queue.done(name)
        return ends, asyncio.get_running_loop().time() - 1_000

    with structlog.testing.capture_logs() as lines:
        assert ([("place", False), ("place", True)], RETRY_S) == run_fast(failing())
    assert ["job_failed"] == [line["event"] for line in lines]


def test_what_runs_once_an_installation_runs_only_where_it_is_led():
    """This lease is held by nobody yet."""

    async def following():
        queue = WorkQueue("jobs")
        jobs = Jobs(queue, (Job("alerts", 60, _leads_not, leads=True),), SoleLease())
        await jobs.handle("alerts")

    run_fast(following())
