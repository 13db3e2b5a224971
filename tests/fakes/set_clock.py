"""Both clocks of a machine, whose wall clock a test sets: the other one only grows.

Callers: tests of what happens when the clock is set. Waiting takes no time. Not here: panels' clocks.
"""

from datetime import datetime, timedelta

from controller.panels.api.clock import SystemClock


class SetClock(SystemClock):
    """Time goes on as it does, and further by `pass_`; `set` moves the wall clock alone."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._wrong = timedelta()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._ahead_s) + self._wrong

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        self.pass_(seconds)

    def set(self, **parts: float) -> None:
        """Set the wall clock by so much, backwards too."""
        self._wrong += timedelta(**parts)

    def pass_(self, seconds: float) -> None:
        """Let time go by on both."""
        self._ahead_s += seconds
