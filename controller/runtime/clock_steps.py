"""Notices that the wall clock was set, and has what waits by it go on waiting as long as before.

Moments are stored by the wall clock, since they outlive the process; how much of it has really passed is
told by a clock that only grows. That one is known to this process alone: of a step while none ran, only
what it left ahead of us is brought back; what the rest may do is told in the runbook. Callers: the
worker (before each turn and each effect), the service (before keys are placed), retention. Not here:
statements (`clock_shift`), delays in memory, which stand on the other clock anyway.
"""

import asyncio
from datetime import timedelta
from typing import Protocol

import structlog

from controller.panels.api.clock import Clock
from controller.runtime.clock_shift import Shift, bring_back, shift
from controller.runtime.lease import Lease
from controller.runtime.lease_rows import moment
from controller.runtime.versions import StatusVersions
from controller.telemetry import events, metrics
from desired_state.model.ids import NodeName
from desired_state.store.engine import Store

log = structlog.get_logger(__name__)

STEP_S = 2.0
"""A clock that is slewed drifts by half a millisecond a second; nothing that waits is so short."""
DOUBTFUL_FOR_S = 3600.0
"""So long after a step nothing is removed for its age: a clock that was set wrong is mostly set again."""


class Waits(Protocol):
    """What the worker needs of it."""

    def noticed(self) -> int:
        """How often the wall clock was set so far; compares the clocks now."""
        ...

    async def settle(self) -> None:
        """Have stored moments fit the wall clock as it is now.

        Raises:
            StoreError: nothing was written; they are to be settled before anything is decided by them.
        """
        ...


class ClockSteps:
    """Compares the wall clock with one that only grows, whenever somebody asks.

    Args:
        store: the database.
        versions: bumped when stored moments were moved.
        lease: of which nodes.
        clock: both clocks.
    """

    def __init__(self, store: Store, versions: StatusVersions, lease: Lease, clock: Clock) -> None:
        self._store = store
        self._versions = versions
        self._lease = lease
        self._clock = clock
        self._apart = self._compare()
        self._steps = 0
        self._last_s: float | None = None
        self._owed = timedelta()
        self._is_settled = False
        self._looked_at: frozenset[NodeName] = frozenset()
        self._one_at_a_time = asyncio.Lock()

    def noticed(self) -> int:
        """How often the wall clock was set since this process began; compares the clocks now."""
        apart = self._compare()
        step = apart - self._apart
        # What drifts slowly is followed, and never adds up to a step.
        self._apart = apart
        if abs(step.total_seconds()) >= STEP_S:
            self._steps += 1
            self._last_s = self._clock.monotonic()
            self._owed += step
            self._is_settled = False
            metrics.CLOCK_STEPS.labels("forward" if step > timedelta() else "backward").inc()
            log.warning(events.CLOCK_STEPPED, step_s=round(step.total_seconds(), 3))
        return self._steps

    def is_doubtful(self) -> bool:
        """Whether it was set not long ago."""
        self.noticed()
        if self._last_s is None:
            return False
        return self._clock.monotonic() - self._last_s < DOUBTFUL_FOR_S

    async def settle(self) -> None:
        """Move what waits by as much as the wall clock was set; the first time, what lies ahead of it.

        The first time is of each node when its lease comes: others' moments are theirs to move.

        Raises:
            StoreError: nothing was moved; the next call tries again.
        """
        self.noticed()
        if self._is_settled and not self._newly_held():
            return
        async with self._one_at_a_time:
            if not self._is_settled:
                await self._settle()
            if new := self._newly_held():
                self._tell(await self._bring_back(new))

    def _newly_held(self) -> frozenset[NodeName]:
        """Nodes of ours that were not looked at since their lease came; none where all are always ours."""
        held = self._lease.nodes()
        if held is None:
            return frozenset()
        self._looked_at &= held
        return held - self._looked_at

    async def _settle(self) -> None:
        steps, owed = self._steps, self._owed
        nodes = self._lease.nodes()
        self._tell(await self._move(owed) if owed else await self._bring_back(nodes))
        self._owed -= owed
        # Set again meanwhile: settled once more.
        self._is_settled = steps == self._steps

    async def _move(self, step: timedelta) -> int:
        now, nodes = self._clock.now(), self._lease.nodes()
        async with self._store.recording() as session:
            connection = await session.connection()
            return await shift(connection, Shift(step, now, nodes))

    async def _bring_back(self, nodes: frozenset[NodeName] | None) -> int:
        async with self._store.recording() as session:
            connection = await session.connection()
            # By the database's clock where it has one: a replica whose own is slow ends no wait of others.
            now = await moment(connection, self._clock.now())
            moved = await bring_back(connection, now, nodes)
        self._looked_at |= nodes or frozenset()
        return moved

    def _tell(self, moved: int) -> None:
        if moved:
            self._versions.bump_all()
            log.info(events.WAITS_MOVED, moved=moved)

    def _compare(self) -> timedelta:
        # Midway between two readings of the other clock: a pause between the two is no step.
        before_s = self._clock.monotonic()
        now = self._clock.now()
        between_s = (before_s + self._clock.monotonic()) / 2
        return timedelta(seconds=now.timestamp() - between_s)


class NoSteps:
    """For whoever has no clock that could be set."""

    def noticed(self) -> int:
        """Never."""
        return 0

    async def settle(self) -> None:
        """There is nothing to be done."""
