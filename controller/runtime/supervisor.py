"""Keeps the long-running parts of a service alive, and ends them in order.

A part that raises is started again, after a while that grows; it never takes another one with it. A
database that is away is no defect of a part: it waits, and says so in a line. At the end parts are
stopped in reverse order of their start: whoever brings work first, whoever guards the right to work
last. Callers: the service. Not here: what parts do, signals.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from controller.telemetry import events
from desired_state.store.errors import StoreBusy, StoreUnreachable

log = structlog.get_logger(__name__)

STOP_S = 25.0
"""All of a stop; a process manager kills after 30."""
CANCEL_S = 2.0
"""What is left of it for a part that had to be cancelled."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
AWAY_PAUSE_S = 5.0
"""The longest pause while the database is away: when it is back, work goes on soon."""
STEADY_S = 300.0
"""A part that ran for so long begins with the shortest pause again."""

Run = Callable[[], Awaitable[None]]
Drain = Callable[[float], Awaitable[None]]
"""Ends a part's work in hand; told how many seconds it has."""


@dataclass(slots=True)
class Part:
    """One long-running part. `restarts`: how often it had to be started again."""

    name: str
    run: Run
    drain: Drain | None = None
    restarts: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Runs parts until `stop`.

    Args:
        broke: told the name of a part that raised, for metrics.
    """

    def __init__(self, broke: Callable[[str], None] | None = None) -> None:
        self._parts: list[Part] = []
        self._broke = broke or (lambda _: None)
        self._stopping = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts in the order of their start."""
        return tuple(self._parts)

    def add(self, name: str, run: Run, drain: Drain | None = None) -> None:
        """Start a part.

        Args:
            name: for the log.
            run: runs until it is cancelled; one that returns is done with.
            drain: called at the stop, before `run` is cancelled if it still runs then.
        """
        part = Part(name, run, drain)
        part.task = asyncio.create_task(self._keep(part), name=f"x3fleet {name}")
        self._parts.append(part)

    async def stop(self, within_s: float = STOP_S) -> bool:
        """End all parts in reverse order; returns whether each one ended by itself in time."""
        self._stopping = True
        now = asyncio.get_running_loop().time
        until, clean = now() + within_s, True
        for part in reversed(self._parts):
            if part.task is None:
                continue
            if part.drain is not None:
                clean &= await _drain(part, max(0.0, until - CANCEL_S - now()))
            part.task.cancel()
            await asyncio.wait((part.task,), timeout=max(CANCEL_S / 4, until - now()))
            if not part.task.done():
                clean = False
                log.error(events.PART_STUCK, part=part.name)
        return clean

    async def _keep(self, part: Part) -> None:
        now = asyncio.get_running_loop().time
        pause_s = FIRST_PAUSE_S
        while True:
            started_s, longest_s = now(), LONGEST_PAUSE_S
            try:
                await part.run()
            except (StoreUnreachable, StoreBusy) as error:
                log.warning(events.PART_WAITS, part=part.name, error=str(error))
                longest_s = AWAY_PAUSE_S
            except Exception as error:
                # Whatever it is, the other parts go on: one traceback, one count, another try.
                log.exception(events.PART_BROKE, part=part.name, error=type(error).__name__)
                self._broke(part.name)
            else:
                return
            if self._stopping:
                return
            pause_s = FIRST_PAUSE_S if now() - started_s > STEADY_S else min(pause_s, longest_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            part.restarts += 1


async def _drain(part: Part, within_s: float) -> bool:
    if part.drain is None:
        return True
    try:
        async with asyncio.timeout(within_s):
            await part.drain(within_s)
    except TimeoutError:
        log.warning(events.PART_CUT_SHORT, part=part.name)
        return False
    except Exception as error:
        # A stop goes on, whatever one part thinks of it.
        log.exception(events.PART_BROKE, part=part.name, error=type(error).__name__)
        return False
    return True
