"""`x3fleet events`: the history of nodes and keys, newest first.

Not here: what people did (the audit), the log.
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Grid, Output, OutputOption, Page, show

if TYPE_CHECKING:
    from desired_state.queries.views import EventView

NodeOption = Annotated[str, Parameter(name="--node", help="only of this node")]
KeyOption = Annotated[str, Parameter(name="--key", help="only of this key")]


async def events(
    *,
    node: NodeOption = "",
    key: KeyOption = "",
    limit: int = 50,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Show what happened on nodes and to keys, newest first.

    Args:
        node: only of this node.
        key: only of this key.
        limit: how many lines at most.
        output: table or json.
    """
    from desired_state.model.ids import KeyId, NodeName
    from desired_state.queries.events import list_events

    async with opened_store() as store, store.reading() as session:
        found = await list_events(
            session,
            node=NodeName(node) if node else None,
            key=KeyId(key) if key else None,
            limit=limit,
        )
    grid = Grid(
        ("AT (UTC)", "NODE", "EVENT", "TIMES", "WHAT"),
        tuple(
            (
                f"{one.last_at or one.at:%Y-%m-%d %H:%M:%S}",
                one.node,
                one.name,
                one.times,
                _what(one),
            )
            for one in found
        ),
        empty="nothing has happened yet",
    )
    show(Page({"events": [_document(one) for one in found]}, (grid,)), output)
    return Exit.DONE


def _what(event: "EventView") -> str:
    """The email, what changed, and the detail, as far as each is there."""
    change = f"{event.before} -> {event.after}" if event.before and event.after else ""
    return " ".join(part for part in (event.email, change, event.outcome, event.detail) if part)


def _document(event: "EventView") -> dict[str, Any]:
    return {
        "at": event.at,
        "last_at": event.last_at,
        "times": event.times,
        "node": event.node,
        "name": event.name,
        "key": event.key or None,
        "email": event.email or None,
        "before": event.before or None,
        "after": event.after or None,
        "outcome": event.outcome or None,
        "detail": event.detail or None,
        "cycle": event.cycle_id or None,
        "plan": event.plan_digest or None,
        "epoch": event.epoch or None,
    }
