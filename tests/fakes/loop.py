"""An event loop whose time runs only while nothing else does: an hour of delays takes no time.

The loop's clock jumps to the next timer instead of waiting for it, so what happens and when is exact
and repeats. Callers: tests of what waits. Not for sockets, threads or processes.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Impatient(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # chosen at run time
    """Never waits: the time that it was to wait passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if timeout is None and not found:
            raise RuntimeError("everything waits for something that nothing will bring")
        if not found:
            self.passed_s += timeout or 0.0
        return found


class FastLoop(asyncio.SelectorEventLoop):
    """The loop; its time begins at 1,000 s."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        """Seconds that passed in here."""
        return 1_000.0 + self._impatient.passed_s


def run_fast(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(main)
