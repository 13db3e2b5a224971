"""After a database was restored from a backup: what it must not do by itself, and a person's word on it.

`recover` runs once, in the restored database, before anybody else opens it. Callers: `commands.restore`,
entrances (`accept`). Not here: restoring, what a node in recovery may do (`controller.core.modes`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, select

from desired_state.commands.errors import Conflict
from desired_state.commands.nodes import find_node
from desired_state.model.ids import NodeName
from desired_state.model.node import Recovery
from desired_state.store.tables.backups import RecoveryRow
from desired_state.store.tables.desired import (
    NodeRow,
    NotificationReplayRow,
    PlanApprovalRow,
    RebalanceRow,
    RequestRow,
)
from desired_state.store.tables.status import RebalanceStepRow, RequestAnswerRow
from desired_state.store.tables.types import DesiredRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Source:
    """What a database was restored from. `replaced`: where the one before it is kept, or ""."""

    backup: str
    taken_at: datetime
    replaced: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was asked for before the backup and is not to be done a second time, by how many."""

    requests: int
    approvals: int
    rebalances: int
    replays: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """Nodes whose recovery went a step further. `left`: nodes that still wait for their first one."""

    nodes: tuple[NodeName, ...]
    recovery: Recovery
    left: tuple[NodeName, ...]


async def recover(work: UnitOfWork, source: Source) -> Dropped:
    """Have every node observe until a person accepts, and drop what only its own time could answer.

    Requests, approvals and wishes of before the backup were answered in the database that is lost: doing
    them again would act on a fleet that nobody has looked at.
    """
    rows = (await work.session.scalars(select(NodeRow).order_by(NodeRow.name))).all()
    revision = await work.revise(*[NodeName(row.name) for row in rows], scheduler=True)
    for row in rows:
        row.recovery, row.revision = Recovery.OBSERVE.value, revision
    work.session.add(
        RecoveryRow(
            backup=source.backup, taken_at=source.taken_at, restored_at=work.now,
            replaced=source.replaced, actor=work.actor, revision=revision,
            accepted_at=None if rows else work.now,
        )
    )  # fmt: skip
    answered = exists().where(RequestAnswerRow.token == RequestRow.token)
    done = exists().where(
        RebalanceStepRow.rebalance_id == RebalanceRow.id, RebalanceStepRow.done_at.is_not(None)
    )
    dropped = Dropped(
        requests=await _drop(work, RequestRow, ~answered),
        approvals=await _drop(work, PlanApprovalRow, PlanApprovalRow.id.is_not(None)),
        rebalances=await _drop(work, RebalanceRow, ~done),
        replays=await _drop(work, NotificationReplayRow, NotificationReplayRow.id.is_not(None)),
    )
    work.audit(
        "database_restored",
        f"backup/{source.backup}",
        taken_at=source.taken_at.isoformat(),
        requests=dropped.requests,
        approvals=dropped.approvals,
        rebalances=dropped.rebalances,
    )
    return dropped


async def accept(
    work: UnitOfWork, nodes: Iterable[NodeName] = (), *, deletes: bool = False
) -> Accepted:
    """Let nodes in recovery be written to: first all but what takes something away, then everything.

    Args:
        work: the transaction.
        nodes: which ones; none means every node in recovery.
        deletes: also what deletes, switches off or shortens.

    Raises:
        NotFound: one of them is not declared.
        Conflict: no node is in recovery.
    """
    chosen = [await find_node(work, name) for name in nodes]
    every = (await work.session.scalars(select(NodeRow).order_by(NodeRow.name))).all()
    goal = Recovery.NONE if deletes else Recovery.CAREFUL
    waiting = [row for row in chosen or every if Recovery(row.recovery) in _BEFORE[goal]]
    if not waiting:
        raise Conflict(
            "no node waits for that" if chosen or any(row.recovery for row in every)
            else "no node is in recovery: the database was not restored, or all is accepted"
        )  # fmt: skip
    names = tuple(NodeName(row.name) for row in waiting)
    revision = await work.revise(*names, scheduler=True)
    for row in waiting:
        row.recovery, row.revision, row.changed_at = goal.value, revision, work.now
        work.audit("recovery_accepted", f"node/{row.name}", deletes=deletes)
    left = tuple(NodeName(r.name) for r in every if r.recovery == Recovery.OBSERVE.value)
    if not left:
        open_ones = select(RecoveryRow).where(RecoveryRow.accepted_at.is_(None))
        for recovery in await work.session.scalars(open_ones):
            recovery.accepted_at = work.now
    return Accepted(names, goal, left)


_BEFORE = {
    Recovery.CAREFUL: (Recovery.OBSERVE,),
    Recovery.NONE: (Recovery.OBSERVE, Recovery.CAREFUL),
}


async def _drop(work: UnitOfWork, row: type[DesiredRow], goes: ColumnElement[bool]) -> int:
    connection = await work.session.connection()
    return (await connection.execute(delete(row).where(goes))).rowcount
