"""Composition root: builds store, panels and runtime; every part replaceable by a fake.

`open_controller` is the one way to a controller; it takes no lock. Callers: cli. Not here: rules, SQL,
HTTP, what a report looks like.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from sqlalchemy import select

from controller.core.observed import NotObserved, Observation
from controller.core.result import Result
from controller.jobs.place import (
    PlacementSummary,
    compute_placements,
    place,
    summarise,
    tell_of_nodes,
)
from controller.jobs.write_off import write_off
from controller.panels.api.budget import RetryBudget
from controller.panels.api.channel import Observer
from controller.panels.api.clock import Clock, SystemClock
from controller.panels.panel import PanelPool
from controller.runtime.brake import Brake
from controller.runtime.clock_steps import ClockSteps
from controller.runtime.errors import HolderKind
from controller.runtime.exporting import Exports
from controller.runtime.inventory import Inventories
from controller.runtime.keys_here import Overlay
from controller.runtime.lease import Lease, SoleLease
from controller.runtime.leases import ReplicaLease, Terms
from controller.runtime.looks import Looks
from controller.runtime.reads import Reader
from controller.runtime.rebuilding import preview_document
from controller.runtime.records import Records
from controller.runtime.report import FleetReport, NodeProgress, NodeReport, Stage, add_up
from controller.runtime.requests import answer_one, answer_run
from controller.runtime.rounds import AT_ONCE, Rounds
from controller.runtime.sampling import Sampler
from controller.runtime.single import hold_lock
from controller.runtime.versions import StatusVersions
from controller.runtime.worker import Limits, TurnReport, Worker
from controller.settings import ControllerSettings
from controller.telemetry import events, metrics
from controller.telemetry.observers import RetryMeter, StoreMeter, show_unschedulable
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName
from desired_state.store.engine import Store, open_store
from desired_state.store.tables.desired import NodeRow
from desired_state.store.version import check_version

log = structlog.get_logger(__name__)

COLLECT_AFTER = (50_000, 20, 20)
"""Allocations, and collections of each younger age, before a collection of cycles."""

OnEvent = Callable[[NodeProgress], None]


@dataclass(slots=True)
class Controller:
    """Runs over the fleet, once at a time. Made by `open_controller`.

    `store` is the open database, for whoever runs commands and queries in the same process.
    """

    store: Store
    worker: Worker = field(repr=False)
    records: Records = field(repr=False)
    versions: StatusVersions = field(repr=False)
    lease: Lease = field(repr=False)
    clock: Clock = field(repr=False)
    pool: PanelPool = field(repr=False)
    brake: Brake = field(repr=False)
    steps: ClockSteps = field(repr=False)
    exports: Exports = field(repr=False)
    looks: Looks = field(repr=False)

    async def place(self) -> PlacementSummary:
        """Decide where keys live, and store it; what `reconcile` begins with."""
        # Before time decides who is out of reach for too long.
        await self.steps.settle()
        freed = await self._write_off()
        summary = await place(self.store, self.clock.now(), self.lease, self.looks)
        await self.looks.ask(summary.looks)
        if freed:
            nodes = tuple(sorted({*summary.nodes, *freed}))
            summary = replace(summary, nodes=nodes)
        if summary.changed:
            self.versions.bump_all()
            log.info(
                events.PLACEMENT_MADE,
                added=len(summary.added),
                ended=len(summary.ended),
                removed=summary.removed,
            )
        tell_of_nodes(summary)
        show_unschedulable(summary.unschedulable)
        if summary.unschedulable:
            reasons = sorted({key.reason for key in summary.unschedulable})
            log.warning(
                events.KEY_UNSCHEDULABLE, keys=len(summary.unschedulable), reason="; ".join(reasons)
            )
        return summary

    async def _write_off(self) -> frozenset[NodeName]:
        """End what forgotten nodes owe; returns nodes on which keys waited for that."""
        done = await write_off(self.store, self.clock.now(), self.lease)
        for one in done:
            log.warning(events.DEBTS_WRITTEN_OFF, node=one.node, clients=one.clients, keys=one.keys)
        if done:
            self.versions.bump_all()
        return frozenset(node for one in done for node in one.freed)

    async def plan(
        self, nodes: Sequence[NodeName] = (), *, on_event: OnEvent | None = None
    ) -> FleetReport:
        """Tell what `reconcile` would do, placements included, and write nothing anywhere.

        Args:
            nodes: which ones; none means every node.
            on_event: told of each step.

        Raises:
            ConfigError: one of them is not declared.
        """
        started_s = self.clock.monotonic()
        names = await self._names(nodes)
        async with self.store.reading() as session:
            decision = await compute_placements(session, self.clock.now())
        overlay = Overlay(decision.result.added, decision.result.ended)
        turns = await self._look(names, overlay, on_event)
        return self._report(
            tuple(NodeReport(turn.node).plus(turn) for turn in turns),
            summarise(decision),
            rounds=1,
            started_s=started_s,
        )

    async def reconcile(
        self,
        nodes: Sequence[NodeName] = (),
        *,
        on_event: OnEvent | None = None,
        wait: bool = False,
    ) -> FleetReport:
        """Make nodes as they should be, in rounds, as the only controller of this database.

        Args:
            nodes: which ones; none means every node. Keys are placed over the whole fleet.
            on_event: told of each step.
            wait: for another one-shot run to end, instead of being refused.

        Raises:
            AlreadyRunning: another controller is at work; names it.
            ConfigError: one of them is not declared.
            StoreError: keys could not be placed.
        """
        started_s = self.clock.monotonic()
        async with self.authority(HolderKind.ONE_SHOT, wait=wait):
            return await self._reconcile(await self._names(nodes), on_event, started_s)

    @asynccontextmanager
    async def authority(self, kind: HolderKind, *, wait: bool = False) -> AsyncIterator[None]:
        """Hold the right to write for the length of the block: the one lock, or a replica's leases.

        Args:
            kind: what this process tells others that it is.
            wait: for another one-shot run to end, instead of being refused.

        Raises:
            AlreadyRunning: another controller is at work; names it.
            StoreError: nothing was taken.
        """
        lease = self.lease
        if not isinstance(lease, SoleLease):
            # Replicas join one by one, as the lease's own part runs.
            try:
                yield
            finally:
                await lease.release_all()
            return
        async with hold_lock(self.store, kind, wait=wait):
            # What another controller wrote before this one began.
            self.versions.bump_all()
            await lease.take(self.store, kind)
            try:
                yield
            finally:
                await lease.release_all()

    async def unplaced(self) -> PlacementSummary:
        """Tell which keys have no place now, and which moves are refused; stores nothing."""
        async with self.store.reading() as session:
            return summarise(await compute_placements(session, self.clock.now()))

    async def probe(self, node: NodeName) -> Result:
        """Look at one node now and plan for it; writes nothing.

        Raises:
            ConfigError: it is not declared.
            StoreError: the database failed.
        """
        turn = await self.worker.look(node)
        if turn.result is None:
            raise ConfigError(turn.error)
        return turn.result

    async def take_inventory(self, node: NodeName) -> dict[str, Any]:
        """Keep what a panel holds, so that it can be adopted, as the only controller of this database.

        Returns:
            What a request for it would be answered.

        Raises:
            AlreadyRunning: another controller is at work; names it: ask that one.
            ConfigError: the node is not declared.
            StoreError: nothing was kept.
        """
        await self._names((node,))
        async with self.authority(HolderKind.ONE_SHOT):
            return await Inventories(self.store, self.worker, self.clock).take(node)

    async def preview(self, node: NodeName, token: str) -> None:
        """Look at a node as the only controller, and answer the request for a preview of its rebuild.

        Raises:
            AlreadyRunning: another controller is at work; it answers.
            StoreError: nothing was answered.
        """
        async with self.authority(HolderKind.ONE_SHOT):
            document = preview_document(await self.worker.look(node, anew=True))
            await answer_one(self.store, self.clock.now(), token, document)

    async def look(self, node: NodeName) -> Observation | NotObserved:
        """Look at one node's panel now and give what it holds; plans and writes nothing.

        Raises:
            ConfigError: it is not declared.
            StoreError: the database failed.
        """
        return await self.worker.observe(node)

    async def _reconcile(
        self, names: tuple[NodeName, ...], on_event: OnEvent | None, started_s: float
    ) -> FleetReport:
        passes: list[PlacementSummary] = []

        async def place_again() -> PlacementSummary:
            passes.append(await self.place())
            if on_event is not None:
                on_event(NodeProgress(Stage.PLACED, rounds.number, total=len(passes[-1].added)))
            return passes[-1]

        rounds = Rounds(self.worker, self.records, place_again, on_event)
        reports = await rounds.run(names)
        await answer_run(self.store, self.clock.now(), reports)
        summary = PlacementSummary(
            added=tuple(p for one in passes for p in one.added),
            ended=tuple(p for one in passes for p in one.ended),
            unschedulable=passes[-1].unschedulable,
            refused_moves=passes[-1].refused_moves,
        )
        return self._report(reports, summary, rounds=rounds.number, started_s=started_s)

    async def _look(
        self, names: tuple[NodeName, ...], overlay: Overlay, on_event: OnEvent | None
    ) -> list[TurnReport]:
        at_once = asyncio.Semaphore(AT_ONCE)
        done = 0

        async def one(node: NodeName) -> TurnReport:
            nonlocal done
            async with at_once:
                turn = await self.worker.look(node, overlay)
            done += 1
            if on_event is not None:
                on_event(NodeProgress(Stage.FINISHED, 1, node, done, len(names), turn))
            return turn

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(node)) for node in names]
        return [task.result() for task in tasks]

    async def _names(self, nodes: Sequence[NodeName]) -> tuple[NodeName, ...]:
        async with self.store.reading() as session:
            found = await session.scalars(select(NodeRow.name).order_by(NodeRow.name))
            declared = [NodeName(name) for name in found]
        unknown = [node for node in nodes if node not in declared]
        if unknown:
            raise ConfigError(
                f"no node {', '.join(unknown)} is declared", hint="x3fleet nodes list shows them"
            )
        return tuple(node for node in declared if node in nodes or not nodes)

    def _report(
        self,
        nodes: tuple[NodeReport, ...],
        summary: PlacementSummary,
        *,
        rounds: int,
        started_s: float,
    ) -> FleetReport:
        return FleetReport(
            nodes=nodes,
            rounds=rounds,
            placed=summary.added,
            ended=summary.ended,
            unschedulable=summary.unschedulable,
            refused_moves=summary.refused_moves,
            duration_s=self.clock.monotonic() - started_s,
            totals=add_up(nodes),
        )


@asynccontextmanager
async def open_controller(
    settings: ControllerSettings,
    *,
    clock: Clock | None = None,
    observer: Observer | None = None,
    kind: HolderKind = HolderKind.ONE_SHOT,
) -> AsyncIterator[Controller]:
    """Open the database and build a controller over it; closes everything at the end.

    Args:
        settings: the database and limits.
        clock: wall and monotonic time for everything, panels and database included.
        observer: told of every exchange with a panel.
        kind: one that stays shares a PostgreSQL database with other replicas.

    Raises:
        ConfigError: no usable encryption key.
        StoreOutdated: the database is to be migrated first.
        StoreNewer: it is of a newer release.
    """
    time = clock or SystemClock()
    # A look at a large panel makes a hundred thousand small values that form no cycles: looking for
    # some among them as often as Python does by default costs a quarter of a turn.
    gc.set_threshold(*COLLECT_AFTER)
    async with open_store(settings.store, clock=time, watcher=StoreMeter()) as store:
        await check_version(store)
        pool = PanelPool(clock=time, observer=observer, budget=RetryBudget(RetryMeter()))
        lease: Lease = SoleLease()
        if kind is HolderKind.DAEMON and not store.is_sqlite:
            terms = settings.service.replicas
            lease = ReplicaLease(store, Terms(terms.ttl_s, terms.renew_s))
        controller = build_controller(store, pool, time, settings, lease)
        try:
            yield controller
        finally:
            controller.worker.close()
            await pool.close()


def build_controller(
    store: Store,
    pool: PanelPool,
    clock: Clock,
    settings: ControllerSettings,
    lease: Lease | None = None,
) -> Controller:
    """Put a controller together from open parts."""
    versions, brake = StatusVersions(), Brake(metrics.EVENT_LOOP_LAG.observe)
    lease = lease or SoleLease()
    records = Records(store, versions, lease)
    looks = Looks(lease, clock, store)
    reader = Reader(store, versions, lease, looks)
    worker = Worker(
        reader,
        records,
        pool,
        lease,
        clock=clock,
        randomness=store.randomness,
        looks=looks,
        limits=Limits(settings.turns.writing_s, settings.turns.turn_s),
        brake=brake,
    )
    worker.sampler = Sampler(
        store, versions, lease, clock, every_s=settings.turns.sample_s, wake=records.release
    )
    worker.waits = steps = ClockSteps(store, versions, lease, clock)
    exports = Exports(reader, records, pool, clock)
    return Controller(
        store, worker, records, versions, lease, clock, pool, brake, steps, exports, looks
    )
