"""What a purchase gives when it is paid, and what is taken back when that is refunded.

Both change the subscription in the transaction of their payment, so that a dead panel delays a key and
never loses it. Whatever can be refused is refused before the first write.
Callers: `commands.purchases`, `commands.payments`. Not here: prices, providers, panels.
"""

from datetime import timedelta

from sqlalchemy import select

from desired_state.commands.errors import CommandError, Conflict
from desired_state.commands.keys import add_key
from desired_state.commands.room import wanted_keys
from desired_state.commands.subscriptions import (
    add_time,
    begin_subscription,
    changed,
    find_subscription,
)
from desired_state.commands.tariffs import check_tariff, give_tariff, send_keys
from desired_state.model.ids import SubscriptionId
from desired_state.model.purchase import PurchaseKind, carry_over
from desired_state.model.tariff import Tariff
from desired_state.store.convert import spec_from_json, subscription_from, tariff_from
from desired_state.store.tables.desired import SubscriptionRow, TariffRow
from desired_state.store.tables.shop import PurchaseRow
from desired_state.store.unit_of_work import UnitOfWork


async def fulfil(work: UnitOfWork, purchase: PurchaseRow) -> SubscriptionRow:
    """Give what was bought: a subscription with a key, more of one, or another tariff for it.

    Raises:
        Conflict: it contradicts what the subscription is by now; nothing was changed.
    """
    sold = spec_from_json(Tariff, purchase.sold)
    if purchase.subscription_id is None:
        row = await begin_subscription(work, sold, person=purchase.person_id)
        purchase.gave_s, purchase.gave_until = sold.days * 86_400, row.valid_until
        purchase.gave_bytes = sold.traffic_bytes
        await work.session.flush()
        purchase.subscription_id = row.id
    else:
        row = await find_subscription(work, SubscriptionId(purchase.subscription_id))
        if row.valid_until is None:
            raise Conflict(f"subscription {row.id} has no end")
        if purchase.kind == PurchaseKind.CHANGE.value:
            await _exchange(work, purchase, row, sold)
        else:
            _lengthen(work, purchase, row, sold)
        await changed(work, row, "purchase_fulfilled", purchase=purchase.id)
    purchase.fulfilled_at, purchase.revision = work.now, await work.revise(wakes=False)
    if not await wanted_keys(work, SubscriptionId(row.id)):
        await add_key(work, row, sold.nodes)
    work.audit("purchase_fulfilled", f"purchase/{purchase.id}", subscription=row.id)
    return row


async def take_back(work: UnitOfWork, purchase: PurchaseRow) -> None:
    """Take back what is left of what a purchase gave, or say in `keeps` why that cannot be done."""
    if purchase.taken_back_at is not None or purchase.subscription_id is None:
        return
    row = await find_subscription(work, SubscriptionId(purchase.subscription_id))
    try:
        await _take(work, purchase, row)
    except CommandError as refused:
        purchase.keeps = refused.message
    else:
        purchase.taken_back_at, purchase.keeps = work.now, ""
        await changed(work, row, "purchase_taken_back", purchase=purchase.id)
    await work.revise(wakes=False)
    work.audit("purchase_taken_back", f"purchase/{purchase.id}", keeps=purchase.keeps)


def _lengthen(work: UnitOfWork, purchase: PurchaseRow, row: SubscriptionRow, sold: Tariff) -> None:
    """More time; what is in force gets more traffic to its own, what had expired begins anew."""
    begins = add_time(work, row, timedelta(days=sold.days))
    if begins or sold.traffic_bytes is None or row.quota_bytes is None:
        row.quota_bytes, row.devices = sold.traffic_bytes, sold.devices
    else:
        row.quota_bytes += sold.traffic_bytes
    purchase.gave_s, purchase.gave_until = sold.days * 86_400, row.valid_until
    purchase.gave_bytes = sold.traffic_bytes


async def _exchange(
    work: UnitOfWork, purchase: PurchaseRow, row: SubscriptionRow, sold: Tariff
) -> None:
    """Another tariff from now on; what was left of the old one is carried over by its price."""
    leaves = await check_tariff(work, row, sold.nodes)
    old = tariff_from(await work.session.get_one(TariffRow, row.tariff_name))
    left = subscription_from(row).time_left(work.now) or timedelta(0)
    carried = carry_over(
        left,
        (old.price_in(purchase.currency), old.days),
        (purchase.amount_minor, sold.days),
    )
    purchase.before = {
        "tariff": row.tariff_name, "quota_bytes": row.quota_bytes, "devices": row.devices,
    }  # fmt: skip
    given = carried + timedelta(days=sold.days) - left
    # Of what had expired, the part that is past counts for nothing.
    present = row.frozen_at or work.now
    row.valid_until = max(present, row.valid_until or present) + given
    row.period += 1
    row.period_started_at = work.now
    give_tariff(row, sold)
    row.revision = await work.revise(wakes=False)
    send_keys(work, row, sold.nodes, leaves)
    purchase.gave_s, purchase.gave_until = given // timedelta(seconds=1), row.valid_until
    purchase.gave_bytes = sold.traffic_bytes


async def _take(work: UnitOfWork, purchase: PurchaseRow, row: SubscriptionRow) -> None:
    """Take back what a purchase gave.

    Raises:
        Conflict: what was done since stands on it.
    """
    gave = timedelta(seconds=purchase.gave_s or 0)
    if row.valid_until is None or purchase.gave_until is None:
        raise Conflict(f"subscription {row.id} has no end by now")
    later = await _later(work, purchase)
    exchanges = purchase.before is not None
    if any(one.before is not None for one in later) or (exchanges and later):
        raise Conflict("something was bought since that stands on it")
    if exchanges:
        await _put_back(work, purchase, row)
        row.valid_until -= gave
        return
    unused = min(gave, purchase.gave_until - (row.frozen_at or work.now))
    if unused <= timedelta(0):
        return
    row.valid_until -= unused
    for one in later:
        # What was bought after it begins, and ends, so much earlier.
        if one.gave_until is not None:
            one.gave_until -= unused
    if purchase.gave_bytes is not None and row.quota_bytes is not None:
        row.quota_bytes = max(0, row.quota_bytes - purchase.gave_bytes)


async def _put_back(work: UnitOfWork, purchase: PurchaseRow, row: SubscriptionRow) -> None:
    """Undo a change of tariff.

    Raises:
        Conflict: it has another tariff by now, or a key cannot go back.
    """
    before = purchase.before or {}
    if row.tariff_name != purchase.tariff_name:
        raise Conflict(f"subscription {row.id} is of tariff {row.tariff_name} by now")
    old = tariff_from(await work.session.get_one(TariffRow, before["tariff"]))
    leaves = await check_tariff(work, row, old.nodes)
    give_tariff(row, old)
    row.quota_bytes, row.devices = before["quota_bytes"], before["devices"]
    row.revision = await work.revise(wakes=False)
    send_keys(work, row, old.nodes, leaves)


async def _later(work: UnitOfWork, purchase: PurchaseRow) -> list[PurchaseRow]:
    query = select(PurchaseRow).where(
        PurchaseRow.subscription_id == purchase.subscription_id,
        PurchaseRow.id != purchase.id,
        PurchaseRow.fulfilled_at.is_not(None),
        PurchaseRow.taken_back_at.is_(None),
        PurchaseRow.revision > purchase.revision,
    )
    return list(await work.session.scalars(query))
