"""Panels, database and clock together: runs turns of the core against them, synchronously.

Does what the worker does, in memory: executes each effect, feeds the result back, decides nothing; and
plays the faults of a plan. A watch is told of every effect, to check what must always hold. Callers: the
explorer, the state machine, tests of the core. Not here: what must hold (`tests.faults.safety`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from controller.core import effects as fx
from controller.core.chunks import START as WIDTH
from controller.core.reconcile import reconcile
from controller.core.result import Result
from desired_state.model.generation import JournalState
from desired_state.model.ids import Email, Epoch, NodeName
from desired_state.model.node import Mode
from tests.fakes.clock import FakeClock
from tests.fakes.faults import UNDONE, UNTRUE_LISTS, Fault, applicable, look
from tests.fakes.panel import FakePanel
from tests.fakes.store import FakeStore, StoreFailed

Faults = Mapping[int, Fault]
NONE: Faults = {}
TURN_GAP_S = 5
FLIGHT = timedelta(seconds=50)
"""A request arrives before this, or never."""
MAX_EFFECTS = 400
"""A turn with more effects than this goes on for ever."""


class Crashed(Exception):
    """The process died here; nothing of the turn is remembered."""


class Watch(Protocol):
    """Is told of everything that a turn does."""

    def begins(self, world: "World", node: NodeName) -> None: ...
    def before(self, world: "World", node: NodeName, effect: fx.Effect[object]) -> None: ...
    def after(
        self, world: "World", node: NodeName, effect: fx.Effect[object], result: object
    ) -> None: ...


@dataclass
class Turn:
    """What one turn did: effects with their results.

    `options`: the faults that each effect could have met. `result`: None when the turn broke off.
    """

    effects: list[fx.Effect[object]] = field(default_factory=list)
    results: list[object] = field(default_factory=list)
    options: list[tuple[Fault, ...]] = field(default_factory=list)
    result: Result | None = None
    broke_off: str = ""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A write whose answer nobody waits for any more, and when it was sent."""

    node: NodeName
    write: fx.Write
    fault: Fault
    sent_at: datetime


@dataclass(repr=False)
class World:
    """Some nodes with their panels, one database, one clock.

    `in_flight`: writes whose answer was lost and that arrive later, at most 60 s later. `suspended`:
    nodes whose panel was restored, where one key may show two generations until the next clean turn.
    `merciful`: a look after a delete that was answered and not done is honest, and so is one at a panel
    where a stranger took an email that we journalled, since no controller can survive both; `spared`
    counts how often.
    """

    store: FakeStore
    panels: dict[NodeName, FakePanel]
    clock: FakeClock = field(default_factory=FakeClock)
    width: int = WIDTH
    watch: Watch | None = None
    recording: bool = False
    in_flight: tuple[InFlight, ...] = ()
    suspended: set[NodeName] = field(default_factory=set)
    merciful: bool = False
    spared: int = 0
    story: str = ""
    """What happened to it, for who reads a failing example."""
    _lied: bool = False

    def __repr__(self) -> str:
        versions = ", ".join(str(panel.version) for panel in self.panels.values())
        return f"World of {versions}: {self.story}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self) if not cycle else "World of ...")

    @classmethod
    def of(cls, *panels: FakePanel, watch: Watch | None = None) -> "World":
        """Make a world of empty declared nodes, one a panel."""
        store = FakeStore()
        for panel in panels:
            store.add_node(panel.node)
        return cls(store, {panel.node: panel for panel in panels}, watch=watch)

    def copy(self) -> "World":
        """Return a world that goes its own way from here."""
        return replace(
            self,
            store=self.store.copy(),
            panels={name: panel.copy() for name, panel in self.panels.items()},
            clock=self.clock.copy(),
            suspended=set(self.suspended),
        )

    @property
    def panel(self) -> FakePanel:
        """The only panel, or the first."""
        return next(iter(self.panels.values()))

    def writes(self) -> int:
        """Count everything that was ever written, on panels and in the database."""
        return self.store.writes + sum(panel.calls for panel in self.panels.values())

    # -- turns -------------------------------------------------------------------------------------

    def turn(
        self,
        node: NodeName | None = None,
        faults: Faults = NONE,
        offset: int = 0,
        turn: Turn | None = None,
    ) -> Turn:
        """Run one turn of one node; `faults` by the number of the effect, counted from `offset`.

        `turn`: where to write what happens, for who wants to know it after a violation too.
        """
        name = node or self.panel.node
        turn = turn or Turn()
        self._deliver(name, Fault.DELAYED)
        if self.watch is not None:
            self.watch.begins(self, name)
        steps = reconcile(self.store.target(name), self.clock.now, self.width)
        result: object = None
        try:
            while len(turn.effects) < MAX_EFFECTS:
                effect = steps.send(result)
                fault = faults.get(offset + len(turn.effects))
                result = self._step(turn, name, effect, fault)
        except StopIteration as stop:
            turn.result = stop.value
        except (Crashed, StoreFailed) as error:
            turn.broke_off = type(error).__name__
        finally:
            steps.close()
        if len(turn.effects) >= MAX_EFFECTS:
            raise AssertionError(f"S8: a turn with more than {MAX_EFFECTS} effects")
        self.pass_time(TURN_GAP_S)
        return turn

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is in flight arrives within its 60 s."""
        self.clock.advance(seconds=seconds)
        for flying in self._take_due(lambda f: self.clock.now - f.sent_at >= FLIGHT):
            self.panels[flying.node].apply(flying.write)

    def round(self, faults: Faults = NONE) -> list[Turn]:
        """Run one turn of every node in order; faults are counted over all of them."""
        turns: list[Turn] = []
        for name in self.panels:
            offset = sum(len(t.effects) for t in turns)
            turns.append(self.turn(name, faults, offset))
        return turns

    def _step(
        self, turn: Turn, node: NodeName, effect: fx.Effect[object], fault: Fault | None
    ) -> object:
        if self.recording:
            known = self._is_bound(node)
            turn.options.append(applicable(effect, self.panels[node], known=known))
        turn.effects.append(effect)
        if self.watch is not None:
            self.watch.before(self, node, effect)
        turn.results.append(None)
        result = turn.results[-1] = self._execute(node, effect, fault)
        if self.watch is not None:
            self.watch.after(self, node, effect, result)
        if fault is Fault.CRASH:
            raise Crashed
        return result

    # -- effects -----------------------------------------------------------------------------------

    def _execute(self, node: NodeName, effect: fx.Effect[object], fault: Fault | None) -> object:
        panel = self.panels[node]
        if isinstance(effect, fx.Observe):
            hopeless = self._lied or self._is_swapped(node)
            if self.merciful and fault in UNTRUE_LISTS and hopeless:
                fault, self.spared = None, self.spared + 1
            self._lied = False
            seen = look(fault, panel)
            self._deliver(node, Fault.LATE)
            return seen
        if isinstance(effect, fx.Write):
            outcome = self._write(panel, effect, fault)
            return replace(outcome, ended_at=self.clock.now)
        if fault is Fault.BUSY:
            raise StoreFailed
        if isinstance(effect, fx.ReadDesired):
            return self.store.read_desired(effect, self.clock.now)
        if isinstance(effect, fx.ReadGenerations):
            return self.store.read_generations(effect)
        if isinstance(effect, fx.ReadSeeds):
            return self.store.read_seeds(effect)
        if fault is Fault.FENCED:
            row = self.store.nodes[node]
            row.epoch = Epoch(row.epoch + 1)
            self.store.changes += 1
        if fault is Fault.EXHAUSTED and isinstance(effect, fx.ReserveDeletes):
            return False
        return self.store.write(effect, self.clock.now)  # type: ignore[arg-type]

    def _write(self, panel: FakePanel, write: fx.Write, fault: Fault | None) -> fx.Outcome:
        if not self._may_write(panel.node, write.verb):
            return fx.Outcome(fx.Verdict.NOT_SENT, cause="the node's mode does not allow it")
        half = len(write.members) // 2
        self._lied |= write.verb is fx.Verb.DELETE and fault in UNDONE
        match fault:
            case Fault.LOST:
                return fx.Outcome(fx.Verdict.UNKNOWN, cause="time-out")
            case Fault.UNANSWERED:
                panel.apply(write)
                return fx.Outcome(fx.Verdict.UNKNOWN, cause="time-out")
            case Fault.DELAYED | Fault.LATE:
                self.in_flight += (InFlight(panel.node, write, fault, self.clock.now),)
                return fx.Outcome(fx.Verdict.UNKNOWN, cause="time-out")
            case Fault.LIE | Fault.HALF_LIE if not half or fault is Fault.LIE:
                return fx.Outcome(fx.Verdict.APPLIED)
            case Fault.HALF_LIE if half:
                panel.apply(replace(write, members=write.members[:half]))
                return fx.Outcome(fx.Verdict.APPLIED)
            case Fault.SKIPPED if half:
                done = panel.apply(replace(write, members=write.members[:half]))
                skipped = tuple(
                    fx.MemberResult(m.email, fx.MemberVerdict.SKIPPED, "skipped")
                    for m in write.members[half:]
                )
                return replace(done, members=(*done.members, *skipped))
            case Fault.REFUSED:
                return fx.Outcome(fx.Verdict.REJECTED, cause="refused")
            case Fault.HALF_REFUSED:
                return panel.apply_half(write)
            case Fault.NOT_SENT:
                return fx.Outcome(fx.Verdict.NOT_SENT, cause="connection refused")
            case Fault.TWICE:
                panel.apply(write)
        return panel.apply(write)

    def _is_swapped(self, node: NodeName) -> bool:
        """Whether a stranger holds an email that the journal does not call gone."""
        return any(
            (row := self.store.journal.get((node, Email(client.email)))) is not None
            and row.state is not JournalState.GONE
            for client in self.panels[node].foreign().values()
        )

    def _is_bound(self, node: NodeName) -> bool:
        """Whether a stranger could be told from this node's panel."""
        row, panel = self.store.nodes[node], self.panels[node]
        return row.guid is not None or (bool(row.bound) and panel.look().guid is None)

    def _may_write(self, node: NodeName, verb: fx.Verb) -> bool:
        """The worker asks for the mode again before each write."""
        mode = self.store.nodes[node].mode
        removes = verb in (fx.Verb.DELETE, fx.Verb.DETACH, fx.Verb.DROP_INBOUND)
        return mode is Mode.ENFORCE or (mode is Mode.UPSERT_ONLY and not removes)

    def _deliver(self, node: NodeName, when: Fault) -> None:
        """Let writes arrive whose answer nobody waits for any more."""
        if self.in_flight:
            for flying in self._take_due(lambda f: f.node == node and f.fault is when):
                self.panels[node].apply(flying.write)

    def _take_due(self, is_due: Callable[[InFlight], bool]) -> list[InFlight]:
        due = [f for f in self.in_flight if is_due(f)]
        if due:
            self.in_flight = tuple(f for f in self.in_flight if f not in due)
        return due
