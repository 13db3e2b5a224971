"""The operator's word beside manifests: `x3fleet nodes pause|cordon|drain`, their opposites, rematch, rebind.

An override stands until it is taken back; a manifest never clears it. Not here: the rules
(`desired_state.commands.nodes`), what follows on the panel.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import unit_of_work
from cli.render import Output, OutputOption, Page, show
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind

if TYPE_CHECKING:
    from desired_state.commands.nodes import NodeChange
    from desired_state.store.unit_of_work import UnitOfWork

WaitOption = Annotated[
    bool, Parameter(help="until a controller that is at work has answered; 1 if there is none")
]
NodeArgument = Annotated[str, Parameter(name="NODE", help="its name")]


async def pause(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Stop visiting a node; its keys stay as they are, and pending deletes wait."""
    from desired_state.commands import nodes

    told = "is paused: not visited until x3fleet nodes resume"
    return await _override(nodes.pause, node, told, output)


async def resume(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Visit it again; credentials that it refused are tried once more."""
    from desired_state.commands import nodes

    told = f"is visited again; x3fleet reconcile now --node {node} does it at once"
    return await _override(nodes.resume, node, told, output)


async def cordon(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Place no new keys on a node; those that live there stay."""
    from desired_state.commands import nodes

    told = "gets no new keys until x3fleet nodes uncordon; those there stay"
    return await _override(nodes.cordon, node, told, output)


async def uncordon(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Place new keys on a node again, as far as its manifest allows."""
    from desired_state.commands import nodes

    return await _override(nodes.uncordon, node, "gets new keys again", output)


async def drain(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Have every key leave a node; each keeps its order of delete and create."""
    from desired_state.commands import nodes

    told = "is drained: its keys leave for other nodes; x3fleet moves list follows them"
    return await _override(nodes.drain, node, told, output)


async def undrain(node: NodeArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Let keys stay on a node again; those that left it do not come back by themselves."""
    from desired_state.commands import nodes

    told = "keeps its keys again, as far as its manifest allows; x3fleet rebalance fills it"
    return await _override(nodes.undrain, node, told, output)


async def rematch(
    node: NodeArgument, /, *, wait: WaitOption = False, output: OutputOption = Output.TABLE
) -> Exit:
    """Choose the node's inbounds anew, by its declared match."""
    told = "its inbounds are chosen anew"
    return await _ask(RequestKind.REMATCH, node, told, output, wait=wait)


async def rebind(
    node: NodeArgument, /, *, wait: WaitOption = False, output: OutputOption = Output.TABLE
) -> Exit:
    """Accept the panel that answers now as this node's."""
    told = "the panel that answers is accepted"
    return await _ask(RequestKind.REBIND, node, told, output, wait=wait)


async def _override(
    command: "Callable[[UnitOfWork, NodeName], Awaitable[NodeChange]]",
    node: str,
    told: str,
    output: Output,
) -> Exit:
    async with unit_of_work() as work:
        change = await command(work, NodeName(node))
    overrides = change.node.overrides
    document = {
        "node": change.node.name,
        "changed": change.changed,
        "mode": change.node.mode.value,
        "paused": overrides.paused,
        "cordoned": overrides.cordoned,
        "draining": change.node.is_draining,
        "schedulable": change.node.is_schedulable,
    }
    was = "" if change.changed else " (as it was before)"
    show(Page(document, (f"{node} {told}{was}",)), output)
    return Exit.DONE


async def _ask(kind: RequestKind, node: str, told: str, output: Output, *, wait: bool) -> Exit:
    if wait:
        return await _ask_and_wait(kind, node, output)
    from desired_state.commands.requests import ask

    async with unit_of_work() as work:
        asked = await ask(work, kind, node=NodeName(node))
    document = {"node": node, "request": kind.value, "token": asked.token}
    line = f"asked of {node}: {told} at its next turn; x3fleet reconcile now --node {node}"
    show(Page(document, (line,)), output)
    return Exit.DONE


async def _ask_and_wait(kind: RequestKind, node: str, output: Output) -> Exit:
    from cli.following import ask_and_follow
    from cli.opening import opened_store

    async with opened_store() as store:
        (view,) = await ask_and_follow(store, kind, (NodeName(node),), output)
    (answer,) = view.answers
    ready = bool(answer.detail.get("ready"))
    document = {
        "node": node,
        "request": kind.value,
        "token": view.token,
        "outcome": answer.outcome,
        "ready": ready,
        "message": answer.detail.get("message") or None,
    }
    line = f"{node} answered: {answer.outcome}: {answer.detail.get('message', '')}"
    show(Page(document, (line,)), output)
    return Exit.DONE if ready else Exit.DRIFT
