"""Declared inbounds: what is declared, and how each fares on every node that is to have it.

Callers: entrances. Not here: inbounds that nobody declared (`queries.node`), declaring.
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import InboundId, InboundName, NodeName
from desired_state.model.inbound import InboundSpec, InboundState
from desired_state.store.convert import node_from, spec_from_json
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.inbounds import DeclaredInboundRow, ManagedInboundRow


@dataclass(frozen=True, slots=True)
class InboundOnNode:
    """A declared inbound on one node. `reason`, `message`: why it is not as declared; "" where it is.

    `inbound_id` None: no look has shown it. `tag`: as the panel has it.
    """

    name: InboundName
    node: NodeName
    state: InboundState
    reason: str
    message: str
    inbound_id: InboundId | None
    protocol: str
    port: int
    tag: str


@dataclass(frozen=True, slots=True)
class InboundDetail:
    """A declared inbound with every node that is to have it, or still has it; sorted by node."""

    spec: InboundSpec
    source: str
    orphaned: bool
    nodes: tuple[InboundOnNode, ...]


async def list_inbounds(session: AsyncSession) -> tuple[InboundDetail, ...]:
    """Read every declared inbound, sorted by name."""
    rows = await session.scalars(select(DeclaredInboundRow).order_by(DeclaredInboundRow.name))
    nodes = [node_from(row) for row in await session.scalars(select(NodeRow))]
    known: defaultdict[str, dict[str, ManagedInboundRow]] = defaultdict(dict)
    for managed in await session.scalars(select(ManagedInboundRow)):
        known[managed.name][managed.node] = managed
    found = []
    for row in rows:
        spec, on = spec_from_json(InboundSpec, row.spec), known[row.name]
        covered = {n.name for n in nodes if not row.orphaned and spec.covers(n.spec.labels)}
        names = sorted(covered | {NodeName(node) for node in on})
        fares = tuple(_on_node(spec, name, on.get(name)) for name in names)
        found.append(InboundDetail(spec, row.source, row.orphaned, fares))
    return tuple(found)


async def show_inbound(session: AsyncSession, name: InboundName) -> InboundDetail | None:
    """Read one; None when it is not declared."""
    found = await list_inbounds(session)
    return next((one for one in found if one.spec.name == name), None)


async def inbounds_of(session: AsyncSession, node: NodeName) -> tuple[InboundOnNode, ...]:
    """Read how every declared inbound of one node fares, sorted by name."""
    found = await list_inbounds(session)
    return tuple(on for one in found for on in one.nodes if on.node == node)


def _on_node(spec: InboundSpec, node: NodeName, row: ManagedInboundRow | None) -> InboundOnNode:
    if row is None:
        return InboundOnNode(
            spec.name, node, InboundState.PENDING, "", "", None, spec.protocol, spec.port, spec.tag
        )
    return InboundOnNode(
        name=spec.name,
        node=node,
        state=InboundState(row.state),
        reason=row.reason,
        message=row.message,
        inbound_id=None if row.inbound_id is None else InboundId(row.inbound_id),
        protocol=row.protocol or spec.protocol,
        port=row.port or spec.port,
        tag=row.tag or spec.tag,
    )
