"""Every fault at every effect, alone and in pairs: runs plans of faults and asks four oracles.

A plan maps the number of an effect to a fault. The second fault of a pair is chosen from what the run
with the first one really does, so that every effect that a fault causes is hit too. Callers: the tests
beside it, mutants. Not here: scenarios, what must hold.

Plans that no controller can survive are left out by a rule with a name, counted in the report.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

from controller.core import effects as fx
from controller.core.backoff import probation_s
from controller.core.declared import RETRY_AFTER
from controller.core.features import Version, features_of
from desired_state.model.generation import JournalState
from desired_state.model.policy import Policy
from tests.fakes.faults import UNDONE, UNTRUE_LISTS, Fault
from tests.fakes.panel import FakePanel
from tests.fakes.store import StoreFailed
from tests.fakes.world import Turn, World
from tests.faults import oracles
from tests.faults.safety import Safety, Violation, no_live_tombstone, one_generation
from tests.faults.scenarios import Scenario
from tests.faults.stage import Scene, Stage

Plan = Mapping[int, Fault]
ROUNDS_TO_CONVERGE = 3
ROUNDS_OF_A_DEBT = 6
"""After these a refused delete has climbed the whole ladder, whatever came between."""
UNKNOWN_CREATE_S = 61
TWICE = "a create is delivered twice to a version that stores it twice"
UNTRUE_ANSWERS = UNTRUE_LISTS | {Fault.STRANGER}
OLD_BINDING = "a person's request was answered from an untrue list, and nothing in it shows"
SWAPPED = "a stranger took over the email of a client that the untrue list still shows as ours"
HIDDEN_TWICE = "two untrue lists hid an adopted client from a version that stores it twice"
HIDDEN_INBOUND = "two untrue lists hid an inbound that leaves, and its record was struck out"
LIE_AND_STALE = "a panel lies about a delete and the look that verifies it is not true"
TIRED = "as many tries to heal a client failed as there may be in an hour: it is left alone"

NO_FAULT: Plan = MappingProxyType({})
"""Not even one that belongs to the story."""
THIRDS = 10
"""Faults that are drawn for each sampled pair."""


def _with_another(rng: Random, plan: Plan, options: list[tuple[Fault, ...]]) -> Plan:
    """Add a fault at a later effect; the plan itself where there is none."""
    later = range(max(plan) + 1, len(options))
    if not later:
        return plan
    at = rng.choice(later)
    return {**plan, at: rng.choice(options[at])}


@dataclass
class Report:
    """What was tried and what broke. `violations`: scenario, version, plan, message."""

    plans: int = 0
    effects: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, Version, dict[int, str], str]] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Report") -> None:
        """Add another report to this one."""
        self.plans += other.plans
        self.effects += other.effects
        self.excluded += other.excluded
        self.violations += other.violations
        self.broken += other.broken


@dataclass(frozen=True)
class Clean:
    """The run without faults that others are compared with."""

    facts: oracles.Facts
    counts: oracles.Counts


@dataclass
class Run:
    """The turns of one plan, for choosing the next fault: flat lists over all of them.

    `wrote`: how often they wrote, on panels and in the database.
    """

    turns: list[Turn] = field(default_factory=list)
    wrote: int = 0

    @property
    def effects(self) -> list[fx.Effect[object]]:
        return [effect for turn in self.turns for effect in turn.effects]

    @property
    def options(self) -> list[tuple[Fault, ...]]:
        return [options for turn in self.turns for options in turn.options]


class Explorer:
    """Tries plans on one scenario and one version.

    `keeps`: False plays every plan from its beginning to its end, however often that was seen.
    """

    def __init__(self, scenario: Scenario, version: Version, *, keeps: bool = True) -> None:
        self.scenario = scenario
        self.version = version
        self.stage = Stage(keeps=keeps)
        base = scenario.build(version)
        base.watch = Safety()
        # Every first turn reads this, at this very moment: read once for all of them.
        base.store.read_desired(fx.ReadDesired(base.panel.node), base.clock.now)
        self.base = self.stage.enter(base)
        self.report = Report()
        self._verdicts: dict[tuple[Hashable, int], str] = {}
        end = self._settle(self._play(self.base, {}, scenario.rounds, Run())).world
        self.clean = Clean(oracles.facts(end), oracles.counts(end))

    # -- choosing plans ----------------------------------------------------------------------------

    def singles(self) -> Iterator[Plan]:
        """Every fault at every effect of the run without faults."""
        for at, faults in enumerate(self._options({}, 0)):
            for fault in faults:
                yield {at: fault}

    def pairs(self) -> Iterator[Plan]:
        """Every pair: the second fault at any later effect, to the end of the turn after the first."""
        for first in self.singles():
            at = max(first)
            for later, faults in enumerate(self._options(first, 1)):
                if later > at:
                    for fault in faults:
                        # A crash after a read changes nothing that the end of the turn would not.
                        yield {**first, later: fault}

    def triples(self, rng: Random, sample: int) -> Iterator[Plan]:
        """Draw that many triples: each fault at an effect that the ones before it led to.

        Finding out what a pair leads to costs more than trying a plan: each pair that is drawn is used
        for several thirds.
        """
        singles = list(self.singles())
        after: dict[int, list[tuple[Fault, ...]]] = {}
        drawn = 0
        while drawn < sample:
            number = rng.randrange(len(singles))
            if number not in after:
                after[number] = self._options(singles[number], 1)
            pair = _with_another(rng, singles[number], after[number])
            options = self._options(pair, 1)
            for _ in range(min(THIRDS, sample - drawn)):
                yield _with_another(rng, pair, options)
                drawn += 1

    def menu(self) -> Iterator[tuple[str, tuple[Fault, ...]]]:
        """Name each effect of the run without faults, with the faults that it could meet."""
        run = Run()
        self._play(self._recording(), {}, self.scenario.rounds, run)
        for effect, options in zip(run.effects, run.options, strict=True):
            write = isinstance(effect, fx.Write)
            yield f"Write {effect.verb}" if write else type(effect).__name__, options

    def _options(self, plan: Plan, extra_rounds: int) -> list[tuple[Fault, ...]]:
        """List what could go wrong at each effect of a run under a plan."""
        run = Run()
        try:
            self._play(self._recording(), plan, self.scenario.rounds + extra_rounds, run)
        except Violation:
            return []  # The plan itself is reported when it is tried.
        return run.options

    def _recording(self) -> Scene:
        world = self.base.world.copy()
        world.recording = True
        return self.stage.enter(world)

    # -- trying them -------------------------------------------------------------------------------

    def explore(self, *, pairs: bool) -> Report:
        """Try no fault, every single one and, if asked, every pair."""
        for plan in ({}, *self.singles()):
            self.attempt(plan)
        if pairs:
            for plan in self.pairs():
                self.attempt(plan)
        return self.report

    def attempt(self, plan: Plan) -> None:
        """Run one plan, let the faults stop, and ask the oracles."""
        self.report.plans += 1
        every = {**dict(self.scenario.base), **plan}
        run = Run()
        try:
            rounds = self.scenario.rounds + (1 if len(plan) > 1 else 0)
            scene = self._play(self.base, plan, rounds, run)
            self._judge(scene, spare(every, scene.world.panel))
        except Violation as violation:
            version = self.base.world.panel.version
            rule = impossible(every, run, self.scenario, version, str(violation))
            if rule is not None:
                self.report.excluded[rule] += 1
                return
            named = {at: fault.name for at, fault in plan.items()}
            self.report.violations.append((self.scenario.name, self.version, named, str(violation)))
            self.report.broken[str(violation).split(":")[0]] += 1
        self.report.effects += len(run.effects)

    def _play(self, scene: Scene, plan: Plan, rounds: int, run: Run) -> Scene:
        """Run rounds under a plan, of whose story are some faults; returns where they led to."""
        faults = () if plan is NO_FAULT else sorted({**dict(self.scenario.base), **plan}.items())
        number = 0
        for _ in range(rounds):
            for name in self.base.world.panels:
                coming = tuple((at - number, fault) for at, fault in faults if at >= number)
                played = self.stage.play(scene, name, coming, run.turns)
                scene, number = played.scene, number + len(played.turn.effects)
                run.wrote += played.wrote
            scene = self._attend(scene)
        return scene

    def _attend(self, scene: Scene) -> Scene:
        """Let a person do what they do after each round."""
        if self.scenario.attend is None:
            return scene
        world = scene.world.copy()
        self.scenario.attend(world)
        return self.stage.enter(world)

    def _judge(self, scene: Scene, spare: int) -> None:
        """Let a world settle and ask the oracles; what they said of the very same one, they say again."""
        asked = scene.state, spare
        if asked not in self._verdicts or not self.stage.keeps:
            try:
                self._ask(self._settle(scene).world, spare)
            except Violation as violation:
                self._verdicts[asked] = str(violation)
            else:
                self._verdicts[asked] = ""
        if self._verdicts[asked]:
            raise Violation(self._verdicts[asked])

    def _settle(self, scene: Scene) -> Scene:
        """Let the faults stop: three rounds converge, and the next one writes nothing.

        Where a create may still be on its way, they are counted from the end of its 60 s.
        """
        if scene.world.in_flight or _may_arrive(scene.world):
            scene = self._play(scene, {}, 1, Run())
            scene = self.stage.wait(scene, UNKNOWN_CREATE_S)
        if any(row.tried_at is not None for row in scene.world.store.managed.values()):
            scene = self.stage.wait(scene, RETRY_AFTER.total_seconds())
        if not self.scenario.settles:
            return self._play(scene, {}, ROUNDS_OF_A_DEBT, Run())
        for _ in range(ROUNDS_TO_CONVERGE + 1):
            run = Run()
            scene = self._play(scene, NO_FAULT, 1, run)
            if run.wrote == 0:
                return self._recover(scene)
        raise Violation(f"L1: still writing after {ROUNDS_TO_CONVERGE} rounds without faults")

    def _recover(self, scene: Scene) -> Scene:
        """Let nodes that fell more than once answer for as long as they have to, to count as recovered."""
        for name in scene.world.panels:
            backoff = scene.world.store.nodes[name].status.backoff
            if backoff.flaps and backoff.connected_at is not None:
                scene = self.stage.wait(scene, probation_s(backoff.flaps))
                scene = self.stage.play(scene, name, (), []).scene
        return scene

    def _ask(self, world: World, spare: int) -> None:
        for panel in world.panels.values():
            one_generation(panel)
        oracles.check_end(world, self.clean.facts, may_never_be=self.scenario.may_never_be)
        oracles.check_rows(world)
        oracles.check_served(world)
        no_live_tombstone(world)
        oracles.check_counts(world, self.clean.counts, spare)


def _may_arrive(world: World) -> bool:
    if any(row.sent_at is not None for row in world.store.managed.values()):
        return True
    return any(
        row.create_unknown_at is not None and row.state is not JournalState.GONE
        for row in world.store.journal.values()
    )


# -- rules with a name -----------------------------------------------------------------------------


def impossible(
    plan: Plan, run: Run, scenario: Scenario, version: Version, broken: str
) -> str | None:
    """Name the rule by which no controller can survive a plan; None for all others."""
    beside = {fault for at, fault in plan.items() if dict(scenario.base).get(at) is not fault}
    # Bound to an old list, and anew by the next look where the answer was not stored: created once more.
    shown_by = ("L1", "D1", "D2") if len(plan) > 2 else ("L1",)
    if scenario.asks_once and broken.startswith(shown_by) and beside & UNTRUE_ANSWERS:
        return OLD_BINDING
    if broken.startswith("L1: clients differ") and scenario.name.startswith("adopted"):
        # It is cleared away and put back as a client of ours: see `spare`.
        lies = sum(fault in UNTRUE_LISTS for fault in plan.values())
        if lies > 1 and features_of(version).readd_doubles:
            return HIDDEN_TWICE
    if broken.startswith("L1: clients differ") and any(e in broken for e in _tried_out(run)):
        return TIRED
    is_left = scenario.name.startswith("inbound leaves")
    if is_left and broken.startswith("L1: inbounds differ: extra"):
        # Two looks in a row tell that it is gone; whoever believes no two believes none.
        lies = sum(fault in UNTRUE_LISTS for fault in plan.values())
        return HIDDEN_INBOUND if lies > 1 else None
    if scenario.swapped and broken.startswith("S1") and UNTRUE_LISTS & set(plan.values()):
        return SWAPPED
    for at, effect in enumerate(run.effects):
        if not isinstance(effect, fx.Write):
            continue
        if plan.get(at) is Fault.TWICE and _doubles(effect, version):
            return TWICE
        if effect.verb is fx.Verb.DELETE:
            verifying = _next_look(run.effects, at)
            if plan.get(at) in UNDONE and plan.get(verifying) in UNTRUE_LISTS:
                # Nothing that can be seen tells this from a delete that worked.
                return LIE_AND_STALE
    return None


def _tried_out(run: Run) -> set[str]:
    """Name clients that no turn heals any more for the rest of the hour (`guards.fighting`)."""
    tried: Counter[str] = Counter()
    for turn in run.turns:
        stored = turn.effects[:-1] if turn.broke_off == StoreFailed.__name__ else turn.effects
        for effect in stored:
            tried.update(effect.tried if isinstance(effect, fx.RecordRows) else ())
    return {email for email, times in tried.items() if times >= Policy().heals_per_hour}


def _next_look(effects: list[fx.Effect[object]], at: int) -> int:
    """Find the look that follows an effect; -1 where there is none."""
    later = range(at + 1, len(effects))
    return next((i for i in later if isinstance(effects[i], fx.Observe)), -1)


def _doubles(write: fx.Write, version: Version) -> bool:
    return write.verb is fx.Verb.CREATE and features_of(version).readd_doubles


def spare(plan: Plan, panel: FakePanel) -> int:
    """Tell how many creates and deletes more than a clean run a plan excuses, for each email.

    One, where two lists hid a live client from a version that stores it twice when it is created again:
    the way is cleared for it first, and it is put back.
    """
    lies = sum(fault in UNTRUE_LISTS for fault in plan.values())
    return int(panel.features.readd_doubles and lies > 1)
