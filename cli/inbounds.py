"""`x3fleet inbounds list|show`: declared inbounds, and how each fares on every node; nothing is contacted.

Not here: declaring them (`manifests`), SQL (`desired_state.queries`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, show
from desired_state.model.ids import InboundName

if TYPE_CHECKING:
    from desired_state.queries.inbounds import InboundDetail, InboundOnNode

InboundArgument = Annotated[str, Parameter(help="its name in the manifests")]
_TONES = {
    "live": Tone.GOOD,
    "pending": Tone.WARN,
    "refused": Tone.BAD,
    "leaving": Tone.WARN,
    "kept": Tone.DIM,
}


async def list_inbounds(*, output: OutputOption = Output.TABLE) -> Exit:
    """List declared inbounds with the nodes that have them."""
    from desired_state.queries.inbounds import list_inbounds as read_inbounds

    async with opened_store() as store, store.reading() as session:
        found = await read_inbounds(session)
    grid = Grid(
        ("INBOUND", "PROTOCOL", "PORT", "SECURITY", "NODES", "LIVE", "WHEN IT VANISHES", "WHY"),
        tuple(_row(one) for one in found),
        empty="no inbound is declared; a document of kind Inbound declares one",
    )
    show(Page({"inbounds": [_document(one) for one in found]}, (grid,)), output)
    return Exit.DONE


async def show_inbound(inbound: InboundArgument, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Show one declared inbound: what it is, and how it fares on each node."""
    from desired_state.commands.errors import NotFound
    from desired_state.queries.inbounds import show_inbound as read_inbound

    async with opened_store() as store, store.reading() as session:
        found = await read_inbound(session, InboundName(inbound))
    if found is None:
        raise NotFound("inbound", inbound, hint="x3fleet inbounds list shows those that there are")
    show(Page(_document(found), tuple(_told(found))), output)
    return Exit.DONE


def node_grid(found: "tuple[InboundOnNode, ...]") -> Grid:
    """Tell how the declared inbounds of one node fare; used by `nodes show`."""
    return Grid(
        ("DECLARED INBOUND", "STATE", "INBOUND", "PORT", "TAG", "WHY"),
        tuple((one.name, *_fares(one)) for one in found),
    )


def on_node_document(one: "InboundOnNode") -> dict[str, Any]:
    """Make the JSON of a declared inbound on one node."""
    return {
        "name": one.name,
        "node": one.node,
        "state": one.state.value,
        "reason": one.reason or None,
        "message": one.message or None,
        "inbound": one.inbound_id,
        "protocol": one.protocol,
        "port": one.port,
        "tag": one.tag,
    }


def _document(one: "InboundDetail") -> dict[str, Any]:
    spec = one.spec
    return {
        "inbound": spec.name,
        "protocol": spec.protocol,
        "port": spec.port,
        "listen": spec.listen or None,
        "tag": spec.tag,
        "remark": spec.remark,
        "network": spec.network,
        "security": spec.security,
        "method": spec.method or None,
        "enable": spec.enable,
        "selector": dict(spec.labels),
        "deletion_policy": spec.deletion_policy.value,
        "source": one.source,
        "orphaned": one.orphaned,
        "nodes": [on_node_document(on) for on in one.nodes],
    }


def _row(one: "InboundDetail") -> tuple[Cell, ...]:
    spec = one.spec
    live = sum(on.state.value == "live" for on in one.nodes)
    why = "no manifest declares it" if one.orphaned else ""
    first = next((on for on in one.nodes if on.reason), None)
    if first is not None:
        why = f"{first.node}: {first.message}"
    policy = spec.deletion_policy.value
    return (
        spec.name, spec.protocol, spec.port, spec.security, len(one.nodes), live, policy, why,
    )  # fmt: skip


def _told(one: "InboundDetail") -> Iterator[Block]:
    spec = one.spec
    yield Text(f"{spec.name}: {spec.protocol}, port {spec.port}", Tone.HEAD)
    selector = ", ".join(f"{name}={value}" for name, value in spec.labels)
    yield Grid(
        ("FIELD", "VALUE"),
        (
            ("listens", f"{spec.listen or 'on every address'}, port {spec.port}"),
            ("stream", f"{spec.network}, {spec.security}"),
            ("tag, remark", f"{spec.tag}, {spec.remark}"),
            ("nodes", selector or "every node"),
            ("when it vanishes", spec.deletion_policy.value),
            ("declared by", "no manifest any more" if one.orphaned else one.source or "hand"),
        ),
    )
    yield Grid(
        ("NODE", "STATE", "INBOUND", "PORT", "TAG", "WHY"),
        tuple((on.node, *_fares(on)) for on in one.nodes),
        empty="no node carries its labels",
    )


def _fares(on: "InboundOnNode") -> tuple[Cell, ...]:
    state = Text(on.state.value, _TONES[on.state.value])
    number = "" if on.inbound_id is None else str(on.inbound_id)
    return state, number, on.port, on.tag, on.message
