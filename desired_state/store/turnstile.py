"""Lets the writers of one process into an SQLite database one after another, those first that began first.

First come, first served would have 32 turns each wait behind 31 others before every one of their writes: on a
slow machine all of them run out of time half-way, and what they did is done again. By the age of the
work, the oldest turn always comes to its end; and nobody begins work while many wait already. Callers:
the engine, whoever begins a turn. Not here: other processes, which SQLite's own lock keeps apart.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

MOST_WAITING = 4
"""Enough that the database never idles; what more turns learn is old when they may write it."""
_FIRST = float("-inf")
"""Commands and jobs go before turns: people wait for them, and they are few."""
_begun_s: ContextVar[float] = ContextVar("x3fleet_work_begun_s", default=_FIRST)


@contextmanager
def work_begun(at_s: float) -> Iterator[None]:
    """Have the writes of a block wait as part of work that began at this moment.

    Args:
        at_s: on the monotonic clock; what began earlier goes first.
    """
    token = _begun_s.set(at_s)
    try:
        yield
    finally:
        _begun_s.reset(token)


class Turnstile:
    """A lock whose waiters are let in by when their work began; among equals, as they came."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()
        self._outside: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait until nobody is inside and nobody who waits began earlier."""
        if not self._is_held:
            self._is_held = True
            return
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_begun_s.get(), next(self._number), admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            # Let in and called off in one go: the next one must not wait for ever.
            if admitted.done() and not admitted.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Let the next one in; those who gave up are passed over."""
        self._is_held = self._let_in()
        if not self._waiting:
            # Nobody may come who would wake the others.
            while _wake_one(self._outside):
                continue
        elif len(self._waiting) < MOST_WAITING:
            # One for each that leaves: what it begins shows in the line only after a while.
            _wake_one(self._outside)

    async def room(self) -> None:
        """Wait until so few wait that work which is begun now comes to its turn."""
        if len(self._waiting) < MOST_WAITING and not self._outside:
            return
        woken = asyncio.get_running_loop().create_future()
        self._outside.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if woken.done() and not woken.cancelled():
                _wake_one(self._outside)
            raise

    def _let_in(self) -> bool:
        while self._waiting:
            *_, admitted = heapq.heappop(self._waiting)
            if not admitted.done():
                admitted.set_result(None)
                return True
        return False


def _wake_one(sleeping: "deque[asyncio.Future[None]]") -> bool:
    while sleeping:
        woken = sleeping.popleft()
        if not woken.done():
            woken.set_result(None)
            return True
    return False
