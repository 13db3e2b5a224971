"""Turns of nodes for as long as the service runs: who is looked at, what follows, when again.

Level-triggered: whatever woke a node, its turn compares everything. A node in back-off is left alone
until its probe is due, unless it is declared otherwise by now or a person asks. Callers: the service's
crew. Not here: a turn itself (`worker`), periods (`rhythm`), the queue.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from controller.core.conditions import NEGATIVE
from controller.core.result import Result
from controller.panels.panel import PanelPool
from controller.runtime.lease import Lease
from controller.runtime.queue import Priority, WorkQueue
from controller.runtime.records import Records
from controller.runtime.report import left_of
from controller.runtime.rhythm import Ended, NextLook, Rhythm, next_look
from controller.runtime.rounds import MOST_ROUNDS, goes_on
from controller.runtime.worker import Clock, TurnReport, Worker
from desired_state.model.ids import NodeName, Revision
from desired_state.store.clock import Randomness
from desired_state.store.errors import StoreError

log = structlog.get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 900.0
"""Of the retries after a turn that broke off, or that was ended by a bug of ours."""

_UNHEALTHY = frozenset(NEGATIVE)

REMOVES_S = 10.0
"""How soon it is looked whether clients may be removed again, after another controller died."""


class Requests(Protocol):
    """What people asked of nodes; see `requests`."""

    async def before(self, node: NodeName) -> None:
        """A turn of this node is about to begin."""

    async def after(self, turn: TurnReport, *, more: bool) -> None:
        """It ended; `more`: another one follows at once."""

    async def pressing(self, node: NodeName) -> Revision:
        """The revision since which a node is declared, or asked for, as it is now."""

    def reopen(self, nodes: Iterable[NodeName]) -> None:
        """Nodes were set free: what they waited for has happened."""


@dataclass(slots=True)
class _Memory:
    """What is kept of a node between its turns. `until_s`: its back-off, on the monotonic clock."""

    until_s: float = 0.0
    attempted: Revision = Revision(0)
    breaks: int = 0
    least_left: int | None = None
    idle: int = 0
    takes_keys: bool | None = None


@dataclass(slots=True)
class Hooks:
    """What turns lead to elsewhere.

    `place`: the scheduler may see the fleet otherwise by now. `health`: it does: a node fell, or is back.
    """

    place: Callable[[], None] = lambda: None
    health: Callable[[], None] = lambda: None
    ended: Callable[[TurnReport], None] = lambda _: None
    retried: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Parts:
    """What turns are made of."""

    queue: WorkQueue[NodeName]
    worker: Worker
    records: Records
    pool: PanelPool
    lease: Lease
    requests: Requests
    clock: Clock
    randomness: Randomness
    rhythm: Rhythm = field(default_factory=Rhythm)


class Turns:
    """Handles nodes of the queue.

    Args:
        parts: what turns are made of.
        hooks: what they lead to.
    """

    def __init__(self, parts: Parts, hooks: Hooks) -> None:
        self._parts = parts
        self._hooks = hooks
        self._nodes: dict[NodeName, _Memory] = {}

    async def handle(self, node: NodeName) -> None:
        """Give a node its turn, and decide about its next one."""
        held = self._parts.lease.nodes()
        if held is not None and node not in held:
            await self.drop(node)
            return
        wait_s = await self._wait_s(node)
        if wait_s > 0:
            self._parts.queue.add(node, priority=Priority.RETRY, after_s=wait_s)
            return
        await self._parts.requests.before(node)
        turn = await self._parts.worker.turn(node)
        self._hooks.ended(turn)
        look = self._next(turn)
        self._release()
        # Woken meanwhile: what this turn left may be what the next one is for.
        more = look.after_s == 0 or self._parts.queue.waits(node)
        await self._parts.requests.after(turn, more=more)
        if turn.undeclared:
            await self.drop(node)
            return
        after_s = look.after_s
        if not self._parts.lease.may_remove(node):
            after_s = min(after_s, REMOVES_S)
        self._parts.queue.add(node, priority=look.priority, after_s=after_s)
        if turn.result is None or turn.result.not_observed is not None:
            self._hooks.retried()
        if turn.recorded:
            self._hooks.place()
        self._tell_health(turn)

    def _tell_health(self, turn: TurnReport) -> None:
        memory = self._memory(turn.node)
        takes_keys = turn.result is not None and not _UNHEALTHY & {
            c.type for c in turn.result.status.conditions if c.status
        }
        if memory.takes_keys is not None and memory.takes_keys is not takes_keys:
            self._hooks.health()
        memory.takes_keys = takes_keys

    def panicked(self, node: NodeName) -> None:
        """A bug of ours ended a turn: look again, slowly."""
        memory = self._memory(node)
        memory.breaks += 1
        after_s = min(60.0 * 2 ** min(memory.breaks - 1, 8), LONGEST_PAUSE_S)
        self._parts.queue.add(node, priority=Priority.RETRY, after_s=after_s)

    async def drop(self, node: NodeName) -> None:
        """Forget a node: it is another replica's, or not declared."""
        self._nodes.pop(node, None)
        self._parts.queue.forget(node)
        await self._parts.pool.drop(node)

    def delay(self, node: NodeName, after_s: float, attempted: Revision) -> None:
        """Take up a back-off that an earlier process left."""
        memory = self._memory(node)
        memory.until_s, memory.attempted = self._parts.clock.monotonic() + after_s, attempted

    def _memory(self, node: NodeName) -> _Memory:
        return self._nodes.setdefault(node, _Memory())

    async def _wait_s(self, node: NodeName) -> float:
        """How long a node in back-off is left alone yet; 0 when it may be looked at."""
        memory = self._nodes.get(node)
        if memory is None:
            return 0.0
        wait_s = memory.until_s - self._parts.clock.monotonic()
        if wait_s <= 0:
            return 0.0
        try:
            pressing = await self._parts.requests.pressing(node)
        except StoreError:
            return wait_s
        # Declared otherwise, or asked for, after the look that failed.
        return 0.0 if pressing > memory.attempted else wait_s

    def _next(self, turn: TurnReport) -> NextLook:
        memory = self._memory(turn.node)
        more = self._goes_on(turn, memory)
        memory.breaks = 0 if turn.result is not None else memory.breaks + 1
        look = next_look(self._ended(turn, memory, more=more), self._parts.rhythm, self._draw())
        seen = turn.result is not None and turn.result.not_observed is None
        memory.until_s = 0.0 if seen else self._parts.clock.monotonic() + look.after_s
        memory.attempted = turn.revision
        return look

    def _ended(self, turn: TurnReport, memory: _Memory, *, more: bool) -> Ended:
        result, due_s = turn.result, None
        if turn.due_at is not None:
            due_s = (turn.due_at - self._parts.clock.now()).total_seconds()
        if result is None:
            pause_s = FIRST_PAUSE_S * 2 ** min(memory.breaks - 1, 8)
            return Ended(backoff_s=min(pause_s, LONGEST_PAUSE_S) * (0.5 + self._draw() / 2))
        return Ended(
            goes_on=more,
            settled=(
                result.is_in_sync
                and not result.remaining.waiting
                and not result.status.backoff.is_failing
            ),
            override_s=turn.resync_s,
            failover_s=turn.failover_s,
            due_s=due_s,
            backoff_s=self._backoff_s(result),
        )

    def _backoff_s(self, result: Result) -> float | None:
        """Seconds until a panel that did not show itself is tried again; None: it did."""
        if result.not_observed is None:
            return None
        backoff = result.status.backoff
        if backoff.next_look_at is None:
            # Never by itself: turns until then contact nobody.
            return LONGEST_PAUSE_S
        return backoff.left_s(self._parts.clock.now())

    def _goes_on(self, turn: TurnReport, memory: _Memory) -> bool:
        """Whether another turn now can do what this one could not, and is not the fifth to get nowhere.

        After that one turn a period tries on, until something progresses.
        """
        if turn.result is None or not goes_on(turn):
            memory.least_left, memory.idle = None, 0
            return False
        left = left_of(turn.result)
        if memory.least_left is None or left < memory.least_left:
            memory.least_left, memory.idle = left, 0
        else:
            memory.idle += 1
        return memory.idle < MOST_ROUNDS

    def _release(self) -> None:
        """Wake the nodes whose waiting keys this turn's finalising freed."""
        released = self._parts.records.take_released()
        self._parts.requests.reopen(released)
        for node in released:
            self._parts.queue.add(node, priority=Priority.CUSTOMER)

    def _draw(self) -> float:
        return int.from_bytes(self._parts.randomness.draw(4), "big") / 2**32
