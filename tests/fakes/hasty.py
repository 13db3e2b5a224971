"""An event loop with sockets and threads whose idle time passes at once, and the clocks that go with it.

While anything is at work, time passes as it does; once nothing has happened for two milliseconds, the loop
jumps to its next timer. An hour of a service that mostly waits takes some minutes, no time-out fires
early, and nothing else is changed. Callers: the soak. Where there are no sockets, `loop` is exact.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from simulator.state import PanelClock

T = TypeVar("T")

IDLE_S = 0.002
"""Loopback delivers at once; what takes longer is a thread, and wakes the loop when it is done."""
START = datetime(2026, 1, 1, tzinfo=UTC)


class _Hasty(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # chosen at run time
    """Waits for two milliseconds at most; the rest of the time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout <= IDLE_S:
            return super().select(timeout)
        found = super().select(IDLE_S)
        if not found:
            self.jumped_s += timeout - IDLE_S
        return found


class HastyLoop(asyncio.SelectorEventLoop):
    """The loop; `time` is what passed and what was jumped over."""

    def __init__(self) -> None:
        self._hasty = _Hasty()
        super().__init__(self._hasty)

    def time(self) -> float:
        return time.monotonic() + self._hasty.jumped_s


class LoopClock:
    """Both clocks of the machine, on the time of the running loop. `skip` lets time go by on both."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._skipped = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return self._loop.time() - self._began_s + self._skipped.total_seconds()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def skip(self, **parts: float) -> None:
        """Let time go by, as on a machine that was suspended: timers do not."""
        self._skipped += timedelta(**parts)


class PanelTime(PanelClock):
    """A panel's clock that shows the same."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(None)
        self._clock = clock

    def now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def run_hasty(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(main)
