"""Time as a role, so that tests choose it: wall clock, elapsed seconds, waiting.

Callers: `channel`, `login`, `controller.panels.detect`, and everybody else by way of the service. Not
here: time-outs of requests, which httpx and asyncio keep.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a panel session takes its time from."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


def since_boot() -> float:
    """Seconds that only grow, through a suspended machine too where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow, and go on while the machine is suspended: panels go on as well."""
        return since_boot()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
