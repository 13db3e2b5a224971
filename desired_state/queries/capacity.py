"""How full the fleet is: nodes, groups by label, their trend, and what people were told to do about it.

Callers: entrances, the controller's alerts and metrics. One reading of each table, whatever the number of
keys. Not here: the rules (`scheduling.capacity`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import NodeName
from desired_state.model.policy import policy_for
from desired_state.scheduling.capacity import (
    Group,
    NodeRoom,
    Signal,
    find_signals,
    make_groups,
    slope_a_day,
)
from desired_state.scheduling.eligible import NodeState, refuse_node
from desired_state.store.journal_states import may_exist
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies
from desired_state.store.tables.measures import CapacitySampleRow
from desired_state.store.tables.status import (
    AlertRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)

TREND_OVER = timedelta(days=7)
"""A line through a week: weekends and evenings even out."""

Series = list[tuple[datetime, int]]


@dataclass(frozen=True, slots=True)
class FleetCapacity:
    """Nodes by name, groups by label and value.

    `signals`: what should be done, told or not; `told`: node by key of those that people were told of.
    """

    nodes: tuple[NodeRoom, ...]
    groups: tuple[Group, ...]
    signals: tuple[Signal, ...]
    told: Mapping[str, str]


async def read_capacity(session: AsyncSession, now: datetime) -> FleetCapacity:
    """Read how full everything is.

    Args:
        session: a snapshot.
        now: the end of the trend.
    """
    policies = await read_policies(session)
    by_node, by_label = await _trends(session, now)
    rooms = tuple(
        replace(room, keys_a_day=by_node.get(room.name)) for room in await read_rooms(session)
    )
    groups = make_groups(rooms, policies, by_label)
    query = select(AlertRow.key, AlertRow.node).where(
        AlertRow.notification_id.is_not(None), AlertRow.key.startswith("capacity/")
    )
    told = {row[0]: row[1] for row in await session.execute(query)}
    return FleetCapacity(rooms, groups, find_signals(rooms, groups, told), told)


async def read_rooms(session: AsyncSession) -> tuple[NodeRoom, ...]:
    """Read every declared node with its keys and its load, by name; without a trend."""
    policies = await read_policies(session)
    query = select(PlacementRow.node, func.count()).group_by(PlacementRow.node)
    keys = {node: int(count) for node, count in await session.execute(query)}
    states = await read_node_states(session)
    owed = await _owed(session, [s.node.name for s in states if s.node.is_draining])
    loads = {
        node: (rate, cpu, memory)
        for node, rate, cpu, memory in await session.execute(
            select(
                NodeStatusRow.node,
                NodeStatusRow.traffic_rate_bps,
                NodeStatusRow.cpu_share,
                NodeStatusRow.memory_share,
            )
        )
    }

    def room(state: NodeState) -> NodeRoom:
        node = state.node
        rate, cpu, memory = loads.get(node.name, (0, None, None))
        policy = policy_for(policies, node.spec.labels)
        return NodeRoom(
            name=node.name,
            labels=node.spec.labels,
            keys=keys.get(node.name, 0),
            capacity=node.spec.capacity_keys,
            # Full or not is what capacity is about.
            is_open=refuse_node(state, policy, keys=-1) is None,
            is_draining=node.is_draining,
            owed=owed.get(node.name, 0),
            traffic_rate_bps=rate,
            cpu_share=cpu,
            memory_share=memory,
        )

    return tuple([room(state) for state in states])


async def _owed(session: AsyncSession, nodes: list[NodeName]) -> dict[str, int]:
    """How many clients of keys are not proved gone, of these nodes."""
    query = (
        select(RemoteGenerationRow.node, func.count())
        .where(
            RemoteGenerationRow.node.in_(nodes),
            RemoteGenerationRow.key.is_not(None),
            may_exist(RemoteGenerationRow.state),
        )
        .group_by(RemoteGenerationRow.node)
    )
    return {node: int(count) for node, count in await session.execute(query)}


async def _trends(
    session: AsyncSession, now: datetime
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """Keys a day by node, and by label and value: also of nodes that are not there any more."""
    query = (
        select(
            CapacitySampleRow.at,
            CapacitySampleRow.node,
            CapacitySampleRow.keys,
            CapacitySampleRow.labels,
        )
        .where(CapacitySampleRow.at > now - TREND_OVER)
        .order_by(CapacitySampleRow.at)
    )
    nodes: dict[str, Series] = defaultdict(list)
    sums: dict[tuple[str, str], dict[datetime, int]] = defaultdict(dict)
    for at, node, keys, labels in await session.execute(query):
        nodes[node].append((at, keys))
        for pair in labels.items():
            sums[pair][at] = sums[pair].get(at, 0) + keys
    found = {node: slope_a_day(series) for node, series in nodes.items()}
    groups = {pair: slope_a_day(sorted(series.items())) for pair, series in sums.items()}
    return (
        {node: slope for node, slope in found.items() if slope is not None},
        {pair: slope for pair, slope in groups.items() if slope is not None},
    )
