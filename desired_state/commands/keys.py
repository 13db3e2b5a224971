"""Keys: issue, rotate, move, revoke. Each writes what is wanted; the controller makes it so.

A key's id and the seed of every generation are drawn here, before any panel hears of them. Where a
key lives is the scheduler's decision: whether any node can carry it is not asked here.
Callers: entrances, later purchases. Not here: credentials, placements, panels.
"""

from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.ids import draw_id
from desired_state.commands.moves import check_move, record_move
from desired_state.commands.nodes import find_node
from desired_state.commands.subscriptions import add_subscription, find_subscription, find_tariff
from desired_state.commands.whereabouts import nodes_of_keys
from desired_state.model.credentials import SEED_BYTES
from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.key import Key
from desired_state.model.policy import MoveOrder
from desired_state.model.subscription import Subscription
from desired_state.model.tariff import NodeSelector
from desired_state.store.convert import key_from, seed_place, subscription_from, tariff_from
from desired_state.store.tables.desired import KeyGenerationRow, KeyRow, SubscriptionRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Issued:
    """A key with its subscription. `repeated`: an earlier call with the same token issued it."""

    key: Key
    subscription: Subscription
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The key as it is now, and whether the command changed anything."""

    key: Key
    changed: bool


async def issue(
    work: UnitOfWork,
    tariff: TariffName,
    *,
    node: NodeName | None = None,
    subscription: SubscriptionId | None = None,
    token: str | None = None,
) -> Issued:
    """Issue a key of a tariff.

    Args:
        work: the transaction.
        tariff: what it is sold under; its selector is kept with the key.
        node: pins the key to one node, whatever the tariff selects.
        subscription: whose key it is; None makes one without a person, beginning now.
        token: the caller's own, so that issuing twice issues once.

    Raises:
        NotFound: no such tariff, node or subscription.
        Conflict: the tariff is withdrawn, the node orphaned, the subscription of another tariff, or
            the token stands for another key.
    """
    if token is not None and (known := await _issued(work, token)) is not None:
        return _repeat(known, tariff, node, subscription)
    sold = await find_tariff(work, tariff)
    if node is not None and (await find_node(work, node)).orphaned:
        raise Conflict(f"node {node} is orphaned: no manifest declares it any more")
    if subscription is None:
        owner = await add_subscription(work, tariff)
    else:
        owner = await find_subscription(work, subscription)
        if owner.tariff_name != tariff:
            raise Conflict(f"subscription {owner.id} is of tariff {owner.tariff_name}")
    row = await add_key(work, owner, tariff_from(sold).nodes, node=node, token=token)
    return Issued(key_from(row), subscription_from(owner))


async def add_key(
    work: UnitOfWork,
    owner: SubscriptionRow,
    selector: NodeSelector,
    *,
    node: NodeName | None = None,
    token: str | None = None,
) -> KeyRow:
    """`issue`, for commands that know the subscription; its tariff is not asked again."""
    row = KeyRow(
        id=draw_id(work.randomness), subscription_id=owner.id, generation=1,
        selector_labels=dict(selector.labels), selector_count=selector.count, pinned_node=node,
        token=token, deleted_at=None, reason="", created_at=work.now,
        revision=await work.revise(),
    )  # fmt: skip
    work.session.add(row)
    await _store_seed(work, row)
    work.audit(
        "key_issued", f"key/{row.id}", tariff=owner.tariff_name, subscription=owner.id, node=node
    )
    return row


async def rotate(work: UnitOfWork, key: KeyId, *, expected: Generation | None = None) -> KeyChange:
    """Give the key a new identity; the old generation is deleted first, on every node.

    Args:
        work: the transaction.
        key: which one.
        expected: the generation that the caller saw: when the key is beyond it, an earlier call of
            the same click rotated it already, and nothing is done.

    Raises:
        NotFound: no such key.
        Conflict: the key is revoked, or older than expected.
    """
    row = await _wanted(work, key)
    if expected is not None and row.generation > expected:
        return KeyChange(key_from(row), changed=False)
    if expected is not None and row.generation < expected:
        raise Conflict(f"key {key} is at generation {row.generation}, not {expected}")
    row.generation += 1
    row.revision = await work.revise(*await nodes_of_keys(work.session, key), scheduler=True)
    await _store_seed(work, row)
    work.audit("key_rotated", f"key/{key}", generation=row.generation)
    return KeyChange(key_from(row), changed=True)


async def move(
    work: UnitOfWork,
    key: KeyId,
    to: NodeName | NodeSelector,
    *,
    from_node: NodeName | None = None,
    order: MoveOrder | None = None,
) -> KeyChange:
    """Have the key live elsewhere.

    Args:
        work: the transaction.
        key: which one.
        to: a node (a pinned key is then pinned to it), or a selector, which replaces the key's own
            and takes a pin back: what it does not match is left.
        from_node: which node is left; needed where the key lives on several and `to` is a node.
        order: whether a gap or an overlap is preferred; None: as the policy of what is left says.

    Raises:
        NotFound: no such key or node.
        Conflict: the key is revoked, does not live on `from_node`, lives on several nodes and none
            was named, lives at `to` already, or would leave a node whose mode forbids deletes
            (delete-first only).
    """
    row = await _wanted(work, key)
    leaves = await check_move(work, row, to, from_node=from_node, order=order)
    if isinstance(to, NodeSelector):
        row.selector_labels, row.selector_count = dict(to.labels), to.count
        row.pinned_node = None
    elif row.pinned_node is not None:
        row.pinned_node = to
    nodes = await nodes_of_keys(work.session, key)
    row.revision = await work.revise(*nodes, scheduler=True)
    record_move(work, row, leaves, to, order)
    return KeyChange(key_from(row), changed=True)


async def revoke(work: UnitOfWork, key: KeyId, *, reason: str = "revoked") -> KeyChange:
    """Want the key nowhere any more. Its row stays until every generation of it is finalised.

    Raises:
        NotFound: no such key.
    """
    row = await _find(work, key)
    if row.deleted_at is not None:
        return KeyChange(key_from(row), changed=False)
    row.deleted_at, row.reason = work.now, reason
    row.revision = await work.revise(*await nodes_of_keys(work.session, key), scheduler=True)
    work.audit("key_revoked", f"key/{key}", reason=reason)
    return KeyChange(key_from(row), changed=True)


async def _store_seed(work: UnitOfWork, row: KeyRow) -> None:
    seed = await work.seal(work.randomness.draw(SEED_BYTES), seed_place(row.id, row.generation))
    work.session.add(
        KeyGenerationRow(key_id=row.id, generation=row.generation, seed=seed, created_at=work.now)
    )


async def _issued(work: UnitOfWork, token: str) -> tuple[KeyRow, Subscription] | None:
    row = await work.session.scalar(select(KeyRow).where(KeyRow.token == token))
    if row is None:
        return None
    owner = await find_subscription(work, SubscriptionId(row.subscription_id))
    return row, subscription_from(owner)


def _repeat(
    known: tuple[KeyRow, Subscription],
    tariff: TariffName,
    node: NodeName | None,
    subscription: SubscriptionId | None,
) -> Issued:
    row, owner = known
    if (
        owner.tariff != tariff
        or row.pinned_node != node
        or (subscription is not None and owner.id != subscription)
    ):
        raise Conflict("the token stands for a key that was issued otherwise")
    return Issued(key_from(row), owner, repeated=True)


async def _find(work: UnitOfWork, key: KeyId) -> KeyRow:
    row = await work.session.get(KeyRow, key)
    if row is None:
        raise NotFound("key", key, hint="x3fleet keys list shows them")
    return row


async def _wanted(work: UnitOfWork, key: KeyId) -> KeyRow:
    row = await _find(work, key)
    if row.deleted_at is not None:
        raise Conflict(f"key {key} is revoked", hint="issue a new one")
    return row
