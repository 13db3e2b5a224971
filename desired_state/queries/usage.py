"""What a key used, node by node, in the paid period that runs now.

Callers: `queries.key`. Not here: sums over a subscription (`queries.keys`), whether a quota is left.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import KeyId, NodeName
from desired_state.store.convert import used_bytes_of
from desired_state.store.tables.status import KeyUsageRow


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """Bytes on one node. `used_bytes` is what counts; `up_bytes`, `down_bytes`: as far as they were told.

    `sampled_at`: when its counters moved last.
    """

    node: NodeName
    used_bytes: int
    up_bytes: int
    down_bytes: int
    sampled_at: datetime


async def usage_by_node(session: AsyncSession, key: KeyId, period: int) -> tuple[NodeUsage, ...]:
    """Read where a key was used in a paid period, by node; nodes that are gone too."""
    rows = await session.scalars(
        select(KeyUsageRow)
        .where(KeyUsageRow.key == key, KeyUsageRow.period == period)
        .order_by(KeyUsageRow.node)
    )
    return tuple(
        [
            NodeUsage(
                NodeName(row.node),
                used_bytes_of(row, period),
                row.up_bytes,
                row.down_bytes,
                row.changed_at,
            )
            for row in rows
        ]
    )
