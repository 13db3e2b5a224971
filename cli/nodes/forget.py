"""`x3fleet nodes forget|forgotten`: a node whose panel is gone for good, and what was written off for it.

Not here: the rules (`desired_state.commands.forgetting`), SQL.
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.nodes.change import NodeArgument
from cli.opening import opened_store, unit_of_work
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, count, day, show
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from desired_state.queries.forgotten import ForgottenView


async def forget(
    node: NodeArgument,
    /,
    *,
    yes_its_panel_is_gone: Annotated[
        bool, Parameter(help="what it still owes is written off, and never proved gone")
    ] = False,
    reason: Annotated[str, Parameter(help="shown to operators")] = "",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Forget a node that no manifest declares; its keys live elsewhere, its debts are written off."""
    from desired_state.commands.forgetting import forget as forget_node

    async with unit_of_work() as work:
        done = await forget_node(
            work, NodeName(node), panel_is_gone=yes_its_panel_is_gone, reason=reason
        )
    document = {
        "node": done.node,
        "clients": done.clients,
        "keys": done.keys,
        "placed": done.placed,
    }
    lines = [f"{node} is forgotten"]
    if done.clients:
        owed = count(done.clients, "client")
        lines.append(
            f"{owed} of {count(done.keys, 'key')} are written off, and nobody proved them gone: if the panel "
            "is declared again under its address, what it still holds is recognised and deleted"
        )
    if done.placed:
        lines.append(f"{count(done.placed, 'key')} lived there, and go to other nodes")
    show(Page(document, tuple(lines)), output)
    return Exit.DONE


async def forgotten(*, output: OutputOption = Output.TABLE) -> Exit:
    """List forgotten nodes and what was written off for each."""
    from desired_state.queries.forgotten import list_forgotten

    async with opened_store() as store, store.reading() as session:
        found = await list_forgotten(session)
    grid = Grid(
        ("NODE", "DAY", "BY", "CLIENTS", "KEYS", "UNSEEN", "WHY"),
        tuple(_row(one) for one in found),
        empty="no node was forgotten",
    )
    show(Page({"forgotten": [_document(one) for one in found]}, (grid,)), output)
    return Exit.DONE


def _document(one: "ForgottenView") -> dict[str, Any]:
    return {
        "node": one.node,
        "at": one.at,
        "by": one.actor,
        "reason": one.reason or None,
        "written_off_at": one.written_off_at,
        "clients": one.clients,
        "keys": one.keys,
        "unseen": one.unseen,
    }


def _row(one: "ForgottenView") -> tuple[Cell, ...]:
    waits = one.written_off_at is None
    return (
        one.node,
        day(one.at),
        one.actor,
        Text("waits for a controller", Tone.WARN) if waits else str(one.clients),
        "" if waits else str(one.keys),
        "" if waits else str(one.unseen),
        one.reason,
    )
