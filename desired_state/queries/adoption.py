"""What of a key was adopted, and whether it was given back.

Callers: `queries.key`. Not here: adopting (`commands.adoption`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import Email, KeyId, NodeName
from desired_state.store.tables.adoption import AdoptionRow


@dataclass(frozen=True, slots=True)
class AdoptedView:
    """One client that a key was adopted with. `released_at`: since when it is foreign again."""

    node: NodeName
    email: Email
    at: datetime
    released_at: datetime | None


async def adopted_clients(session: AsyncSession, key: KeyId) -> tuple[AdoptedView, ...]:
    """Read them by node and email; empty for a key that we made ourselves."""
    query = (
        select(AdoptionRow)
        .where(AdoptionRow.key_id == key)
        .order_by(AdoptionRow.node, AdoptionRow.email)
    )
    return tuple(
        [
            AdoptedView(NodeName(row.node), Email(row.email), row.at, row.released_at)
            for row in await session.scalars(query)
        ]
    )
