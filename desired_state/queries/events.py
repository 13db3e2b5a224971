"""The history: what happened on nodes and to keys, newest first.

Callers: entrances, `queries.node`, `queries.key`. Not here: what people did (the audit).
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import KeyId, NodeName
from desired_state.queries.views import EventView
from desired_state.store.tables.status import EventRow

MOST = 100


async def list_events(
    session: AsyncSession,
    *,
    node: NodeName | None = None,
    key: KeyId | None = None,
    limit: int = MOST,
) -> tuple[EventView, ...]:
    """Read the newest events, of one node or key where one is named."""
    query = select(EventRow).order_by(EventRow.at.desc(), EventRow.id.desc()).limit(limit)
    if node is not None:
        query = query.where(EventRow.node == node)
    if key is not None:
        query = query.where(EventRow.key == key)
    return tuple(
        [
            EventView(
                at=row.at,
                node=NodeName(row.node),
                name=row.name,
                key=row.key,
                email=row.email,
                detail=row.detail,
                cycle_id=row.cycle_id,
            )
            for row in await session.scalars(query)
        ]
    )
