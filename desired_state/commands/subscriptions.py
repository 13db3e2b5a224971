"""Subscriptions: create, extend, suspend, resume. Whether one is in force is derived, never stored.

Callers: entrances, `commands.keys`. Not here: money, what is written on panels.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.ids import draw_id
from desired_state.commands.whereabouts import nodes_of_keys
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import KeyId, SubscriptionId, TariffName
from desired_state.model.subscription import Subscription
from desired_state.store.convert import subscription_from, tariff_from
from desired_state.store.tables.desired import KeyRow, SubscriptionRow, TariffRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """The subscription as it is now (without its usage), and whether anything was changed."""

    subscription: Subscription
    changed: bool


async def create(
    work: UnitOfWork, tariff: TariffName, *, person: int | None = None
) -> Subscription:
    """Begin a subscription of a tariff now, with its days, quota and devices.

    Raises:
        NotFound: no such tariff.
        Conflict: the tariff is withdrawn.
    """
    return subscription_from(await add_subscription(work, tariff, person=person))


async def add_subscription(
    work: UnitOfWork, tariff: TariffName, *, person: int | None = None
) -> SubscriptionRow:
    """`create`, for commands that go on with its row.

    Raises:
        NotFound: no such tariff.
        Conflict: the tariff is withdrawn.
    """
    sold = tariff_from(await find_tariff(work, tariff))
    row = SubscriptionRow(
        id=draw_id(work.randomness), person_id=person, tariff_name=sold.name,
        valid_until=work.now + timedelta(days=sold.days), quota_bytes=sold.traffic_bytes,
        devices=sold.devices, suspended=False, suspended_reason="", period=1,
        period_started_at=work.now, created_at=work.now, revision=await work.revise(),
    )  # fmt: skip
    work.session.add(row)
    work.audit("subscription_created", f"subscription/{row.id}", tariff=sold.name, person=person)
    return row


async def extend(
    work: UnitOfWork, subscription: SubscriptionId, days: int, *, new_period: bool = False
) -> SubscriptionChange:
    """Add days: to the end of one in force, from now on to one that has expired.

    Args:
        work: the transaction.
        subscription: which one.
        days: at least 1.
        new_period: count traffic from zero; an expired one begins a new period in any case.

    Raises:
        NotFound: no such subscription.
        InvalidValue: less than a day.
        Conflict: the subscription has no end.
    """
    if days < 1:
        raise InvalidValue("days", f"{days} is less than one day")
    row = await find_subscription(work, subscription)
    if row.valid_until is None:
        raise Conflict(f"subscription {subscription} has no end")
    expired = row.valid_until <= work.now
    row.valid_until = max(row.valid_until, work.now) + timedelta(days=days)
    if expired or new_period:
        row.period += 1
        row.period_started_at = work.now
    return await _changed(
        work, row, "subscription_extended", days=days, until=row.valid_until.isoformat()
    )


async def suspend(
    work: UnitOfWork, subscription: SubscriptionId, *, reason: str = ""
) -> SubscriptionChange:
    """Switch every key of the subscription off until it is resumed.

    Raises:
        NotFound: no such subscription.
    """
    row = await find_subscription(work, subscription)
    if row.suspended:
        return SubscriptionChange(subscription_from(row), changed=False)
    row.suspended, row.suspended_reason = True, reason
    return await _changed(work, row, "subscription_suspended", reason=reason)


async def resume(work: UnitOfWork, subscription: SubscriptionId) -> SubscriptionChange:
    """Take a suspension back; expiry and quota count as before.

    Raises:
        NotFound: no such subscription.
    """
    row = await find_subscription(work, subscription)
    if not row.suspended:
        return SubscriptionChange(subscription_from(row), changed=False)
    row.suspended, row.suspended_reason = False, ""
    return await _changed(work, row, "subscription_resumed")


async def find_subscription(work: UnitOfWork, subscription: SubscriptionId) -> SubscriptionRow:
    """Return the row of a subscription.

    Raises:
        NotFound: no such subscription.
    """
    row = await work.session.get(SubscriptionRow, subscription)
    if row is None:
        raise NotFound("subscription", subscription)
    return row


async def find_tariff(work: UnitOfWork, tariff: TariffName) -> TariffRow:
    """Return the row of a tariff that is sold.

    Raises:
        NotFound: no such tariff.
        Conflict: it is withdrawn.
    """
    row = await work.session.get(TariffRow, tariff)
    if row is None:
        raise NotFound("tariff", tariff, hint="declare it in a manifest and apply that")
    if row.withdrawn:
        raise Conflict(f"tariff {tariff} is withdrawn: no manifest declares it any more")
    return row


async def _changed(
    work: UnitOfWork, row: SubscriptionRow, action: str, **detail: object
) -> SubscriptionChange:
    keys = await work.session.scalars(select(KeyRow.id).where(KeyRow.subscription_id == row.id))
    nodes = await nodes_of_keys(work.session, *(KeyId(key) for key in keys))
    row.revision = await work.revise(*nodes, scheduler=True)
    work.audit(action, f"subscription/{row.id}", **detail)
    return SubscriptionChange(subscription_from(row), changed=True)
