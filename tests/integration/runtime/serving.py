"""A service over a fleet of simulated panels, inside the test's own loop.

Callers: the tests beside this file. Not here: processes and signals (`tests/e2e`), the fleet (`fleet`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.daemon import Daemon
from controller.runtime.rhythm import Rhythm
from desired_state.commands import requests
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind
from desired_state.queries.requests import RequestView, follow_request
from tests.integration.runtime.fleet import Fleet

WAIT_S = 60
"""Only how long a test that fails takes to say so."""
PATIENT = Rhythm(pending_s=3600, quiet_s=3600)
"""Nothing happens by itself: whatever does was woken."""
EAGER = Rhythm(pending_s=0.3, quiet_s=0.3)


@dataclass
class Serving:
    """A daemon that runs, and the fleet that it serves."""

    fleet: Fleet
    daemon: Daemon
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, kind: RequestKind, node: str | None = None) -> RequestView:
        """Ask for something, and wait until every node that was asked has answered."""
        name = None if node is None else NodeName(node)
        asked = await self.fleet.run(lambda work: requests.ask(work, kind, node=name))
        return await self.answered(asked.token)

    async def idle(self) -> None:
        """Wait until nothing that was woken is left to be done."""

        def is_idle() -> bool:
            queues = (self.daemon.nodes, self.daemon._job_queue)
            return not any(queue.running() or queue.depth() for queue in queues)

        for _ in range(3):
            await eventually(is_idle)
            # Longer than a glance and a fold.
            await asyncio.sleep(0.25)
        await eventually(is_idle)

    async def answered(self, token: str) -> RequestView:
        """Wait until every node has answered a request."""
        found: list[RequestView] = []

        async def is_done() -> bool:
            async with self.fleet.controller.store.reading() as session:
                view = await follow_request(session, token)
            assert view is not None
            found[:] = [view]
            return view.is_done

        await eventually(is_done)
        return found[0]


@asynccontextmanager
async def serving(fleet: Fleet, rhythm: Rhythm = PATIENT) -> AsyncIterator[Serving]:
    """Serve a fleet while the block runs; it must end with everything in hand done."""
    served = Serving(fleet, Daemon(fleet.controller, rhythm))
    task = asyncio.create_task(served.daemon.run(served.stop))
    try:
        yield served
    finally:
        served.stop.set()
        clean = await task
    assert clean


async def eventually(holds: Callable[[], Any]) -> Any:
    """Wait until something holds, a coroutine or not, and give it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)
