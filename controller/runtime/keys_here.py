"""The keys of one node, for `ReadDesired`: placed ones, and those that its journal still holds.

Plain tuples in, core values out, four statements for any number of keys. Callers: `reads`. Not here:
seeds, rules; whether a key is in force is derived by the core.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, and_, bindparam, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.desired import KeyOnNode
from controller.runtime.tables import AT_ONCE, JOURNAL, KEY, KEY_USAGE, PLACEMENT, SUBSCRIPTION
from controller.runtime.usage_rows import USED_BYTES
from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.subscription import Subscription
from desired_state.store.journal_states import may_exist

_OF_KEY = (
    KEY.c.id, KEY.c.generation, KEY.c.deleted_at.is_not(None).label("revoked"),
    KEY.c.subscription_id, SUBSCRIPTION.c.id.label("found"), SUBSCRIPTION.c.tariff_name,
    SUBSCRIPTION.c.valid_until, SUBSCRIPTION.c.quota_bytes, SUBSCRIPTION.c.devices,
    # Frozen, or its person is banned: the same to a panel.
    or_(SUBSCRIPTION.c.suspended, SUBSCRIPTION.c.banned).label("off"), SUBSCRIPTION.c.period,
    KEY_USAGE.c.period.label("usage_period"),
    KEY_USAGE.c.base_bytes, KEY_USAGE.c.counter_bytes,
)  # fmt: skip
_WITH_OWNER = KEY.outerjoin(SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id).outerjoin(
    KEY_USAGE, and_(KEY_USAGE.c.key == KEY.c.id, KEY_USAGE.c.node == bindparam("node"))
)
_PLACED: Select[Any] = (
    select(*_OF_KEY, PLACEMENT.c.leaving, PLACEMENT.c.replaces)
    .select_from(PLACEMENT.join(_WITH_OWNER, PLACEMENT.c.key == KEY.c.id))
    .where(PLACEMENT.c.node == bindparam("node"))
)
_NAMED: Select[Any] = (
    select(*_OF_KEY).select_from(_WITH_OWNER).where(KEY.c.id.in_(bindparam("keys", expanding=True)))
)
_USED: Select[Any] = (
    select(KEY.c.subscription_id, func.sum(USED_BYTES))
    .select_from(
        KEY_USAGE.join(KEY, KEY.c.id == KEY_USAGE.c.key).join(
            SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id
        )
    )
    .where(KEY_USAGE.c.period == SUBSCRIPTION.c.period)
    .group_by(KEY.c.subscription_id)
)
_HERE = PLACEMENT.alias("here")
_KEY_HERE = KEY.alias("key_here")
_USED_HERE = _USED.where(
    KEY.c.subscription_id.in_(
        select(_KEY_HERE.c.subscription_id)
        .join(_HERE, _HERE.c.key == _KEY_HERE.c.id)
        .where(_HERE.c.node == bindparam("node"))
    )
)
_USED_BY = _USED.where(KEY.c.subscription_id.in_(bindparam("subscriptions", expanding=True)))
_HOLDING = (
    select(PLACEMENT.c.key)
    .where(
        PLACEMENT.c.node == bindparam("node"),
        PLACEMENT.c.replaces.is_not(None),
        exists().where(
            JOURNAL.c.node == PLACEMENT.c.replaces,
            JOURNAL.c.key == PLACEMENT.c.key,
            may_exist(JOURNAL.c.state),
        ),
    )
)  # fmt: skip
_HELD_ELSEWHERE = select(JOURNAL.c.key, JOURNAL.c.node).where(
    JOURNAL.c.key.in_(bindparam("keys", expanding=True)),
    may_exist(JOURNAL.c.state),
)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Placements that a plan takes for stored though they are not: `ended` have `leaving` set."""

    added: tuple[Placement, ...] = ()
    ended: tuple[Placement, ...] = ()

    def of(self, node: NodeName) -> "Overlay":
        """The part that concerns one node."""
        return Overlay(
            tuple(p for p in self.added if p.node == node),
            tuple(p for p in self.ended if p.node == node),
        )


NOTHING_MORE = Overlay()


@dataclass(slots=True)
class _Reading:
    """One reading: what is known by now. `names`: of keys, as the journal holds them already.

    `tariffs`, `quotas`: those that were met, so that subscriptions share them.
    """

    node: NodeName
    names: dict[str, KeyId] = field(default_factory=dict)
    tariffs: dict[str, TariffName] = field(default_factory=dict)
    quotas: dict[int | None, int | None] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    owners: dict[str, Subscription] = field(default_factory=dict)
    keys: dict[str, KeyOnNode] = field(default_factory=dict)

    def put(
        self,
        row: Sequence[Any],
        *,
        placed: bool,
        leaving: str | None = None,
        held_by: str | None = None,
    ) -> None:
        (key, generation, revoked, owner, found, tariff, until, quota, devices, suspended, period,
         usage_period, base, counter) = row[:14]  # fmt: skip
        subscription = self.owners.get(owner)
        if subscription is None:
            subscription = Subscription(
                SubscriptionId(owner),
                self.tariffs.setdefault(tariff or "", TariffName(tariff or "")),
                until,
                self.quotas.setdefault(quota, quota),
                devices,
                bool(suspended),
                self.used.get(owner, 0),
                found is None,
            )
            self.owners[owner] = subscription
        # A key that was revoked since the scheduler's last pass leaves at once.
        reason = leaving or (DeleteReason.REVOKED.value if revoked else None)
        self.keys[key] = KeyOnNode(
            self.names.get(key) or KeyId(key),
            Generation(generation),
            subscription,
            placed and reason is None,
            None if reason is None else DeleteReason(reason),
            None if held_by is None else NodeName(held_by),
            # In a new period, the counter as last seen is what it began with.
            (base if usage_period == period else counter) or 0,
        )


async def read_keys(
    connection: AsyncConnection,
    node: NodeName,
    journalled: Iterable[KeyId],
    overlay: Overlay = NOTHING_MORE,
) -> tuple[KeyOnNode, ...]:
    """Read every key that is placed on a node, leaves it, or has rows in its journal.

    Args:
        connection: in the transaction that the journal was read in.
        node: which one.
        journalled: keys of its journal's rows that are not gone.
        overlay: this node's part of placements that are not stored yet.

    Returns:
        Sorted by key.
    """
    here = {"node": node}
    reading = _Reading(node, {key: key for key in journalled})
    reading.used = {owner: int(used) for owner, used in await connection.execute(_USED_HERE, here)}
    rows = (await connection.execute(_PLACED, here)).all()
    holding: set[str] = set()
    if any(row[15] for row in rows):
        holding = set((await connection.execute(_HOLDING, here)).scalars())
    ended = {placement.key: placement for placement in overlay.ended}
    for row in rows:
        replaced = ended.get(row[0])
        leaving = row[14] if replaced is None or replaced.leaving is None else replaced.leaving
        held_by = row[15] if row[0] in holding else None
        reading.put(row, placed=leaving is None, leaving=leaving, held_by=held_by)
    await _read_named(connection, reading, reading.names.values(), overlay.added)
    return tuple(reading.keys[key] for key in sorted(reading.keys))


async def _read_named(
    connection: AsyncConnection,
    reading: _Reading,
    journalled: Iterable[KeyId],
    added: tuple[Placement, ...],
) -> None:
    """Read keys that no stored placement puts here."""
    new = {placement.key: placement for placement in added}
    names = [key for key in {*journalled, *new} if key not in reading.keys]
    held = await _held(connection, new)
    for some in _chunks(names):
        rows = (await connection.execute(_NAMED, {"node": reading.node, "keys": some})).all()
        owners = [row[3] for row in rows if row[3] not in reading.owners]
        for few in _chunks(owners):
            used = await connection.execute(_USED_BY, {"subscriptions": few})
            reading.used.update({owner: int(amount) for owner, amount in used})
        for row in rows:
            placement = new.get(row[0])
            held_by = held.get(row[0]) if placement is not None else None
            reading.put(row, placed=placement is not None, held_by=held_by)


async def _held(connection: AsyncConnection, new: dict[KeyId, Placement]) -> dict[str, str]:
    """Of placements that are not stored: which nodes still hold what they replace."""
    moved = {key: p.replaces for key, p in new.items() if p.replaces is not None}
    held: dict[str, str] = {}
    for some in _chunks(list(moved)):
        rows = await connection.execute(_HELD_ELSEWHERE, {"keys": some})
        held |= {key: node for key, node in rows if moved[key] == node}
    return held


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
