"""Is there a node for what is about to be sold? Asked before anybody pays, where it can be known.

The answer is the scheduler's own, over what status says now. A moment later it may be another: then the
paid key waits, and is shown as what it is. Callers: `commands.purchases`. Not here: placing.
"""

from sqlalchemy import func, select

from desired_state.commands.errors import KeyUnschedulable
from desired_state.commands.whereabouts import nodes_of_key, rows_of_nodes
from desired_state.model.ids import KeyId, NodeName, SubscriptionId
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.rooms import Rooms
from desired_state.store.convert import node_from
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.status import PlacementRow
from desired_state.store.unit_of_work import UnitOfWork


async def require_room(work: UnitOfWork, nodes: NodeSelector) -> None:
    """Refuse to sell what no node can carry now.

    Raises:
        KeyUnschedulable: says why, node by node.
    """
    policies = await read_policies(work.session)
    rooms = Rooms(await read_node_states(work.session), policies, await _counts(work))
    if not rooms.pick(nodes.labels, 1, without=()):
        raise KeyUnschedulable(
            f"no node can carry such a key now: {rooms.say_why_none(nodes.labels)}",
            hint="x3fleet nodes list shows what they need",
        )


async def is_served_by(work: UnitOfWork, subscription: SubscriptionId, nodes: NodeSelector) -> bool:
    """Tell whether each key of a subscription lives on a node that the selector means already."""
    keys = await wanted_keys(work, subscription)
    for key in keys:
        lives = await nodes_of_key(work.session, KeyId(key.id))
        rows = await rows_of_nodes(work.session, lives)
        if not any(nodes.matches(node_from(row).spec.labels) for row in rows):
            return False
    return bool(keys)


async def wanted_keys(work: UnitOfWork, subscription: SubscriptionId) -> list[KeyRow]:
    """Return the keys of a subscription that are not revoked, by id."""
    query = select(KeyRow).where(
        KeyRow.subscription_id == subscription, KeyRow.deleted_at.is_(None)
    )
    return list(await work.session.scalars(query.order_by(KeyRow.id)))


async def _counts(work: UnitOfWork) -> dict[NodeName, int]:
    query = (
        select(PlacementRow.node, func.count())
        .where(PlacementRow.leaving.is_(None))
        .group_by(PlacementRow.node)
    )
    return {NodeName(node): int(count) for node, count in await work.session.execute(query)}
