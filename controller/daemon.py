"""The controller that stays: queues, crews, ticks, wake-ups and endpoints around one `Controller`.

Level-triggered from end to end: commands, ticks and other replicas put names into a queue, a turn
compares everything. Callers: cli roles. Not here: turns (`runtime.worker`), rules, one-shot runs
(`service`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy import select

from controller.core.backoff import Backoff
from controller.jobs.failover import given_up
from controller.jobs.place import PlacementSummary
from controller.runtime.crew import Crew
from controller.runtime.errors import HolderKind
from controller.runtime.folding import Folding
from controller.runtime.inventory import Inventories
from controller.runtime.jobs_loop import Jobs
from controller.runtime.memory import give_back, share_heaps
from controller.runtime.probing import Probing
from controller.runtime.queue import Priority, WorkQueue
from controller.runtime.requests import Requests
from controller.runtime.rhythm import Rhythm
from controller.runtime.rounds import AT_ONCE
from controller.runtime.schedule import Job, Schedule
from controller.runtime.supervisor import STOP_S, Supervisor
from controller.runtime.tables import NODE_STATUS, REVISION
from controller.runtime.turns import Hooks, Parts, Turns
from controller.runtime.wakeups import Wakeups, Woken
from controller.runtime.worker import TurnReport
from controller.service import Controller
from controller.telemetry import events, metrics
from controller.telemetry.labels import Controller as Label
from controller.telemetry.labels import ReconcileResult
from controller.telemetry.marks import NodeMarks, count_turn
from controller.telemetry.observers import QueueMeter
from desired_state.model.ids import NodeName, Revision
from desired_state.model.request import RequestKind
from desired_state.store.errors import StoreError
from desired_state.store.tables.desired import NodeRow

log = structlog.get_logger(__name__)

FOLD_S = 0.2
"""A change of a node that comes alone is looked at at once; what follows within this is one more look."""
SWEEP_S = 60.0
"""How often nodes are counted: whoever is declared is in the queue."""
JOB_WORKERS = 2
LOST_S = 1.0
"""How often it is asked which nodes are given up: a failover of 15 s has no minute to lose."""
PLACE, SWEEP = "place", "resync"
PASS_SHARE = 5.0
"""Passes that turns ask for leave at least so many times their own duration to other work."""


@dataclass(frozen=True, slots=True)
class Extra:
    """A long-running part that somebody adds: endpoints, manifest sync, a sender."""

    name: str
    run: Callable[[], Awaitable[None]] = field(repr=False)


class Daemon:
    """One service over one controller. `run` once; made inside the event loop.

    Args:
        controller: opened, and held by nobody else.
        rhythm: periods of looks.

    `jobs` and `extras` may be added to until it runs, and `asked`: jobs to run when somebody asked for
    something.
    """

    def __init__(self, controller: Controller, rhythm: Rhythm | None = None) -> None:
        self.controller = controller
        self.extras: list[Extra] = []
        self.asked: list[str] = []
        self.marks = NodeMarks(controller.clock.now)
        self.meters = {label: QueueMeter(label) for label in Label}
        self.nodes: WorkQueue[NodeName] = WorkQueue("node", self.meters[Label.NODE])
        self._job_queue: WorkQueue[str] = WorkQueue("job", self.meters[Label.JOB])
        probing = Probing(controller.worker, controller.pool, controller.clock)
        inventories = Inventories(controller.store, controller.worker, controller.clock)
        looks = {
            RequestKind.PROBE: probing.probe,
            RequestKind.TEST: probing.test,
            RequestKind.INVENTORY: inventories.take,
            RequestKind.PREVIEW: probing.preview,
        }
        self._requests = Requests(controller.store, controller.clock, looks)
        parts = Parts(
            queue=self.nodes,
            worker=controller.worker,
            records=controller.records,
            pool=controller.pool,
            lease=controller.lease,
            requests=self._requests,
            clock=controller.clock,
            randomness=controller.store.randomness,
            rhythm=rhythm or Rhythm(),
        )
        hooks = Hooks(
            place=self._place_soon,
            health=self._place_anew,
            ended=self._count,
            retried=self.meters[Label.NODE].retried,
        )
        self._turns = Turns(parts, hooks)
        self.jobs = [
            Job(PLACE, SWEEP_S, self._place, leads=True),
            Job(SWEEP, SWEEP_S, self._sweep),
        ]
        self._wakeups = Wakeups(controller.store, self._woken)
        self._folding: Folding[str] = Folding(FOLD_S, asyncio.get_running_loop().time)
        self._placed: tuple[int, int] | None = None
        self._settled = True
        self._awaited: frozenset[NodeName] = frozenset()
        self._pass_s = 0.0

    async def run(self, stop: asyncio.Event) -> bool:
        """Work until told to stop; returns whether everything in hand came to its end.

        Raises:
            AlreadyRunning: another controller holds the database; names it.
            StoreError: the database failed before anything was begun.
        """
        share_heaps()
        async with self.controller.authority(HolderKind.DAEMON):
            await self._begin()
            supervisor = self._start()
            try:
                await stop.wait()
            finally:
                clean = await self._end(supervisor)
        return clean

    # -- start and end -----------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Put everything into the queues; whatever is written from here on wakes."""
        await self._wakeups.start()
        # Before a stored back-off is taken up: an earlier process may have had another time.
        await self.controller.steps.settle()
        await self._requests.refresh()
        names = await self._sweep()
        self._job_queue.add(PLACE, priority=Priority.CUSTOMER)
        self._run_asked()
        kind = "sqlite" if self.controller.store.is_sqlite else "postgresql"
        log.info(events.CONTROLLER_STARTED, nodes=names, workers=AT_ONCE, database=kind)

    def _start(self) -> Supervisor:
        supervisor = Supervisor()
        jobs = Jobs(self._job_queue, self.jobs, self.controller.lease, _count_job)
        metrics.MAX_WORKERS.labels(Label.NODE.value).set(AT_ONCE)
        metrics.MAX_WORKERS.labels(Label.JOB.value).set(JOB_WORKERS)
        node_crew = Crew(self.nodes, self._handle, workers=AT_ONCE, panicked=self._node_panicked)
        job_crew = Crew(self._job_queue, jobs.handle, workers=JOB_WORKERS, panicked=jobs.panicked)
        schedule = Schedule(
            jobs.tick,
            missed=lambda _: metrics.SCHEDULER_MISSED.inc(),
            skipped=lambda name: metrics.SCHEDULER_SKIPPED.labels(name).inc(),
        )
        for job in self.jobs:
            metrics.start_job(job.name)
            if job.every_s:
                schedule.every(job.name, job.every_s)
        supervisor.add("loop watch", self.controller.brake.watch)
        supervisor.add("lease", self.controller.lease.run)
        for extra in self.extras:
            supervisor.add(extra.name, extra.run)
        supervisor.add("nodes", node_crew.run, node_crew.drain)
        supervisor.add("jobs", job_crew.run, job_crew.drain)
        supervisor.add("claims", self._follow_claims)
        supervisor.add("failover", self._follow_lost)
        supervisor.add("schedule", schedule.run)
        supervisor.add("wake-ups", self._wakeups.run)
        return supervisor

    async def _end(self, supervisor: Supervisor) -> bool:
        now = asyncio.get_running_loop().time
        started_s = now()
        log.info(events.CONTROLLER_STOPPING, working=len(self.nodes.running()))
        # Turns in hand send nothing more, look once, and record what they proved.
        self.controller.brake.stop()
        clean = await supervisor.stop(STOP_S)
        self._wakeups.close()
        duration_s = round(now() - started_s, 3)
        log.info(events.CONTROLLER_STOPPED, clean=clean, duration_s=duration_s)
        return clean

    # -- what others ask of it ---------------------------------------------------------------------

    async def sample(self) -> None:
        """Measure what only queues know, before metrics are shown."""
        self.meters[Label.NODE].sample(self.nodes)
        self.meters[Label.JOB].sample(self._job_queue)

    async def loop_fault(self) -> str:
        """Say what keeps the loop from writing; empty when nothing does."""
        return self.controller.brake.cause()

    async def database_fault(self) -> str:
        """Read one row.

        Raises:
            StoreError: it cannot be read.
        """
        async with self.controller.store.reading() as session:
            await session.scalar(select(REVISION.c.value))
        return ""

    # -- nodes -------------------------------------------------------------------------------------

    async def _handle(self, node: NodeName) -> None:
        active = metrics.ACTIVE_WORKERS.labels(Label.NODE.value)
        active.inc()
        try:
            await self._turns.handle(node)
        finally:
            active.dec()

    def _node_panicked(self, node: NodeName) -> None:
        metrics.PANICS.labels(Label.NODE.value).inc()
        self._turns.panicked(node)

    def _count(self, turn: TurnReport) -> None:
        if turn.undeclared:
            return
        if turn.node in self._awaited:
            self._place_soon()
        self.marks.turn_ended(turn.node, turn.result, turn.duration_s, timed_out=turn.out_of_time)

    async def _woken(self, woken: Woken) -> None:
        if woken.requests:
            await self._requests.refresh()
        for node in woken.nodes:
            self.nodes.add(node, priority=Priority.CUSTOMER, after_s=self._folding.wait_s(node))
        for node in woken.asked:
            if not self._requests.waits_for_place(node):
                self.nodes.add(node, priority=Priority.ASKED)
        if woken.scheduler:
            after_s = self._folding.wait_s(PLACE)
            self._job_queue.add(PLACE, priority=Priority.CUSTOMER, after_s=after_s)
        if woken.requests:
            self._run_asked()
            self._place_for_requests()

    def _run_asked(self) -> None:
        for name in self.asked:
            self._job_queue.add(name, priority=Priority.ASKED)

    async def _follow_claims(self) -> None:
        """Look at nodes that were claimed, or that another replica made work for."""
        lease = self.controller.lease
        while True:
            await lease.changed.wait()
            lease.changed.clear()
            for node in lease.take_woken():
                self.nodes.add(node, priority=Priority.CUSTOMER)
            try:
                await self._sweep()
                await self._requests.refresh()
            except StoreError:
                # What was claimed is still to be taken up, at the next try.
                lease.changed.set()
                raise
            self._job_queue.add(PLACE, priority=Priority.RETRY)
            self._run_asked()
            self._place_for_requests()

    async def _sweep(self) -> int:
        """Enqueue every node of ours that is not in the queue; returns how many there are."""
        query = (
            select(NodeRow.name, NODE_STATUS.c.next_look_at, NODE_STATUS.c.tried_revision)
            .outerjoin(NODE_STATUS, NODE_STATUS.c.node == NodeRow.name)
            .order_by(NodeRow.name)
        )
        give_back()
        held = self.controller.lease.nodes()
        async with self.controller.store.reading() as session:
            rows = (await session.execute(query)).all()
        ours = [(NodeName(n), at, tried) for n, at, tried in rows if held is None or n in held]
        for node, next_look_at, tried in ours:
            if not self.nodes.knows(node):
                self._take_up(node, next_look_at, Revision(tried or 0))
        return len(ours)

    def _take_up(self, node: NodeName, next_look_at: datetime | None, tried: Revision) -> None:
        """Begin with a node; its turn waits for the end of the back-off that was stored.

        Unless it was declared otherwise since it was tried, perhaps while no controller ran.
        """
        if next_look_at is not None:
            after_s = Backoff(next_look_at=next_look_at).left_s(self.controller.clock.now())
            self._turns.delay(node, after_s, tried)
        self.nodes.add(node, priority=Priority.ROUTINE)

    # -- the scheduler's pass ----------------------------------------------------------------------

    def _place_soon(self) -> None:
        """A turn recorded something: where a key waits for its place, that may matter."""
        if not self._settled:
            after_s = max(1.0, PASS_SHARE * self._pass_s)
            self._job_queue.add(PLACE, priority=Priority.RETRY, after_s=after_s)

    def _place_anew(self) -> None:
        """A node fell, or takes keys again."""
        self._job_queue.add(PLACE, priority=Priority.RETRY, after_s=FOLD_S)

    async def _follow_lost(self) -> None:
        """Place keys elsewhere as soon as a node is given up."""
        known: frozenset[tuple[NodeName, datetime]] = frozenset()
        while True:
            await asyncio.sleep(LOST_S)
            if not self.controller.lease.leads:
                known = frozenset()
                continue
            try:
                await self.controller.steps.settle()
                lost = await given_up(self.controller.store, self.controller.clock.now())
            except StoreError as error:
                log.warning(events.JOB_FAILED, job="failover", error=type(error).__name__)
                continue
            if lost - known:
                # Nothing was written: time alone decides.
                self._placed = None
                self._job_queue.add(PLACE, priority=Priority.CUSTOMER)
            known = lost

    def _place_for_requests(self) -> None:
        """Place first, as a run of one's own does; the leader does it where there are several."""
        if self.controller.lease.leads:
            self._job_queue.add(PLACE, priority=Priority.ASKED)
        else:
            self._let_requests_pass()

    def _let_requests_pass(self) -> None:
        for node in self._requests.placed():
            self.nodes.add(node, priority=Priority.ASKED)

    async def _place(self) -> None:
        controller = self.controller
        async with controller.store.reading() as session:
            revision = int(await session.scalar(select(REVISION.c.value)) or 0)
        stamp = revision, controller.versions.total
        if controller.lease.alone and self._placed == stamp:
            self._let_requests_pass()
            return
        now = asyncio.get_running_loop().time
        started_s = now()
        summary = await controller.place()
        self._pass_s = now() - started_s
        self._settled = summary.settled
        # A pass that changed nothing would decide the same again, unless time decides.
        self._placed = None if summary.changed or summary.waits else stamp
        self._wake_placed(summary)

    def _wake_placed(self, summary: PlacementSummary) -> None:
        self._requests.reopen(summary.nodes)
        for node in summary.nodes:
            self.nodes.add(node, priority=Priority.CUSTOMER)
        self._awaited = frozenset(summary.looks)
        for node in summary.looks:
            self.nodes.add(node, priority=Priority.RETRY)
        self._let_requests_pass()


def _count_job(name: str, duration_s: float, done: bool) -> None:  # noqa: FBT001 - a hook's shape
    del name
    ended = ReconcileResult.SUCCESS if done else ReconcileResult.ERROR
    count_turn(Label.JOB.value, ended, duration_s)
