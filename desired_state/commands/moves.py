"""The rules of a move: what it may leave, and in which order.

Callers: `commands.keys.move`. Not here: choosing the new node (the scheduler does).
"""

from desired_state.commands.errors import Conflict
from desired_state.commands.nodes import find_node
from desired_state.commands.whereabouts import nodes_of_key, rows_of_nodes
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.node import Mode, Node
from desired_state.model.policy import MoveOrder
from desired_state.model.tariff import NodeSelector
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import KeyRow, MoveRow
from desired_state.store.unit_of_work import UnitOfWork


async def check_move(
    work: UnitOfWork, key: KeyRow, to: NodeName | NodeSelector, order: MoveOrder
) -> tuple[NodeName, ...]:
    """Find the nodes that the key leaves.

    Raises:
        NotFound: no such node.
        Conflict: see `commands.keys.move`.
    """
    placed = await nodes_of_key(work.session, KeyId(key.id))
    nodes = [node_from(row) for row in await rows_of_nodes(work.session, placed)]
    if isinstance(to, NodeSelector):
        # Where a selector leads is the scheduler's choice; a node that it matches may be kept.
        leaving = [node for node in nodes if not to.matches(node.spec.labels)]
    else:
        await _check_target(work, key, to, placed)
        leaving = nodes
    if order is MoveOrder.DELETE_FIRST:
        _check_modes(key, leaving)
    return tuple(node.name for node in leaving)


def record_move(
    work: UnitOfWork,
    key: KeyRow,
    leaves: tuple[NodeName, ...],
    to: NodeName | NodeSelector,
    order: MoveOrder,
) -> None:
    """Record the choice: one row for each node that is left, one in all where none is."""
    target = None if isinstance(to, NodeSelector) else to
    for source in leaves or (None,):
        work.session.add(
            MoveRow(
                key_id=key.id, from_node=source, to_node=target, move_order=order.value,
                at=work.now, revision=key.revision,
            )
        )  # fmt: skip
    work.audit("key_moved", f"key/{key.id}", leaves=list(leaves), to=target, order=order.value)


async def _check_target(
    work: UnitOfWork, key: KeyRow, to: NodeName, placed: tuple[NodeName, ...]
) -> None:
    if (await find_node(work, to)).orphaned:
        raise Conflict(f"node {to} is orphaned: no manifest declares it any more")
    if key.pinned_node is None and key.selector_count != 1:
        raise Conflict(
            f"key {key.id} lives on several nodes", hint="move it by a selector of labels instead"
        )
    if key.pinned_node == to or (key.pinned_node is None and placed == (to,)):
        raise Conflict(f"key {key.id} lives on {to} already")


def _check_modes(key: KeyRow, leaving: list[Node]) -> None:
    for node in leaving:
        if node.mode is not Mode.ENFORCE:
            raise Conflict(
                f"key {key.id} cannot leave {node.name} delete-first: "
                f"its mode {node.mode.value} forbids deletes",
                hint="ask for create-first, or set the mode to enforce",
            )
