"""The one home of node configuration: declaring a node, overriding it, orphaning it.

Nothing else writes an address or a credential of a node. What the operator overrides stands beside
what a manifest declares and is never cleared by one; of two answers the stricter wins
(`model.node`). Callers: `commands.manifests`, entrances. Not here: reading a `NodeTarget`, panels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import AlreadyExists, Conflict, NotFound
from desired_state.commands.requests import ask
from desired_state.manifests.panel_url import parse_panel_url
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode, Node, NodeSpec, Recovery
from desired_state.model.request import RequestKind
from desired_state.store.convert import node_from, spec_from_json, spec_to_json
from desired_state.store.tables.backups import RecoveryRow
from desired_state.store.tables.desired import NodeRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class NodeChange:
    """The node as it is now, and whether the command changed anything."""

    node: Node
    changed: bool


async def declare(work: UnitOfWork, spec: NodeSpec, *, source: str = "") -> NodeChange:
    """Declare a node, or change what was declared; overrides stay as they are.

    Args:
        work: the transaction.
        spec: everything that is declared of it.
        source: the manifest source that declares it; "" by hand.

    Raises:
        Conflict: another source declares a node of this name.
        AlreadyExists: another node has the same panel.
    """
    rows = (await work.session.scalars(select(NodeRow))).all()
    others = [spec_from_json(NodeSpec, row.spec) for row in rows if row.name != spec.name]
    check_panels([*others, spec])
    return await write_node(work, spec, source=source)


async def write_node(work: UnitOfWork, spec: NodeSpec, *, source: str) -> NodeChange:
    """Declare a node whose panel was compared with the others' already: `declare` but for that.

    Raises:
        Conflict: another source declares a node of this name.
    """
    row = await work.session.get(NodeRow, spec.name)
    declared = spec_to_json(spec)
    if row is None:
        revision = await work.revise(spec.name, scheduler=True)
        row = NodeRow(
            name=spec.name, spec=declared, source=source, orphaned=False,
            paused=False, cordoned=False, draining=False, mode=None,
            recovery=await _recovery_of_new(work),
            created_at=work.now, changed_at=work.now, revision=revision,
        )  # fmt: skip
        work.session.add(row)
        work.audit("node_declared", f"node/{spec.name}", source=source)
        return NodeChange(node_from(row), changed=True)
    check_source(row, source)
    if (row.spec, row.orphaned, row.source) == (declared, False, source):
        return NodeChange(node_from(row), changed=False)
    row.spec, row.orphaned, row.source = declared, False, source
    return await _changed(work, row, "node_declared", source=source)


async def orphan(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Keep and show a node that nothing declares any more; no new key is placed there.

    Its keys stay, unless it was last declared with `deletionPolicy: Drain`: then they leave.

    Raises:
        NotFound: no such node.
    """
    row = await find_node(work, name)
    if row.orphaned:
        return NodeChange(node_from(row), changed=False)
    row.orphaned = True
    return await _changed(work, row, "node_orphaned")


async def pause(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Visit the node no more until it is resumed.

    Raises:
        NotFound: no such node.
    """
    return await _override(work, name, "node_paused", paused=True)


async def resume(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Visit the node again, and ask for one more try of credentials that it refused.

    Raises:
        NotFound: no such node.
    """
    change = await _override(work, name, "node_resumed", paused=False)
    await ask(work, RequestKind.RESUME, node=name)
    return change


async def cordon(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Place no new keys on the node; those that live there stay.

    Raises:
        NotFound: no such node.
    """
    return await _override(work, name, "node_cordoned", cordoned=True)


async def uncordon(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Place new keys on the node again, as far as its manifest allows, and end a drain.

    Raises:
        NotFound: no such node.
    """
    return await _override(work, name, "node_uncordoned", cordoned=False, draining=False)


async def drain(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Have every key leave the node.

    Raises:
        NotFound: no such node.
    """
    return await _override(work, name, "node_drained", draining=True)


async def undrain(work: UnitOfWork, name: NodeName) -> NodeChange:
    """Let keys stay on the node again, as far as its manifest allows; those that left do not come back.

    Raises:
        NotFound: no such node.
    """
    return await _override(work, name, "node_undrained", draining=False)


async def set_mode(work: UnitOfWork, name: NodeName, mode: Mode | None) -> NodeChange:
    """Override the mode; a laxer one than declared has no effect. None takes the override back.

    Raises:
        NotFound: no such node.
    """
    value = None if mode is None else mode.value
    return await _override(work, name, "node_mode_set", mode=value)


async def find_node(work: UnitOfWork, name: NodeName) -> NodeRow:
    """Return the row of a node.

    Raises:
        NotFound: no such node.
    """
    row = await work.session.get(NodeRow, name)
    if row is None:
        raise NotFound("node", name, hint="x3fleet nodes list shows those that are declared")
    return row


def check_panels(specs: Iterable[NodeSpec]) -> None:
    """Refuse two nodes with one panel: each would take the other's clients for strangers.

    Orphaned nodes count: their keys live on there.

    Raises:
        AlreadyExists: names both nodes.
    """
    owners: dict[tuple[str, int, str], NodeName] = {}
    for spec in specs:
        other = owners.setdefault(parse_panel_url(spec.url).panel, spec.name)
        if other != spec.name:
            raise AlreadyExists(
                f"nodes {other} and {spec.name} have the same panel",
                hint="declare a panel once; to rename a node, drain it under its old name first",
            )


def check_source(row: NodeRow, source: str) -> None:
    """Refuse to take a node away from the source that declares it.

    Raises:
        Conflict: names both sources.
    """
    if row.source != source and not row.orphaned:
        owner = f"the manifests of {row.source}" if row.source else "hand"
        raise Conflict(
            f"node {row.name} is declared by {owner}",
            hint="remove it there first: an orphaned node may be declared anew by anyone",
        )


async def _recovery_of_new(work: UnitOfWork) -> str:
    """Tell how a node begins: as careful as all others, while nobody has accepted a restored database."""
    waits = await work.session.scalar(
        select(RecoveryRow.id).where(RecoveryRow.accepted_at.is_(None)).limit(1)
    )
    return (Recovery.NONE if waits is None else Recovery.OBSERVE).value


async def _override(
    work: UnitOfWork, name: NodeName, action: str, **values: bool | str | None
) -> NodeChange:
    row = await find_node(work, name)
    changes = {field: value for field, value in values.items() if getattr(row, field) != value}
    if not changes:
        return NodeChange(node_from(row), changed=False)
    for field, value in changes.items():
        setattr(row, field, value)
    return await _changed(work, row, action, **changes)


async def _changed(work: UnitOfWork, row: NodeRow, action: str, **detail: object) -> NodeChange:
    row.revision = await work.revise(NodeName(row.name), scheduler=True)
    row.changed_at = work.now
    work.audit(action, f"node/{row.name}", **detail)
    return NodeChange(node_from(row), changed=True)
