"""What the controller told people, and how far each of it is on its way to webhooks.

Callers: entrances. Not here: delivering (the controller), asking for a replay
(`commands.notifications`).
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.store.tables.status import NotificationRow, WebhookDeliveryRow

MOST = 100


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One notification on its way to one webhook. `hook`: a digest of its address."""

    hook: str
    state: str
    attempts: int
    next_at: datetime
    last_error: str
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class NotificationView:
    """One message to people; `node` "": about the fleet. `resolves`: the one that is over."""

    id: int
    at: datetime
    alert: str
    state: str
    severity: str
    node: str
    condition: str
    reason: str
    message: str
    resolves: int | None
    deliveries: tuple[DeliveryView, ...] = ()


async def list_notifications(
    session: AsyncSession, *, delivery: str = "", limit: int = MOST
) -> tuple[NotificationView, ...]:
    """Read the newest notifications, the newest first.

    Args:
        session: a snapshot.
        delivery: only those with a delivery in this state: waiting, delivered, parked.
        limit: how many.
    """
    query = select(NotificationRow).order_by(NotificationRow.id.desc()).limit(limit)
    if delivery:
        chosen = select(WebhookDeliveryRow.notification_id).where(
            WebhookDeliveryRow.state == delivery
        )
        query = query.where(NotificationRow.id.in_(chosen))
    rows = list(await session.scalars(query))
    deliveries = await _deliveries(session, [row.id for row in rows])
    return tuple(
        NotificationView(
            id=row.id,
            at=row.at,
            alert=row.alert,
            state=row.state,
            severity=row.severity,
            node=row.node,
            condition=row.condition,
            reason=row.reason,
            message=row.message,
            resolves=row.resolves,
            deliveries=tuple(deliveries[row.id]),
        )
        for row in rows
    )


async def _deliveries(
    session: AsyncSession, notifications: list[int]
) -> dict[int, list[DeliveryView]]:
    query = (
        select(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.notification_id.in_(notifications))
        .order_by(WebhookDeliveryRow.hook)
    )
    found: dict[int, list[DeliveryView]] = defaultdict(list)
    for row in await session.scalars(query):
        found[row.notification_id].append(
            DeliveryView(
                hook=row.hook,
                state=row.state,
                attempts=row.attempts,
                next_at=row.next_at,
                last_error=row.last_error,
                delivered_at=row.delivered_at,
            )
        )
    return found
