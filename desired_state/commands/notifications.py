"""Asking that a notification be sent to webhooks once more.

The controller follows the wish; what was delivered stays recorded in status. Callers: entrances. Not
here: sending, what is worth a notification.
"""

from desired_state.commands.errors import NotFound
from desired_state.store.tables.desired import NotificationReplayRow
from desired_state.store.tables.status import NotificationRow
from desired_state.store.unit_of_work import UnitOfWork


async def replay(work: UnitOfWork, notification: int) -> None:
    """Have a notification sent to every webhook again, whatever became of it before.

    Args:
        work: the transaction.
        notification: its number.

    Raises:
        NotFound: there is none, or it was pruned.
    """
    if await work.session.get(NotificationRow, notification) is None:
        raise NotFound(
            "notification", str(notification), hint="x3fleet notifications list shows them"
        )
    revision = await work.revise()
    work.session.add(
        NotificationReplayRow(
            notification_id=notification, actor=work.actor, at=work.now, revision=revision
        )
    )
    work.audit("notification_replayed", f"notification/{notification}")
