"""The work queue: names with a priority and a delay, each once, never two workers on one name.

What is to be looked at is a set, not a list of messages: adding a name that waits already keeps the
higher priority and the earlier moment; adding one that is being worked on has it looked at once more
after that. One queue holds nodes, a second one jobs. Callers: loop, schedule, wakeups. Not here: why
something is looked at, what working means.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

T = TypeVar("T", bound=Hashable)


class Priority(IntEnum):
    """Who goes first; within one priority whoever has been waiting longer."""

    CUSTOMER = 100
    """A change that somebody is waiting for."""
    ASKED = 50
    """A person's request to look now."""
    RETRY = 0
    """The rest of a turn that time cut short, and what failed."""
    ROUTINE = -100
    """A periodic look, and every look at the start: it never delays a customer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name that waits. `ready_at` in seconds of the monotonic clock; `number` keeps the order."""

    priority: int
    ready_at: float
    number: int


class Agenda(Generic[T]):
    """The queue without waiting: plain state, and time as an argument.

    Three sets: names that wait, names that are worked on, and, in both, names that are to be worked on
    once more. The heaps may hold outdated entries; `_waiting` tells which are current.
    """

    def __init__(self) -> None:
        self._waiting: dict[T, Entry] = {}
        self._working: set[T] = set()
        self._delayed: list[tuple[float, int, T]] = []
        self._ready: list[tuple[int, int, T]] = []
        self._numbers = 0

    def add(self, item: T, priority: int, ready_at: float) -> None:
        """Have an item worked on once more, no sooner than `ready_at`."""
        known = self._waiting.get(item)
        if known is None:
            self._numbers += 1
            entry = Entry(priority, ready_at, self._numbers)
        else:
            entry = Entry(
                max(known.priority, priority), min(known.ready_at, ready_at), known.number
            )
        if entry == known:
            return
        self._waiting[item] = entry
        if item not in self._working:
            heappush(self._delayed, (entry.ready_at, entry.number, item))

    def take(self, now: float) -> tuple[T, Entry] | None:
        """Take the first item that is ready; it is being worked on until `done`."""
        self._ripen(now)
        while self._ready:
            priority, number, item = heappop(self._ready)
            entry = self._waiting.get(item)
            if entry is not None and (-entry.priority, entry.number) == (priority, number):
                del self._waiting[item]
                self._working.add(item)
                return item, entry
        return None

    def done(self, item: T) -> None:
        """Give an item back; it waits again if it was added meanwhile."""
        self._working.remove(item)
        entry = self._waiting.get(item)
        if entry is not None:
            heappush(self._delayed, (entry.ready_at, entry.number, item))

    def forget(self, item: T) -> None:
        """Let an item wait no more; one that is being worked on is not added again by this."""
        self._waiting.pop(item, None)

    def has_ready(self, now: float) -> bool:
        """Whether `take` would give something."""
        self._ripen(now)
        return any(
            (-entry.priority, entry.number) == (priority, number)
            for priority, number, item in self._ready
            if (entry := self._waiting.get(item)) is not None
        )

    def next_at(self) -> float | None:
        """When the next delay ends, as far as one is running."""
        return self._delayed[0][0] if self._delayed else None

    def knows(self, item: T) -> bool:
        """Whether an item waits or is being worked on."""
        return item in self._waiting or item in self._working

    def waits(self, item: T) -> bool:
        """Whether an item waits, be it worked on as well or not."""
        return item in self._waiting

    def depth(self, now: float) -> Mapping[int, int]:
        """How many items are ready and not taken, by priority; delayed ones do not count."""
        return Counter(
            entry.priority
            for item, entry in self._waiting.items()
            if entry.ready_at <= now and item not in self._working
        )

    @property
    def working(self) -> frozenset[T]:
        """Items that are being worked on."""
        return frozenset(self._working)

    def _ripen(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            ready_at, number, item = heappop(self._delayed)
            entry = self._waiting.get(item)
            if entry is not None and (entry.ready_at, entry.number) == (ready_at, number):
                heappush(self._ready, (-entry.priority, number, item))


class QueueWatcher(Protocol):
    """Told of what happens in a queue, for metrics. Seconds of the monotonic clock."""

    def added(self, priority: int) -> None:
        """An item was added, or added again."""

    def taken(self, waited_s: float) -> None:
        """An item was taken that had been ready for so long."""

    def finished(self, worked_s: float) -> None:
        """An item was given back."""


class QueueClosed(Exception):
    """Nothing more is handed out: workers end."""


class WorkQueue(Generic[T]):
    """The queue for workers of one event loop, on its monotonic clock. Made inside the loop.

    Args:
        name: in metrics.
        watcher: told of everything.
    """

    def __init__(self, name: str, watcher: QueueWatcher | None = None) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._agenda: Agenda[T] = Agenda()
        self._watcher = watcher
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._since: dict[T, float] = {}
        self._closed = False

    def add(self, item: T, *, priority: int = Priority.ROUTINE, after_s: float = 0.0) -> None:
        """Have an item worked on; of what is known of it, the sooner and the higher holds.

        Args:
            item: a name.
            priority: see `Priority`.
            after_s: no sooner than so many seconds from now; a burst that falls into it is one look.
        """
        self._agenda.add(item, priority, self._loop.time() + max(0.0, after_s))
        if self._watcher is not None:
            self._watcher.added(priority)
        self._arm()

    async def get(self) -> T:
        """Wait for an item; it is not handed out again before `done`.

        Raises:
            QueueClosed: nothing more is handed out.
        """
        while True:
            if self._closed:
                raise QueueClosed
            taken = self._agenda.take(self._loop.time())
            if taken is not None:
                item, entry = taken
                now = self._since[item] = self._loop.time()
                if self._watcher is not None:
                    self._watcher.taken(now - entry.ready_at)
                self._arm()
                return item
            await self._wait()

    def done(self, item: T) -> None:
        """Give an item back."""
        worked_s = self._loop.time() - self._since.pop(item)
        self._agenda.done(item)
        if self._watcher is not None:
            self._watcher.finished(worked_s)
        self._arm()

    def forget(self, item: T) -> None:
        """Let an item wait no more."""
        self._agenda.forget(item)

    def knows(self, item: T) -> bool:
        """Whether an item waits, or is being worked on."""
        return self._agenda.knows(item)

    def waits(self, item: T) -> bool:
        """Whether an item is to be worked on once more, besides what is being done."""
        return self._agenda.waits(item)

    def close(self) -> None:
        """Hand nothing out any more: every waiting worker ends."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def depth(self) -> Mapping[int, int]:
        """How many items are ready and not taken, by priority."""
        return self._agenda.depth(self._loop.time())

    def running(self) -> Mapping[Hashable, float]:
        """For how many seconds each item has been worked on."""
        now = self._loop.time()
        return {item: now - since for item, since in self._since.items()}

    async def _wait(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._arm()
        try:
            await waiter
        except asyncio.CancelledError:
            # Its signal may have been meant for an item: somebody else is to take it.
            if waiter.done() and not waiter.cancelled():
                self._arm()
            raise
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)

    def _arm(self) -> None:
        """Wake one worker if something is ready; else see to it when the next delay ends."""
        if self._closed:
            return
        if self._agenda.has_ready(self._loop.time()):
            self._signal()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moment = self._agenda.next_at()
        if moment is not None and self._waiters:
            self._timer = self._loop.call_at(moment, self._arm)

    def _signal(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
