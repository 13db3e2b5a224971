"""Runs jobs by name from a queue: place, alerts, retention ...; one run of each at a time.

Callers: the service's second crew. Not here: what jobs do, when they are due (`schedule`).
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from controller.runtime.lease import Lease
from controller.runtime.queue import Priority, WorkQueue
from controller.runtime.schedule import Job
from controller.telemetry import events
from desired_state.model.errors import X3FleetError

log = structlog.get_logger(__name__)

RETRY_S = 5.0
"""After an error of ours; the next tick comes anyway."""

Ended = Callable[[str, float, bool], None]


class Jobs:
    """Handles names of jobs.

    Args:
        queue: where they come from.
        jobs: all that there are.
        lease: tells whether this replica leads.
        ended: told name, seconds and success of each run, for metrics.
    """

    def __init__(
        self,
        queue: WorkQueue[str],
        jobs: Iterable[Job],
        lease: Lease,
        ended: Ended | None = None,
    ) -> None:
        self._queue = queue
        self._jobs = {job.name: job for job in jobs}
        self._lease = lease
        self._ended = ended or (lambda _, __, ___: None)

    def tick(self, name: str) -> None:
        """A job is due."""
        self._queue.add(name, priority=Priority.ROUTINE)

    async def handle(self, name: str) -> None:
        """Run a job, unless it is another replica's."""
        job = self._jobs[name]
        if job.leads and not self._lease.leads:
            return
        now = asyncio.get_running_loop().time
        started_s, done = now(), False
        try:
            await job.run()
            done = True
        except X3FleetError as error:
            log.warning(events.JOB_FAILED, job=name, error=type(error).__name__)
            self._queue.add(name, priority=Priority.RETRY, after_s=RETRY_S)
        finally:
            self._ended(name, now() - started_s, done)

    def panicked(self, name: str) -> None:
        """A bug of ours ended a run: the next tick tries again."""
