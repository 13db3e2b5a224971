"""A controller that stays, as a process: started, listened to, ended by signals.

Its log lines are read as they come, so that a test waits for what happens and never for time.
Callers: the tests beside this file. Not here: expectations.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.operator import Operator
from tests.e2e.shell import Process

WAIT_S = 120
"""Only how long a test that fails takes to say so."""


@dataclass
class Service:
    """One running process. `lines`: what it logged; `noise`: lines that are no JSON."""

    process: Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    reader: "asyncio.Task[None] | None" = None

    async def read(self) -> None:
        """Read the log until the process ends."""
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            async with self.news:
                try:
                    self.lines.append(json.loads(raw))
                except ValueError:
                    self.noise.append(raw.decode())
                self.news.notify_all()

    async def logged(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a line with this event and these fields, from the start of the process on."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event, **fields}
            return next((line for line in self.lines if wanted.items() <= line.items()), None)

        async with asyncio.timeout(WAIT_S), self.news:
            await self.news.wait_for(found)
        line = found()
        assert line is not None
        return line

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end; gives the exit code."""
        async with asyncio.timeout(WAIT_S):
            code = await self.process.wait()
            if self.reader is not None:
                await self.reader
        return code

    @property
    def errors(self) -> list[str]:
        """Whatever went wrong in a way that nobody foresaw."""
        return [*self.noise, *(str(line) for line in self.lines if "exception" in line)]


async def start(operator: Operator, *words: str, **settings: str) -> Service:
    """Start a process that stays, and wait until it is at work."""
    # A free port: several run beside each other.
    given = {"X3FLEET_CONTROLLER__METRICS__PORT": "0", **settings}
    service = Service(await operator.start(*(words or ("controller",)), **given))
    service.reader = asyncio.create_task(service.read())
    await service.logged("controller_started")
    return service


@asynccontextmanager
async def serving(operator: Operator, *words: str, **settings: str) -> AsyncIterator[Service]:
    """Run a process that stays while the block runs; no defect may show in its log."""
    service = await start(operator, *words, **settings)
    try:
        yield service
    finally:
        code = await service.end()
    assert (0, []) == (code, service.errors), (code, service.errors)


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds, and give it."""
    async with asyncio.timeout(WAIT_S):
        while not (found := holds()):  # noqa: ASYNC110 - what it asks tells nobody of changes
            await asyncio.sleep(0.02)
    return found
