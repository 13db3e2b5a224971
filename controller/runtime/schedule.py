"""The ticks of a service: APScheduler puts names into a queue, at fixed periods, and nothing more.

It stands on the wall clock, so whatever must not depend on that (delays of nodes, leases) is kept
elsewhere; when the clock was set, every tick is armed anew. Callers: the service. Not here: what jobs
do, how they are run (`jobs_loop`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from apscheduler.events import (  # type: ignore[import-untyped] # the library has no types
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobExecutionEvent,
)
from apscheduler.schedulers.asyncio import (  # type: ignore[import-untyped] # the same
    AsyncIOScheduler,
)
from apscheduler.triggers.interval import (  # type: ignore[import-untyped] # the same
    IntervalTrigger,
)

from controller.telemetry import events

log = structlog.get_logger(__name__)

CLOCK_CHECK_S = 5.0
CLOCK_STEP_S = 5.0
"""A difference of wall and monotonic clock that nobody's clock makes by itself in so short a time."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done again and again.

    `every_s`: seconds between two runs; 0: only when somebody asks for it. `leads`: done by one
    replica of an installation only.
    """

    name: str
    every_s: float
    run: Callable[[], Awaitable[object]] = field(repr=False)
    leads: bool = False


class Schedule:
    """Ticks until it is cancelled.

    Args:
        tick: told a name each time it is due.
        missed: told a name whose tick came too late, for metrics.
        skipped: told a name whose last tick was still at work.
        wall: the clock that ticks stand on.
    """

    def __init__(
        self,
        tick: Callable[[str], None],
        *,
        missed: Callable[[str], None] | None = None,
        skipped: Callable[[str], None] | None = None,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self._tick = tick
        self._missed = missed or (lambda _: None)
        self._skipped = skipped or (lambda _: None)
        self._wall = wall or (lambda: datetime.now(UTC))
        self._periods: dict[str, float] = {}

    def every(self, name: str, seconds: float) -> None:
        """Tick a name; before `run`."""
        self._periods[name] = seconds

    async def run(self) -> None:
        """Tick for as long as the service runs."""
        scheduler = AsyncIOScheduler(
            timezone=UTC,
            # One late run instead of all that were missed; never one beside another.
            job_defaults={"coalesce": True, "max_instances": 1},
        )
        scheduler.add_listener(self._heard, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._arm(scheduler)
        scheduler.start()
        try:
            await self._follow_clock(scheduler)
        finally:
            # It would cancel coroutines that run; ours only put a name into a queue.
            scheduler.shutdown(wait=False)

    def _arm(self, scheduler: AsyncIOScheduler) -> None:
        for name, seconds in self._periods.items():
            scheduler.add_job(
                self._ring,
                IntervalTrigger(seconds=seconds, timezone=UTC),
                args=(name,),
                id=name,
                replace_existing=True,
                # Its own default is 1 s, and what comes later is left out in silence.
                misfire_grace_time=max(1, int(seconds)),
            )

    async def _ring(self, name: str) -> None:
        """A coroutine: a plain function would run in a thread."""
        self._tick(name)

    async def _follow_clock(self, scheduler: AsyncIOScheduler) -> None:
        now = asyncio.get_running_loop().time
        apart = self._wall().timestamp() - now()
        while True:
            await asyncio.sleep(CLOCK_CHECK_S)
            apart_now = self._wall().timestamp() - now()
            if abs(apart_now - apart) > CLOCK_STEP_S:
                # Set back by an hour, it would not tick for an hour.
                self._arm(scheduler)
            apart = apart_now

    def _heard(self, event: JobExecutionEvent) -> None:
        log.warning(events.TICK_MISSED, job=event.job_id)
        if event.code == EVENT_JOB_MISSED:
            self._missed(event.job_id)
        else:
            self._skipped(event.job_id)
