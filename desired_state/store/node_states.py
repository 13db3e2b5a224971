"""Nodes as the scheduler sees them: what is declared of each, and what its last look said.

Callers: the scheduler's pass by its query, and the command that refuses to sell what nothing can carry:
both have to see the same. Not here: choosing (`scheduling`).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.node import Node
from desired_state.scheduling.eligible import NodeLoad, NodeState
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import NodeStatusRow

_XRAY_RUNS = {"running": True, "stop": False, "error": False}
"""What a panel said of its Xray; anything else is not known."""


async def read_node_states(session: AsyncSession, *, failures: int = 0) -> tuple[NodeState, ...]:
    """Read nodes as the scheduler sees them, those with so many failed looks in a row; sorted by name."""
    query = (
        select(
            NodeRow,
            NodeStatusRow.conditions,
            NodeStatusRow.xray,
            NodeStatusRow.failures,
            NodeStatusRow.watched_s,
            NodeStatusRow.next_look_at,
            NodeStatusRow.traffic_rate_bps,
            NodeStatusRow.cpu_share,
            NodeStatusRow.memory_share,
        )
        .outerjoin(NodeStatusRow, NodeStatusRow.node == NodeRow.name)
        .order_by(NodeRow.name)
    )
    if failures:
        query = query.where(NodeStatusRow.failures >= failures)
    states = []
    for row, conditions, xray, failed, watched_s, due, *load in await session.execute(query):
        node = node_from(row)
        states.append(
            NodeState(
                node=node,
                conditions=_held(conditions or []),
                xray_running=_XRAY_RUNS.get(xray or ""),
                load=_load(node, *load),
                unreachable_since=_unreachable_since(conditions or []),
                failures=failed or 0,
                watched_s=watched_s or 0.0,
                next_look_at=due,
            )
        )
    return tuple(states)


def _load(node: Node, rate_bps: int | None, cpu: float | None, memory: float | None) -> NodeLoad:
    """Shares of what the node can bear; what was never measured, or has no limit, is no load."""
    capacity = node.spec.capacity_traffic_bps
    return NodeLoad(
        traffic=(rate_bps or 0) / capacity if capacity else 0.0,
        cpu=cpu or 0.0,
        memory=memory or 0.0,
    )


def _held(conditions: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple([f"{c['type']}/{c['reason']}" for c in conditions if c["status"]])


def _unreachable_since(conditions: list[dict[str, Any]]) -> datetime | None:
    held = (c for c in conditions if c["status"] and c["type"] == "Unreachable" and c["since"])
    return min((datetime.fromisoformat(c["since"]) for c in held), default=None)
