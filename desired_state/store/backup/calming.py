"""Makes a restored database safe to start with: numbers go on, nobody is told twice, no lease is left.

What the lost database did after the backup cannot be known: whatever somebody remembers by a number must not
see it again, what may have been sent already is not sent by itself, and no node is given up for what looks of
that time said. Callers: `commands.restore`, on a scratch database that nobody else has open. Not here: modes
of nodes, requests (`commands.recovery`).
"""

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.store.tables.desired import RevisionCounterRow
from desired_state.store.tables.status import (
    EventRow,
    NodeLeaseRow,
    NodeStatusRow,
    NotificationRow,
    ReplicaRow,
    WebhookDeliveryRow,
)

GAP = 1_000_000
"""More revisions, notifications or leases than a fleet gives out between two backups."""
_LOST = "Unreachable"
PARKED = "the database was restored from a backup: it may have been sent already"


async def calm(session: AsyncSession, backup: str, taken_at: datetime, now: datetime) -> None:
    """Do it, in the caller's transaction.

    Args:
        session: of the restored database.
        backup: the name of its file.
        taken_at: of which moment it is.
        now: the moment.
    """
    await session.execute(update(RevisionCounterRow).values(value=RevisionCounterRow.value + GAP))
    # A replica that sleeps since before the restore must never meet its own epoch again.
    await session.execute(update(NodeLeaseRow).values(holder=None, epoch=NodeLeaseRow.epoch + GAP))
    await session.execute(
        update(ReplicaRow).where(ReplicaRow.state == "live").values(state="left", ended_at=now)
    )
    await _begin_falls_anew(session, now)
    await session.execute(
        update(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.state == "waiting")
        .values(state="parked", last_error=PARKED)
    )
    await _tell(session, backup, taken_at, now)


async def _begin_falls_anew(session: AsyncSession, now: datetime) -> None:
    """Count from now how long nodes are out of reach: what came in between, nobody here has seen."""
    for row in await session.scalars(select(NodeStatusRow)):
        if any(one["type"] == _LOST for one in row.conditions):
            row.failures, row.watched_s, row.connected_at, row.next_look_at = 0, 0.0, None, now
            row.conditions = [
                one | {"since": now.isoformat()} if one["type"] == _LOST else one
                for one in row.conditions
            ]


async def _tell(session: AsyncSession, backup: str, taken_at: datetime, now: datetime) -> None:
    """Tell people and the history; both rows number what follows after all that receivers may know."""
    message = f"the database was restored from {backup}, as it was at {taken_at:%Y-%m-%d %H:%M} UTC"
    last = await session.scalar(select(func.max(NotificationRow.id)))
    session.add(
        NotificationRow(
            id=int(last or 0) + GAP, at=now, alert="database restored", state="firing",
            severity="critical", condition="Database", reason="Restored", message=message,
            resolves=None,
        )
    )  # fmt: skip
    last = await session.scalar(select(func.max(EventRow.id)))
    session.add(
        EventRow(
            id=int(last or 0) + GAP, at=now, last_at=now, node="", name="database_restored",
            detail=message,
        )
    )  # fmt: skip
