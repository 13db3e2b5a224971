"""Executes the effects of a turn, one `match`, and decides nothing.

Callers: `rounds` (turns), the service (dry runs). Before each panel write it asks again whether it may:
the lease, the 20 s, the node's mode and address. Not here: what to do (`controller.core`), HTTP
(`controller.panels`), SQL (`reads`, `records`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from controller.core import effects as fx
from controller.core.chunks import START
from controller.core.desired import Desired
from controller.core.observed import NotObserved, NotSeen, Observation
from controller.core.reconcile import dry_run, reconcile
from controller.core.result import Result
from controller.panels.api.gate import gated
from controller.panels.panel import Panel, PanelPool
from controller.runtime.brake import Brake
from controller.runtime.clock_steps import NoSteps, Waits
from controller.runtime.errors import ClockWasSet, LeaseError
from controller.runtime.keys_here import NOTHING_MORE, Overlay
from controller.runtime.lease import Lease
from controller.runtime.looks import Looks
from controller.runtime.permission import TAKES_AWAY, declared_otherwise
from controller.runtime.reads import Approach, Reader
from controller.runtime.records import Record, Records
from controller.runtime.sampling import Ledger, Sampler
from controller.runtime.summary import cycle_values, log_health, log_turn
from controller.telemetry import events, metrics
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName, Revision
from desired_state.store.clock import Randomness
from desired_state.store.errors import StoreError
from desired_state.store.turnstile import work_begun

log = structlog.get_logger(__name__)

WRITING_S = 20.0
"""A turn starts no write after this: the rest waits behind customers' changes."""
TURN_S = 120.0
"""A turn is over after this, whatever it waits for."""


class Clock(Protocol):
    """Wall clock for what is recorded, monotonic clock for limits."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a turn may take, in seconds of the monotonic clock."""

    writing_s: float = WRITING_S
    turn_s: float = TURN_S


@dataclass(frozen=True, slots=True)
class TurnReport:
    """One turn. `result` None: it broke off, `error` says why; the next turn begins with a look.

    `out_of_time`: there was more to write than its 20 s allowed. `recorded`: status was written.
    `revision`: of desired state before the panel was contacted. `resync_s`: the policy's own period of
    looks; `failover_s`: its time until a failover. `due_at`: when the next subscription ends here.
    `undeclared`: there is no such node.
    """

    node: NodeName
    result: Result | None
    duration_s: float
    out_of_time: bool = False
    recorded: bool = False
    error: str = ""
    revision: Revision = Revision(0)
    resync_s: int | None = None
    failover_s: int | None = None
    due_at: datetime | None = None
    undeclared: bool = False


@dataclass(slots=True)
class _Turn:
    """What changes while a turn runs. `approach`: as it began; `seen`: as last read.

    `steps`: how often the wall clock had been set when it began. `acts`: it may write.
    """

    node: NodeName
    cycle: str
    started_at: datetime
    started_s: float
    approach: Approach
    seen: Approach
    steps: int = 0
    overlay: Overlay = NOTHING_MORE
    acts: bool = False
    out_of_time: bool = False
    recorded: bool = False
    desired: Desired | None = field(default=None, repr=False)
    look: Observation | NotObserved | None = field(default=None, repr=False)
    panel: Panel | None = field(default=None, repr=False)
    ledger: Ledger = field(default_factory=Ledger, repr=False)


class Worker:
    """Runs turns: one at a time for each node, any number of nodes at once.

    Args:
        reader: of the database.
        records: into the database.
        pool: of panels.
        lease: the right to write.
        clock: wall and monotonic.
        randomness: for ids of turns.
        looks: told which nodes were seen well.
        limits: of one turn.
        brake: keeps every write from starting, at the end of a service.

    `sampler` takes what each turn saw last as a sample, if any does. `waits`: whether the clock was set.
    """

    def __init__(  # noqa: PLR0913 - one argument a part
        self,
        reader: Reader,
        records: Records,
        pool: PanelPool,
        lease: Lease,
        *,
        clock: Clock,
        randomness: Randomness,
        looks: Looks,
        limits: Limits | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._reader = reader
        self._records = records
        self._pool = pool
        self._lease = lease
        self._clock = clock
        self._randomness = randomness
        self._limits = limits or Limits()
        self._brake = brake or Brake()
        self.sampler: Sampler | None = None
        self.waits: Waits = NoSteps()
        self._looks = looks
        self._widths: dict[NodeName, int] = {}

    def close(self) -> None:
        """Let go of the database file; panels belong to the pool."""
        self._reader.close()

    async def turn(self, node: NodeName) -> TurnReport:
        """Reconcile one node once."""
        await self._reader.room()
        with self._lease.turn(node), self._reader.folding(node):
            return await self._run(node, self._reconcile)

    async def look(
        self, node: NodeName, overlay: Overlay = NOTHING_MORE, *, anew: bool = False
    ) -> TurnReport:
        """Look at one node and plan; writes nothing but a refusal of the credentials.

        Args:
            node: which one.
            overlay: placements to be taken for stored.
            anew: plan as if the panel that answers had been accepted anew.
        """

        async def steps(turn: _Turn) -> Result:
            turn.overlay = overlay
            return await self._drive(
                turn, dry_run(turn.approach.target, turn.started_at, anew=anew)
            )

        return await self._run(node, steps)

    async def observe(self, node: NodeName) -> Observation | NotObserved:
        """Look at one node; neither plans nor writes, but for a refusal of the credentials.

        Raises:
            ConfigError: it is not declared. StoreError: the database failed.
        """
        approach = await self._reader.approach(node)
        started_s = self._clock.monotonic()
        turn = _Turn(node, "", self._clock.now(), started_s, approach, approach)
        return await self._observe(turn)

    async def survey(self, node: NodeName) -> tuple[Observation | NotObserved, Desired]:
        """Look at one node and read what is wanted there; plans and writes nothing.

        Raises:
            ConfigError: it is not declared.
            StoreError: the database failed.
        """
        look = await self.observe(node)
        return look, await self._reader.desired(node, self._clock.now())

    async def _run(
        self, node: NodeName, work: Callable[["_Turn"], Awaitable[Result]]
    ) -> TurnReport:
        cycle = self._randomness.draw(6).hex()
        started_s = self._clock.monotonic()
        bound = structlog.contextvars.bound_contextvars(node=node, cycle_id=cycle)
        with bound, work_begun(started_s):
            try:
                approach = await self._reader.approach(node)
                if approach.asked:
                    # The panel's session remembers the refusal too.
                    await self._pool.drop(node)
                steps = self.waits.noticed()
                now = self._clock.now()
                turn = _Turn(node, cycle, now, started_s, approach, approach, steps)
                result = await work(turn)
            except (StoreError, LeaseError, ConfigError) as error:
                log.warning(events.CYCLE_BROKEN_OFF, error=type(error).__name__)
                return TurnReport(
                    node, None, self._clock.monotonic() - started_s, error=str(error),
                    undeclared=isinstance(error, ConfigError),
                )  # fmt: skip
            took_s = self._clock.monotonic() - started_s
            report = TurnReport(
                node, result, took_s, turn.out_of_time, turn.recorded,
                revision=approach.revision,
                resync_s=None if turn.desired is None else turn.desired.policy.resync_s,
                failover_s=None if turn.desired is None else turn.desired.policy.failover_after_s,
                due_at=_next_due(turn.desired, self._clock.now()),
            )  # fmt: skip
            log_turn(log, result, report.duration_s)
            return report

    async def _reconcile(self, turn: _Turn) -> Result:
        await self.waits.settle()
        turn.acts = True
        width = self._widths.get(turn.node, START)
        chance = int.from_bytes(self._randomness.draw(4), "big") / 2**32
        steps = reconcile(turn.approach.target, turn.started_at, width, chance)
        result = await self._drive(turn, steps)
        if result.width:
            self._widths[turn.node] = result.width
        await self._sample(turn, result)
        seen = isinstance(turn.look, Observation) and result.trusted
        # What a turn with writes recorded last, no look has confirmed yet.
        at = turn.started_at if result.sent else self._clock.now()
        self._records.release(await self._looks.turn_ended(turn.node, at if seen else None))
        if turn.recorded or result.sent:
            values = cycle_values(result, turn.cycle, turn.started_at, self._clock.now())
            await self._records.record_cycle(values, result.sent)
        return result

    async def _sample(self, turn: _Turn, result: Result) -> None:
        if self.sampler is None or turn.desired is None or not result.trusted:
            return
        if not isinstance(turn.look, Observation):
            return
        look, now_s = turn.look, self._clock.monotonic()
        weights = turn.desired.policy.load
        if turn.panel is not None and self.sampler.wants_host(look, weights, now_s):
            look = replace(look, host=await turn.panel.ask_host())
        sight = turn.ledger.sight(turn.desired.journal, look)
        await self.sampler.sample(sight, now_s, turn.cycle)

    async def _drive(self, turn: _Turn, steps: fx.Steps[Result]) -> Result:
        """Feed a generator with what its effects bring, until it returns."""
        answer: object = None
        try:
            while True:
                effect = steps.send(answer)
                answer = await self._execute(turn, effect)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()

    async def _execute(self, turn: _Turn, effect: fx.Effect[Any]) -> object:
        if self.waits.noticed() != turn.steps:
            # Whatever it decided stands on a moment that is not now: as after a crash, begin with a look.
            raise ClockWasSet
        match effect:
            case fx.Observe():
                return await self._observe(turn)
            case fx.Write():
                return await self._write(turn, effect)
            case fx.ReadDesired():
                now = self._clock.now()
                turn.desired = await self._reader.desired(
                    effect.node, now, turn.overlay, acts=turn.acts
                )
                return turn.desired
            case fx.ReadGenerations():
                return await self._reader.generations(effect.keys)
            case fx.ReadSeeds():
                return await self._reader.seeds(effect.wanted)
            case _ if isinstance(effect, Record):
                return await self._record(turn, effect)
            case _:
                message = f"an effect that nobody executes: {type(effect).__name__}"
                raise NotImplementedError(message)

    async def _record(self, turn: _Turn, effect: Record) -> bool | None:
        turn.recorded = True
        answer = await self._records.record(effect, self._clock.now(), turn.cycle)
        turn.ledger.note(effect)
        log_health(log, effect)
        return answer

    # -- the panel ---------------------------------------------------------------------------------

    async def _observe(self, turn: _Turn) -> Observation | NotObserved:
        look = turn.look = await self._look(turn)
        if isinstance(look, NotObserved):
            # The pause begins when the try is over, however long it took.
            watched_s = self._looks.missed(turn.node) if turn.acts else 0.0
            return replace(look, at=self._clock.now(), watched_s=watched_s)
        return look

    async def _look(self, turn: _Turn) -> Observation | NotObserved:
        approach = turn.approach
        if approach.fault is not None:
            return NotObserved(turn.node, NotSeen.NOT_CONFIGURED, approach.fault)
        if approach.refused:
            message = "the panel refused these credentials; correct them, or see nodes resume"
            return NotObserved(turn.node, NotSeen.CREDENTIALS_REFUSED, message)
        careful = approach.failing and turn.panel is None
        panel = turn.panel = await self._pool.panel(approach.target)
        try:
            async with self._until_over(turn):
                look = await panel.observe(careful=careful)
        except TimeoutError:
            message = f"the turn ended after {self._limits.turn_s:.0f} s, during a look"
            return NotObserved(turn.node, NotSeen.TIMEOUT, message)
        if isinstance(look, NotObserved) and look.reason is NotSeen.CREDENTIALS_REFUSED:
            fingerprint = approach.target.fingerprint
            await self._records.remember_refusal(turn.node, fingerprint, self._clock.now())
        return look

    async def _write(self, turn: _Turn, write: fx.Write) -> fx.Outcome:
        asked_s = self._clock.monotonic()
        cause = await self._forbids(turn, write.verb)
        metrics.RATE_LIMITER_TIME.observe(self._clock.monotonic() - asked_s)
        if cause or turn.panel is None:
            cause = cause or "nothing was looked at"
            log.info(events.WRITE_WITHHELD, verb=write.verb.value, cause=cause)
            return fx.Outcome(fx.Verdict.NOT_SENT, cause, ended_at=self._clock.now())
        try:
            with gated(lambda: self._has_no_right(turn.node, write.verb)):
                async with self._until_over(turn):
                    return await turn.panel.act(write)
        except TimeoutError:
            cause = f"the turn ended after {self._limits.turn_s:.0f} s, during the call"
            return fx.Outcome(fx.Verdict.UNKNOWN, cause, ended_at=self._clock.now())

    async def _forbids(self, turn: _Turn, verb: fx.Verb) -> str:
        """Say why a write may not start now; empty when it may."""
        approach = await self._reader.approach_since(turn.seen)
        turn.seen = approach
        # Last, after every wait: from here to the request nothing comes between.
        if cause := self._has_no_right(turn.node, verb):
            return cause
        if self._clock.monotonic() - turn.started_s >= self._limits.writing_s:
            turn.out_of_time = True
            return "the turn is over"
        return declared_otherwise(approach, turn.approach, verb)

    def _has_no_right(self, node: NodeName, verb: fx.Verb) -> str:
        """Say why nothing may be sent at this moment; asked again when all else is ready."""
        if cause := self._brake.cause():
            return cause
        if not self._lease.may_write(node):
            return "the lease is over"
        if verb in TAKES_AWAY and not self._lease.may_remove(node):
            return "requests of a replica that died may still be on their way"
        return ""

    @asynccontextmanager
    async def _until_over(self, turn: _Turn) -> AsyncIterator[None]:
        left = self._limits.turn_s - (self._clock.monotonic() - turn.started_s)
        async with asyncio.timeout(max(0.0, left)):
            yield


def _next_due(desired: Desired | None, now: datetime) -> datetime | None:
    """When the next subscription ends that a key of this node lives by."""
    if desired is None:
        return None
    ends = (key.subscription.valid_until for key in desired.keys if key.placed)
    return min((end for end in ends if end is not None and end > now), default=None)
