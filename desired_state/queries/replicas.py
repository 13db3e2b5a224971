"""Controllers that work on this database, and which nodes each of them holds.

Callers: entrances. The database's clock decides who lives. On SQLite one controller at a time works under
a file's lock: whether a process that says `live` still runs is the entrance's to find out. Not here:
taking leases.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import Epoch, NodeName
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import NodeLeaseRow, ReplicaRow

_LEADER = "*"
"""The reserved lease of what runs once an installation."""
_LIVE, _ALONE = "live", ("daemon", "one-shot")


@dataclass(frozen=True, slots=True)
class LeaseView:
    """One node's lease. `holder`: a replica's id; None where nobody holds it.

    `removes_at`: until then nothing is deleted or switched off, after a takeover from a dead replica.
    """

    node: NodeName
    holder: str | None
    epoch: Epoch
    taken_at: datetime | None
    removes_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One controller process. `state`: live, late (its lease ran out unnoticed), left or dead.

    `kind`: replica, daemon, one-shot. `expires_in_s`: until its lease ends without a renewal; None for
    one that holds a lock. `nodes`: what it may write to; every declared one under a lock.
    """

    id: str
    kind: str
    host: str
    pid: int
    state: str
    leads: bool
    nodes: tuple[NodeName, ...]
    started_at: datetime
    expires_in_s: float | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Replicas:
    """All of them, the living first. `unheld`: declared nodes that nobody works on."""

    replicas: tuple[ReplicaView, ...]
    leases: tuple[LeaseView, ...]
    unheld: tuple[NodeName, ...]


async def list_replicas(session: AsyncSession, now: datetime) -> Replicas:
    """Read who works on what.

    Args:
        session: one snapshot.
        now: used on SQLite, which has no clock of its own.
    """
    if session.get_bind().dialect.name != "sqlite":
        now = await session.scalar(select(func.clock_timestamp())) or now
    rows = (await session.scalars(select(ReplicaRow))).all()
    leases = (await session.scalars(select(NodeLeaseRow).order_by(NodeLeaseRow.node))).all()
    declared = [NodeName(n) for n in await session.scalars(select(NodeRow.name))]
    held: dict[str, list[NodeName]] = {}
    leaders = {lease.holder for lease in leases if lease.node == _LEADER}
    for lease in leases:
        if lease.node != _LEADER and lease.holder is not None:
            held.setdefault(lease.holder, []).append(NodeName(lease.node))
    every = tuple(sorted(declared))
    views = tuple(
        [
            _view(row, held.get(row.id, []), leads=row.id in leaders, every=every, now=now)
            for row in rows
        ]
    )
    working = {node for view in views if view.state == _LIVE for node in view.nodes}
    return Replicas(
        replicas=tuple(sorted(views, key=lambda v: (v.state != _LIVE, -v.started_at.timestamp()))),
        leases=tuple(
            LeaseView(
                NodeName(lease.node), lease.holder, Epoch(lease.epoch), lease.taken_at,
                lease.removes_at,
            )
            for lease in leases
            if lease.node != _LEADER
        ),
        unheld=tuple(node for node in every if node not in working),
    )  # fmt: skip


def _view(
    row: ReplicaRow,
    held: list[NodeName],
    *,
    leads: bool,
    every: tuple[NodeName, ...],
    now: datetime,
) -> ReplicaView:
    expires_in_s = None
    if row.expires_at is not None:
        expires_in_s = (row.expires_at - now).total_seconds()
    state, is_live = row.state, row.state == _LIVE
    if is_live and expires_in_s is not None and expires_in_s < 0:
        state = "late"
    return ReplicaView(
        id=row.id,
        kind=row.kind,
        host=row.host,
        pid=row.pid,
        state=state,
        leads=leads and is_live,
        nodes=every if is_live and row.kind in _ALONE else tuple(sorted(held)),
        started_at=row.started_at,
        expires_in_s=expires_in_s if is_live else None,
        ended_at=row.ended_at,
    )
