"""Rounds over the fleet, for a one-shot run: place, all nodes at once, until nothing progresses.

A converged fleet costs one look a node and ends after one round. Callers: the service, under the lock.
Not here: turns (`worker`), placing (a function that is handed in: jobs and runtime do not see each
other).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from controller.core.restart import NOT_RESTARTED
from controller.core.result import Result
from controller.runtime.records import Records
from controller.runtime.report import NodeProgress, NodeReport, Stage, left_of
from controller.runtime.worker import TurnReport, Worker
from controller.telemetry import events
from desired_state.model.ids import NodeName

log = structlog.get_logger(__name__)

AT_ONCE = 32
"""Turns at the same time."""
MOST_ROUNDS = 5
"""A fleet that needs more is not converging; rounds that time cut short do not count."""

OnEvent = Callable[[NodeProgress], None]


class Placed(Protocol):
    """What a scheduler's pass answers."""

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """Nodes whose placements changed."""
        ...

    @property
    def looks(self) -> tuple[NodeName, ...]:
        """Nodes that are to be looked at before more is decided."""
        ...

    @property
    def settled(self) -> bool:
        """Whether another pass would change nothing, whatever nodes do meanwhile."""
        ...


class Place(Protocol):
    """One scheduler's pass."""

    def __call__(self) -> Awaitable[Placed]:
        """Place, and store."""
        ...


class Rounds:
    """Runs rounds over some nodes and adds their turns up.

    Args:
        worker: runs turns.
        records: tells which nodes were set free by what was finalised.
        place: the scheduler's pass.
        on_event: told of each step.
    """

    def __init__(
        self, worker: Worker, records: Records, place: Place, on_event: OnEvent | None = None
    ) -> None:
        self._worker = worker
        self._records = records
        self._place = place
        self._tell = on_event or (lambda _: None)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.number = 0

    async def run(self, nodes: tuple[NodeName, ...]) -> tuple[NodeReport, ...]:
        """Work on these nodes until they are in sync, blocked, or nothing progresses."""
        reports = {node: NodeReport(node) for node in nodes}
        self._records.take_released()
        placed = await self._place()
        todo, counted = set(nodes), 0
        while todo and counted < MOST_ROUNDS:
            self.number += 1
            turns = await self._round(sorted(todo))
            counted += not any(_was_cut_at_work(turn, reports[turn.node]) for turn in turns)
            for turn in turns:
                reports[turn.node] = reports[turn.node].plus(turn)
            todo = {turn.node for turn in turns if goes_on(turn)}
            todo |= self._records.take_released()
            if not placed.settled and (placed.looks or any(map(_did_something, turns))):
                placed = await self._place()
                todo |= {*placed.nodes, *placed.looks}
            todo &= reports.keys()
        return tuple(reports[node] for node in nodes)

    async def _round(self, nodes: list[NodeName]) -> list[TurnReport]:
        done = 0

        async def one(node: NodeName) -> TurnReport:
            nonlocal done
            async with self._turns:
                self._tell(NodeProgress(Stage.STARTED, self.number, node, done, len(nodes)))
                turn = await self._turn(node)
                done += 1
                self._tell(NodeProgress(Stage.FINISHED, self.number, node, done, len(nodes), turn))
                return turn

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(node)) for node in nodes]
        return [task.result() for task in tasks]

    async def _turn(self, node: NodeName) -> TurnReport:
        try:
            return await self._worker.turn(node)
        except Exception as error:
            # The one place where whatever is left ends: one traceback, and the fleet goes on.
            log.exception(events.CYCLE_BROKEN_OFF, node=node, error=type(error).__name__)
            return TurnReport(node, None, 0.0, error=f"a defect: {type(error).__name__}")


def _was_cut_at_work(turn: TurnReport, before: NodeReport) -> bool:
    """Whether time cut a turn short that left less to do than any turn of its node before.

    One that was cut and got nowhere counts like any other: else a run could go on for ever.
    """
    if not turn.out_of_time or turn.result is None:
        return False
    return before.least_left is None or left_of(turn.result) < before.least_left


def goes_on(turn: TurnReport) -> bool:
    """Whether another turn now can do what this one could not: something is left that may run."""
    result = turn.result
    if result is None or result.not_observed is not None:
        return False
    # One that is missed is created by the turn after the one that noted it, which wrote to no panel.
    open_inbounds = turn.recorded and any(one.is_open for one in result.inbounds)
    if not result.sent and not open_inbounds:
        return False
    return turn.out_of_time or _is_unfinished(result) or open_inbounds or _owes_restart(result)


def _is_unfinished(result: Result) -> bool:
    withheld = {action for refusal in result.refusals for action in refusal.withheld}
    return any(action not in withheld for action in result.remaining.actions)


def _owes_restart(result: Result) -> bool:
    """Whether Xray is to be restarted yet, and nothing speaks against trying that at once."""
    refused = any(c.reason == NOT_RESTARTED for c in result.status.conditions)
    return result.status.restart_owed and not refused


def _did_something(turn: TurnReport) -> bool:
    """Whether the scheduler may see the node otherwise than before."""
    return turn.result is not None and (bool(turn.result.sent) or turn.recorded)
