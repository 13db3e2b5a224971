"""`x3fleet notifications list|replay`: what people were told, and sending it once more.

Not here: delivering, which the controller does; what is worth a notification.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, show

if TYPE_CHECKING:
    from desired_state.queries.notifications import DeliveryView, NotificationView

DeliveryOption = Annotated[
    Literal["", "waiting", "delivered", "parked"],
    Parameter(name="--delivery", help="only those whose delivery to a webhook is in this state"),
]
NumberArgument = Annotated[int, Parameter(help="the notification's number, as the list shows it")]
_TONES = {"delivered": Tone.GOOD, "waiting": Tone.WARN, "parked": Tone.BAD}


async def list_notifications(
    *, delivery: DeliveryOption = "", limit: int = 50, output: OutputOption = Output.TABLE
) -> Exit:
    """List what people were told, the newest first.

    Args:
        delivery: only those whose delivery to a webhook is in this state.
        limit: how many at most.
        output: table or json.
    """
    from desired_state.queries import notifications

    async with opened_store() as store, store.reading() as session:
        found = await notifications.list_notifications(session, delivery=delivery, limit=limit)
    grid = Grid(
        ("NO", "AT (UTC)", "STATE", "SEVERITY", "ABOUT", "WEBHOOKS", "MESSAGE"),
        tuple(_row(one) for one in found),
        empty="nobody was told anything yet",
    )
    show(Page({"notifications": [_document(one) for one in found]}, (grid,)), output)
    return Exit.DONE


async def replay(number: NumberArgument, *, output: OutputOption = Output.TABLE) -> Exit:
    """Have one notification sent to every webhook once more.

    Args:
        number: the notification's number, as the list shows it.
        output: table or json.
    """
    from desired_state.commands import notifications

    async with unit_of_work() as work:
        await notifications.replay(work, number)
    text = f"notification {number} will be sent again by the controller"
    show(Page({"notification": number, "replayed": True}, (text,)), output)
    return Exit.DONE


def _row(one: "NotificationView") -> tuple[Cell, ...]:
    firing = one.state == "firing"
    tone = Tone.GOOD if not firing else Tone.BAD if one.severity == "critical" else Tone.WARN
    about = f"{one.node or 'fleet'}: {one.condition}/{one.reason}"
    return (
        one.id,
        f"{one.at:%Y-%m-%d %H:%M:%S}",
        Text(one.state, tone),
        one.severity,
        about,
        _deliveries(one.deliveries),
        one.message,
    )


def _deliveries(deliveries: "tuple[DeliveryView, ...]") -> Cell:
    if not deliveries:
        return ""
    worst = max(deliveries, key=lambda one: list(_TONES).index(one.state))
    words = [
        f"{one.state} ({one.last_error})" if one.last_error else one.state for one in deliveries
    ]
    return Text(", ".join(words), _TONES[worst.state])


def _document(one: "NotificationView") -> dict[str, Any]:
    return {
        "id": one.id,
        "at": one.at,
        "alert": one.alert,
        "state": one.state,
        "severity": one.severity,
        "node": one.node or None,
        "condition": one.condition,
        "reason": one.reason,
        "message": one.message,
        "resolves": one.resolves,
        "deliveries": [
            {
                "hook": delivery.hook,
                "state": delivery.state,
                "attempts": delivery.attempts,
                "next_at": delivery.next_at if delivery.state == "waiting" else None,
                "last_error": delivery.last_error or None,
                "delivered_at": delivery.delivered_at,
            }
            for delivery in one.deliveries
        ],
    }
