"""Panels in memory where the service expects those of the network: the whole controller without HTTP.

Commands, database, scheduler, core and records are the product's own; only what stands behind a node's
address is a `FakePanel`. Callers: the machine of a whole fleet. Not here: rules, expectations.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.core.effects import Outcome, Verdict, Write
from controller.core.observed import HostLoad, NotObserved, NotSeen, Observation
from desired_state.model.ids import NodeName
from desired_state.model.node import NodeTarget
from tests.fakes.panel import FakePanel
from tests.stores import START, FrozenClock


@dataclass
class OneClock:
    """Both clocks of a controller over the store's frozen one: no time passes but what a test lets pass."""

    clock: FrozenClock

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return (self.clock.now() - START).total_seconds()

    async def sleep(self, seconds: float) -> None:
        del seconds


@dataclass
class Line:
    """The way to one panel, which may be cut."""

    pool: "FakePool"
    node: NodeName

    async def observe(self, *, careful: bool = False) -> Observation | NotObserved:
        del careful
        if self.node in self.pool.dead:
            return NotObserved(self.node, NotSeen.TIMEOUT, "nobody answers")
        return self.pool.panels[self.node].look()

    async def ask_host(self) -> HostLoad:
        return HostLoad()

    async def act(self, write: Write) -> Outcome:
        now = self.pool.clock.now()
        if self.node in self.pool.dead:
            return Outcome(Verdict.UNKNOWN, "nobody answers", ended_at=now)
        if self.pool.witness is not None:
            self.pool.witness(self.node, write)
        return replace(self.pool.panels[self.node].apply(write), ended_at=now)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class FakePool:
    """The panels of all nodes. `dead`: those that do not answer now. `witness` is shown each write first."""

    clock: FrozenClock
    panels: dict[NodeName, FakePanel] = field(default_factory=dict)
    dead: set[NodeName] = field(default_factory=set)
    witness: Callable[[NodeName, Write], None] | None = None

    async def panel(self, target: NodeTarget) -> Line:
        return Line(self, target.node)

    async def drop(self, node: NodeName) -> None:
        del node

    async def close(self) -> None:
        """Nothing is open."""
