"""Two controllers of one node, interleaved: one is held up before any effect, loses its lease, goes on.

A contender does what the worker and the lease do, one effect at a time: nothing is written after its
deadline, every record carries its epoch, a successor removes nothing while a request of the dead one may
arrive. Each rule can be switched off, to show that the oracles would tell. Callers: the tests beside it.
Not here: faults of panels and databases (`explorer`), what must hold (`safety`, `truth`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from controller.core import effects as fx
from controller.core.reconcile import reconcile
from desired_state.model.generation import JournalState
from desired_state.model.ids import Epoch, NodeName
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.store import StoreFailed
from tests.fakes.world import MAX_EFFECTS, TURN_GAP_S, Turn, World
from tests.faults import oracles
from tests.faults.safety import Safety, Violation, no_live_tombstone, one_generation
from tests.faults.truth import check_truth

TTL_S, REMOVES_AFTER_S, UNKNOWN_CREATE_S = 15, 30, 61
TURNS_TO_CONVERGE = 3
TAKES_AWAY = (fx.Verb.DELETE, fx.Verb.DETACH, fx.Verb.DISABLE)
LOST = fx.Outcome(fx.Verdict.NOT_SENT, cause="the lease is over")


@dataclass(frozen=True)
class Rules:
    """What protects a node from a controller that slept. `deadline` F0, `fence` F1, `wait` F3."""

    deadline: bool = True
    fence: bool = True
    wait: bool = True


@dataclass
class Contender:
    """One replica's hold on a node, and the turn that it is in."""

    world: World
    node: NodeName
    rules: Rules
    epoch: Epoch
    removes_from: float
    until: float = float("inf")
    watch: Safety = field(default_factory=Safety)
    turn: Turn = field(default_factory=Turn)
    late_writes: int = 0
    late_records: int = 0
    _steps: fx.Steps[object] | None = None
    _next: fx.Effect[object] | None = None

    @classmethod
    def claims(cls, world: World, rules: Rules, *, over: "Contender | None" = None) -> "Contender":
        """Take the node: from nobody, or from one that is declared dead."""
        node = world.panel.node
        row = world.store.nodes[node]
        if rules.fence:
            row.epoch = Epoch(row.epoch + 1)
            world.store.changes += 1
        now = world.clock.now.timestamp()
        wait = REMOVES_AFTER_S if over is not None and rules.wait else 0
        return cls(world, node, rules, row.epoch, now + wait)

    @property
    def is_over(self) -> bool:
        """Whether its lease has run out."""
        return self.world.clock.now.timestamp() >= self.until

    def sleep_through(self) -> None:
        """Stop here until the lease is over; the world goes on."""
        self.until = self.world.clock.now.timestamp() + TTL_S
        self.world.pass_time(TTL_S)

    def begin(self) -> None:
        """Begin a turn."""
        self.world._deliver(self.node, Fault.DELAYED)
        self.watch.begins(self.world, self.node)
        self.turn = Turn()
        now = self.world.clock.now
        self._steps = reconcile(self.world.store.target(self.node), now, self.world.width)
        self._advance(None)

    @property
    def writes_next(self) -> bool:
        """Whether the effect that comes next is a write to the panel."""
        return isinstance(self._next, fx.Write)

    def step(self, fault: Fault | None = None) -> None:
        """Do the next effect, if the turn has not ended."""
        if self._next is None or self._steps is None:
            return
        if len(self.turn.effects) >= MAX_EFFECTS:
            raise Violation(f"S8: a turn with more than {MAX_EFFECTS} effects")
        self.world.watch = self.watch
        try:
            answer = self._do(self._next, fault)
        except StoreFailed as error:
            self.turn.broke_off = type(error).__name__
            self._next = None
            self._steps.close()
        else:
            self._advance(answer)

    def _advance(self, answer: object) -> None:
        assert self._steps is not None
        try:
            self._next = self._steps.send(answer)
        except StopIteration as stop:
            self._next, self.turn.result = None, stop.value

    def finish(self) -> None:
        """Go on to the end of the turn."""
        while self._next is not None:
            self.step()
        self.world.pass_time(TURN_GAP_S)

    def run(self) -> None:
        """Do a whole turn."""
        self.begin()
        self.finish()

    def _do(self, effect: fx.Effect[object], fault: Fault | None) -> object:
        calls, writes = self.world.panel.calls, self.world.store.writes
        if isinstance(effect, fx.Write) and self._may_not(effect.verb):
            self.turn.effects.append(effect)
            return replace(LOST, ended_at=self.world.clock.now)
        answer = self.world._step(self.turn, self.node, effect, fault)
        if isinstance(effect, fx.ReadDesired):
            answer = replace(answer, epoch=self.epoch, may_remove=self._may_remove(), memo={})  # type: ignore[type-var]
        if self.is_over:
            self.late_writes += self.world.panel.calls - calls
            self.late_records += self.world.store.writes - writes
        return answer

    def _may_not(self, verb: fx.Verb) -> bool:
        over = self.rules.deadline and self.is_over
        return over or (verb in TAKES_AWAY and not self._may_remove())

    def _may_remove(self) -> bool:
        return self.world.clock.now.timestamp() >= self.removes_from


def nobody(world: World) -> None:
    """Nothing happens meanwhile."""


def rotated(world: World) -> None:
    """A person rotates a key."""
    people.rotate(world.store, "b")


def revoked(world: World) -> None:
    """A person revokes a key."""
    people.unwant(world.store, "b")


def sold(world: World) -> None:
    """A person sells a key."""
    people.want(world.store, "z")


def sold_again(world: World) -> None:
    """A person revokes a key and sells it again."""
    people.unwant(world.store, "a")
    people.want(world.store, "a")


Act = Callable[[World], None]
ACTS: tuple[Act, ...] = (nobody, rotated, revoked, sold, sold_again)
"""What people do while the first controller sleeps."""


def effects_of(base: World) -> list[fx.Effect[object]]:
    """List the effects of the turn that would run now."""
    contender = Contender.claims(base.copy(), Rules())
    contender.run()
    return contender.turn.effects


def duel(
    base: World, at: int, act: Act, rules: Rules, *, in_flight: Fault | None = None
) -> tuple[World, Contender]:
    """Hold a turn up before its effect number `at`, let another controller take over, and go on.

    Args:
        base: the world just before the turn.
        at: how many effects are done before it sleeps.
        act: what people do meanwhile.
        rules: what protects the node.
        in_flight: what becomes of its last request, if that was a write: it arrives while the
            successor works.
    """
    world = base.copy()
    first = Contender.claims(world, rules)
    first.begin()
    for number in range(at):
        flies = number == at - 1 and first.writes_next
        first.step(in_flight if flies else None)
    first.sleep_through()
    act(world)
    second = Contender.claims(world, rules, over=first)
    # At once: creates and looks; what takes away has to wait.
    second.run()
    world.pass_time(REMOVES_AFTER_S)
    second.run()
    first.finish()
    settle(world, second)
    return world, first


def settle(world: World, holder: Contender) -> None:
    """Converge within three turns and then write nothing; unknown creates are waited for."""
    if world.in_flight or any(
        row.create_unknown_at is not None and row.state is not JournalState.GONE
        for row in world.store.journal.values()
    ):
        holder.run()
        world.pass_time(UNKNOWN_CREATE_S)
    for _ in range(TURNS_TO_CONVERGE + 1):
        before = world.writes()
        holder.run()
        if world.writes() == before:
            return
    raise Violation(f"L1: still writing after {TURNS_TO_CONVERGE} turns")


def judge(world: World, first: Contender) -> None:
    """Ask the oracles of a settled world."""
    if first.late_records:
        raise Violation(f"S6: {first.late_records} records after the lease was lost")
    if first.late_writes:
        raise Violation(f"S7: {first.late_writes} writes after the lease's deadline")
    one_generation(world.panel)
    no_live_tombstone(world)
    oracles.check_rows(world)
    check_truth(world, world.panel.node)
