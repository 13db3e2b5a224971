"""The fleet at a glance: every node with its conditions and counts.

Callers: entrances. Not here: one node in detail (`queries.node`), panels, latency.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import NodeName, Revision
from desired_state.model.node import Mode, Node, Recovery
from desired_state.model.tariff import Labels
from desired_state.queries.retry import Retry, tell_next_try
from desired_state.queries.views import (
    WARNINGS,
    ConditionView,
    conditions_from,
    find_condition,
    without_warnings,
)
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow

_WORST_FIRST = ("Stalled", "Unreachable", "Blocked", "Paused", "Drifted", "Reconciling", "Ready")


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Clients of ours on a panel as last seen, and what is not ours."""

    desired: int = 0
    live: int = 0
    pending: int = 0
    deleting: int = 0
    foreign: int = 0
    quarantined: int = 0
    drift: int = 0


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """One line of the fleet.

    `placed`, `leaving`: keys by the scheduler's decision, whatever the panel holds. `capacity` None:
    no limit. `observed_revision` is 0 for a node that was never seen in sync. `connected_at`: since when
    it answers again without being recovered. `recovery`: what nobody accepted yet since our database was
    restored.
    """

    name: NodeName
    mode: Mode
    labels: Labels
    schedulable: bool
    paused: bool
    cordoned: bool
    draining: bool
    orphaned: bool
    capacity: int | None
    placed: int
    leaving: int
    version: str
    family: str
    xray: str
    counts: NodeCounts
    conditions: tuple[ConditionView, ...]
    revision: Revision
    observed_revision: Revision
    failures: int
    next_look_at: datetime | None
    connected_at: datetime | None
    certificate_until: datetime | None
    changed_at: datetime | None
    recovery: Recovery = Recovery.NONE

    @property
    def visited(self) -> bool:
        """Whether a turn has ever said something of it."""
        return bool(self.conditions)

    @property
    def ready(self) -> bool:
        """Whether it is as it should be."""
        return find_condition(self.conditions, "Ready") is not None

    @property
    def worst(self) -> ConditionView | None:
        """The condition that matters most; None for a node that was never visited."""
        return find_condition(without_warnings(self.conditions), *_WORST_FIRST)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons that are worth knowing of a node that may be ready all the same."""
        return tuple([one.reason for one in self.conditions if one.reason in WARNINGS])

    def next_try(self, now: datetime) -> str:
        """When a node that is not as it should be is looked at again, in words; "" for one that is."""
        if self.ready or not self.visited:
            return ""
        retry = Retry(self.failures, self.next_look_at)
        return tell_next_try(self.conditions, self.mode, retry, now)


async def list_nodes(session: AsyncSession) -> tuple[NodeSummary, ...]:
    """Read every node, sorted by name."""
    return await _summaries(session, None)


async def node_summary(session: AsyncSession, name: NodeName) -> NodeSummary | None:
    """Read one node; None when it is not declared."""
    return next(iter(await _summaries(session, name)), None)


async def _summaries(session: AsyncSession, name: NodeName | None) -> tuple[NodeSummary, ...]:
    placed = (
        select(
            PlacementRow.node,
            func.sum(case((PlacementRow.leaving.is_(None), 1), else_=0)).label("placed"),
            func.sum(case((PlacementRow.leaving.is_(None), 0), else_=1)).label("leaving"),
        )
        .group_by(PlacementRow.node)
        .subquery()
    )
    query = (
        select(NodeRow, NodeStatusRow, placed.c.placed, placed.c.leaving)
        .outerjoin(NodeStatusRow, NodeStatusRow.node == NodeRow.name)
        .outerjoin(placed, placed.c.node == NodeRow.name)
        .order_by(NodeRow.name)
    )
    if name is not None:
        query = query.where(NodeRow.name == name)
    return tuple(
        [
            _summary(node_from(row), status, int(here or 0), int(leaving or 0))
            for row, status, here, leaving in await session.execute(query)
        ]
    )


def _summary(node: Node, status: NodeStatusRow | None, placed: int, leaving: int) -> NodeSummary:
    return NodeSummary(
        name=node.name,
        mode=node.mode,
        labels=node.spec.labels,
        schedulable=node.is_schedulable,
        paused=node.overrides.paused,
        cordoned=node.overrides.cordoned,
        draining=node.is_draining,
        orphaned=node.orphaned,
        capacity=node.spec.capacity_keys,
        placed=placed,
        leaving=leaving,
        version="" if status is None else status.version,
        family="" if status is None else status.family,
        xray="" if status is None else status.xray,
        counts=NodeCounts() if status is None else NodeCounts(**status.counts),
        conditions=() if status is None else conditions_from(status.conditions),
        revision=node.revision,
        observed_revision=Revision(0 if status is None else status.observed_revision),
        failures=0 if status is None else status.failures,
        next_look_at=None if status is None else status.next_look_at,
        connected_at=None if status is None else status.connected_at,
        certificate_until=None if status is None else status.certificate_until,
        changed_at=None if status is None else status.changed_at,
        recovery=node.overrides.recovery,
    )
