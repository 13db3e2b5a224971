"""What keeps a running controller from starting another write: its end, or an event loop that lags.

A lagging loop cannot keep its promises: whatever it believes of its lease is old. Callers: the worker
asks before each write, the loop brakes at the stop. Not here: leases, limits of a turn.
"""

import asyncio
from collections.abc import Callable

BEAT_S = 0.25
LAG_LIMIT_S = 3.0
"""Above this nothing is written; above 1 s it is worth an alert."""


class Brake:
    """Pulled at the stop of a service, and while its event loop lags; a one-shot run never pulls it.

    Args:
        lagged: told of each measured lag in seconds, for metrics.
    """

    def __init__(self, lagged: Callable[[float], None] | None = None) -> None:
        self._lagged = lagged or (lambda _: None)
        self._stopping = False
        self._beat_at: float | None = None

    def stop(self) -> None:
        """Let no write start any more."""
        self._stopping = True

    def cause(self) -> str:
        """Say why no write may start; empty when one may."""
        if self._stopping:
            return "the controller is stopping"
        lag_s = self.lag_s()
        return f"the event loop lags by {lag_s:.1f} s" if lag_s > LAG_LIMIT_S else ""

    def lag_s(self) -> float:
        """By how much the loop is late now; 0 before the first beat."""
        if self._beat_at is None:
            return 0.0
        # Not the last measured lag: right after a standstill this may run before the next beat.
        return max(0.0, asyncio.get_running_loop().time() - self._beat_at - BEAT_S)

    async def watch(self) -> None:
        """Beat for as long as the service runs."""
        now = asyncio.get_running_loop().time
        try:
            while True:
                self._beat_at = now()
                await asyncio.sleep(BEAT_S)
                self._lagged(self.lag_s())
        finally:
            self._beat_at = None
