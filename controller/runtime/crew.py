"""Workers over one queue: take a name, handle it, give it back, whatever happens in between.

Two crews run in a service: one over nodes, one over jobs. Callers: the service. Not here: what handling
means, when a name comes again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

from controller.runtime.queue import QueueClosed, WorkQueue
from controller.telemetry import events

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Hashable)


class Crew(Generic[T]):
    """Handles names of a queue, some at the same time, each by one worker at a time.

    Args:
        queue: where names come from.
        handle: does one name's work. Whatever it raises is a bug: contained, logged and counted.
        workers: how many names at the same time.
        panicked: told of such a name; decides when it comes again.
    """

    def __init__(
        self,
        queue: WorkQueue[T],
        handle: Callable[[T], Awaitable[None]],
        *,
        workers: int,
        panicked: Callable[[T], None],
    ) -> None:
        self.queue = queue
        self.workers = workers
        self._handle = handle
        self._panicked = panicked
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Work until the queue is closed and everything in hand is done, or until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
        finally:
            self._ended.set()

    async def drain(self, within_s: float) -> None:
        """Take nothing new, and wait until what is in hand is done; the caller limits the time."""
        del within_s
        self.queue.close()
        await self._ended.wait()

    async def _work(self) -> None:
        while True:
            try:
                item = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._handle(item)
            except Exception as error:
                # The one place where whatever is left ends: one traceback, one count, and every
                # other name goes on. The name comes again, but not soon.
                log.exception(events.CYCLE_BROKEN_OFF, item=item, error=type(error).__name__)
                self._panicked(item)
            finally:
                self.queue.done(item)
