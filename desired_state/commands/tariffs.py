"""Another tariff for a subscription: its quota, its devices, and where its keys live.

Callers: entrances, `commands.fulfilment`. Not here: prices, declaring tariffs (`commands.manifests`).
"""

from dataclasses import replace

from desired_state.commands.moves import check_move, record_move
from desired_state.commands.room import is_served_by, require_room, wanted_keys
from desired_state.commands.subscriptions import (
    SubscriptionChange,
    changed,
    find_subscription,
    find_tariff,
)
from desired_state.commands.tokens import is_repeat
from desired_state.model.ids import NodeName, SubscriptionId, TariffName
from desired_state.model.tariff import NodeSelector, Tariff
from desired_state.store.convert import selector_from, subscription_from, tariff_from
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.unit_of_work import UnitOfWork

Leaves = tuple[tuple[KeyRow, tuple[NodeName, ...]], ...]


async def change(
    work: UnitOfWork,
    subscription: SubscriptionId,
    tariff: TariffName,
    *,
    token: str | None = None,
) -> SubscriptionChange:
    """Give a subscription another tariff, for nothing: its end and what was used stay as they are.

    Raises:
        NotFound: no such subscription or tariff.
        Conflict: the tariff is withdrawn, a key cannot leave its node, or the token stands for
            another command.
        KeyUnschedulable: no node of the other tariff can carry its keys now.
    """
    row = await find_subscription(work, subscription)
    sold = tariff_from(await find_tariff(work, tariff))
    repeated = await is_repeat(work, token, f"tariff_changed:{tariff}", f"subscription/{row.id}")
    if repeated or row.tariff_name == tariff:
        return SubscriptionChange(subscription_from(row), changed=False)
    if not await is_served_by(work, subscription, sold.nodes):
        await require_room(work, sold.nodes)
    leaves = await check_tariff(work, row, sold.nodes)
    before = row.tariff_name
    give_tariff(row, sold)
    done = await changed(work, row, "tariff_changed", before=before, tariff=tariff)
    send_keys(work, row, sold.nodes, leaves)
    return done


async def check_tariff(work: UnitOfWork, row: SubscriptionRow, nodes: NodeSelector) -> Leaves:
    """Find which nodes the keys of a subscription would leave for another tariff; writes nothing.

    A key that is pinned stays where it is pinned to.

    Raises:
        Conflict: a node's mode forbids it.
    """
    leaves = []
    for key in await wanted_keys(work, SubscriptionId(row.id)):
        if key.pinned_node is None and selector_from(key) != nodes:
            left = await check_move(work, key, nodes, from_node=None, order=None)
            leaves.append((key, left))
    return tuple(leaves)


def give_tariff(row: SubscriptionRow, sold: Tariff) -> None:
    """Write what a tariff gives beside its time: quota and devices."""
    row.tariff_name, row.quota_bytes, row.devices = sold.name, sold.traffic_bytes, sold.devices


def send_keys(work: UnitOfWork, row: SubscriptionRow, nodes: NodeSelector, leaves: Leaves) -> None:
    """Have keys live where another tariff says; `leaves`: from `check_tariff`, before any write."""
    for key, left in leaves:
        key.selector_labels, key.selector_count = dict(nodes.labels), nodes.count
        key.revision = row.revision
        # `record_move` writes nothing but the audit where no node is left.
        record_move(work, key, left, replace(nodes), None)
