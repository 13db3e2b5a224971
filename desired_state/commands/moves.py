"""The rules of a move: what it may leave, and in which order.

Callers: `commands.keys.move`. Not here: choosing the new node, and waiting for the old one
(the scheduler and the controller do).
"""

from collections.abc import Iterable

from desired_state.commands.errors import Conflict
from desired_state.commands.nodes import find_node
from desired_state.commands.whereabouts import nodes_of_key, rows_of_nodes
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.node import Mode, Node
from desired_state.model.policy import MoveOrder, policy_for
from desired_state.model.tariff import NodeSelector
from desired_state.store.convert import node_from
from desired_state.store.policies import read_policies
from desired_state.store.tables.desired import KeyRow, MoveRow
from desired_state.store.unit_of_work import UnitOfWork


async def check_move(
    work: UnitOfWork,
    key: KeyRow,
    to: NodeName | NodeSelector,
    *,
    from_node: NodeName | None,
    order: MoveOrder | None,
) -> tuple[NodeName, ...]:
    """Find the nodes that the key leaves, sorted.

    Raises:
        NotFound: no such node.
        Conflict: see `commands.keys.move`.
    """
    lives = await nodes_of_key(work.session, KeyId(key.id))
    if from_node is not None and from_node not in lives:
        raise Conflict(f"key {key.id} does not live on {from_node}")
    nodes = [node_from(row) for row in await rows_of_nodes(work.session, lives)]
    leaves: tuple[NodeName, ...]
    if from_node is not None:
        leaves = (from_node,)
    elif isinstance(to, NodeSelector):
        leaves = tuple(node.name for node in nodes if not to.matches(node.spec.labels))
    else:
        leaves = lives
    if not isinstance(to, NodeSelector):
        await _check_target(work, key, to, lives, leaves)
    await _check_modes(work, key, (node for node in nodes if node.name in leaves), order)
    return leaves


def record_move(
    work: UnitOfWork,
    key: KeyRow,
    leaves: tuple[NodeName, ...],
    to: NodeName | NodeSelector,
    order: MoveOrder | None,
) -> None:
    """Record the choice: a row for each node that is left, or one that only says where to go."""
    target = None if isinstance(to, NodeSelector) else to
    nowhere = () if target is None else (None,)
    for source in leaves or nowhere:
        work.session.add(
            MoveRow(
                key_id=key.id, from_node=source, to_node=target,
                move_order=None if order is None else order.value,
                at=work.now, revision=key.revision,
            )
        )  # fmt: skip
    work.audit(
        "key_moved",
        f"key/{key.id}",
        leaves=list(leaves),
        to=target or dict(key.selector_labels),
        order=order,
    )


async def _check_target(
    work: UnitOfWork,
    key: KeyRow,
    to: NodeName,
    lives: tuple[NodeName, ...],
    leaves: tuple[NodeName, ...],
) -> None:
    if (await find_node(work, to)).orphaned:
        raise Conflict(f"node {to} is orphaned: no manifest declares it any more")
    if to in lives:
        raise Conflict(f"key {key.id} lives on {to} already")
    if len(leaves) > 1:
        raise Conflict(
            f"key {key.id} lives on several nodes: {', '.join(leaves)}",
            hint="say which one it leaves",
        )


async def _check_modes(
    work: UnitOfWork, key: KeyRow, leaving: Iterable[Node], order: MoveOrder | None
) -> None:
    policies = await read_policies(work.session)
    for node in leaving:
        chosen = order or policy_for(policies, node.spec.labels).move_order
        if chosen is MoveOrder.DELETE_FIRST and node.mode is not Mode.ENFORCE:
            raise Conflict(
                f"key {key.id} cannot leave {node.name} delete-first: "
                f"its mode {node.mode.value} forbids deletes",
                hint="ask for create-first, or set the mode to enforce",
            )
