"""Subscriptions: create, extend, freeze, unfreeze. Whether one is in force is derived, never stored.

Callers: entrances, `commands.keys`, `commands.fulfilment`. Not here: money, another tariff
(`commands.tariffs`), what is written on panels.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.ids import draw_id
from desired_state.commands.tokens import is_repeat
from desired_state.commands.whereabouts import nodes_of_keys
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import KeyId, SubscriptionId, TariffName
from desired_state.model.subscription import Subscription
from desired_state.model.tariff import Tariff
from desired_state.store.convert import subscription_from, tariff_from
from desired_state.store.tables.desired import KeyRow, PersonRow, SubscriptionRow, TariffRow
from desired_state.store.tables.shop import PurchaseRow
from desired_state.store.unit_of_work import UnitOfWork

_MOST_DAYS = 36_500
"""A century: beyond it, dates end before the sum does."""


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
        NotFound: no such tariff or person.
        Conflict: the tariff is withdrawn.
    """
    sold = tariff_from(await find_tariff(work, tariff))
    return await begin_subscription(work, sold, person=person)


async def begin_subscription(
    work: UnitOfWork, sold: Tariff, *, person: int | None
) -> SubscriptionRow:
    """Begin a subscription of a tariff as it was sold, whatever became of the tariff since.

    Raises:
        NotFound: no such person.
    """
    owner = None if person is None else await work.session.get(PersonRow, person)
    if person is not None and owner is None:
        raise NotFound("person", str(person))
    row = SubscriptionRow(
        id=draw_id(work.randomness), person_id=person, tariff_name=sold.name,
        valid_until=work.now + timedelta(days=sold.days), quota_bytes=sold.traffic_bytes,
        devices=sold.devices, suspended=False, suspended_reason="", frozen_at=None,
        banned=owner is not None and owner.banned_at is not None, period=1,
        period_started_at=work.now, created_at=work.now, revision=await work.revise(),
    )  # fmt: skip
    work.session.add(row)
    work.audit("subscription_created", f"subscription/{row.id}", tariff=sold.name, person=person)
    return row


async def extend(
    work: UnitOfWork,
    subscription: SubscriptionId,
    days: int,
    *,
    new_period: bool = False,
    token: str | None = None,
) -> SubscriptionChange:
    """Add days: to the end of one in force, from now on to one that has expired.

    Args:
        work: the transaction.
        subscription: which one.
        days: at least 1.
        new_period: count traffic from zero; an expired one begins a new period in any case.
        token: the caller's own, so that adding twice adds once.

    Raises:
        NotFound: no such subscription.
        InvalidValue: less than a day, or more than a century.
        Conflict: the subscription has no end, or the token stands for another command.
    """
    if not 1 <= days <= _MOST_DAYS:
        raise InvalidValue("days", f"{days} is not between 1 and {_MOST_DAYS}")
    row = await find_subscription(work, subscription)
    what = f"subscription_extended:{days}{':new-period' if new_period else ''}"
    if await is_repeat(work, token, what, f"subscription/{subscription}"):
        return SubscriptionChange(subscription_from(row), changed=False)
    add_time(work, row, timedelta(days=days), new_period=new_period)
    until = "" if row.valid_until is None else row.valid_until.isoformat()
    return await changed(work, row, "subscription_extended", days=days, until=until)


def add_time(
    work: UnitOfWork, row: SubscriptionRow, time: timedelta, *, new_period: bool = False
) -> bool:
    """Add time; an expired one begins a new period. Tells whether one was begun.

    Raises:
        Conflict: the subscription has no end.
    """
    if row.valid_until is None:
        raise Conflict(f"subscription {row.id} has no end")
    # The time of a frozen one stands still: it expires when it is unfrozen, or not at all.
    present = row.frozen_at or work.now
    begins = new_period or row.valid_until <= present
    row.valid_until = max(row.valid_until, present) + time
    if begins:
        row.period += 1
        row.period_started_at = work.now
    return begins


async def freeze(
    work: UnitOfWork, subscription: SubscriptionId, *, reason: str = "", token: str | None = None
) -> SubscriptionChange:
    """Switch every key of the subscription off and let its time stand still, until `unfreeze`.

    Raises:
        NotFound: no such subscription.
        Conflict: it has expired, or the token stands for another command.
    """
    row = await find_subscription(work, subscription)
    repeated = await is_repeat(work, token, "subscription_frozen", f"subscription/{subscription}")
    if repeated or row.suspended:
        return SubscriptionChange(subscription_from(row), changed=False)
    if row.valid_until is not None and row.valid_until <= work.now:
        raise Conflict(f"subscription {subscription} has expired: it has no time to keep")
    row.suspended, row.suspended_reason, row.frozen_at = True, reason, work.now
    return await changed(work, row, "subscription_frozen", reason=reason)


async def unfreeze(
    work: UnitOfWork, subscription: SubscriptionId, *, token: str | None = None
) -> SubscriptionChange:
    """Serve its keys again, with all the time that it had when it was frozen; quota counts as before.

    Raises:
        NotFound: no such subscription.
        Conflict: the token stands for another command.
    """
    row = await find_subscription(work, subscription)
    repeated = await is_repeat(work, token, "subscription_unfrozen", f"subscription/{subscription}")
    if repeated or not row.suspended:
        return SubscriptionChange(subscription_from(row), changed=False)
    if row.valid_until is not None and row.frozen_at is not None:
        stood = work.now - row.frozen_at
        row.valid_until += stood
        await _put_off(work, row, row.frozen_at, stood)
    row.suspended, row.suspended_reason, row.frozen_at = False, "", None
    return await changed(work, row, "subscription_unfrozen")


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


async def _put_off(
    work: UnitOfWork, row: SubscriptionRow, since: datetime, stood: timedelta
) -> None:
    """Time that was bought and stood still ends later, for whoever takes it back."""
    bought = await work.session.scalars(
        select(PurchaseRow).where(
            PurchaseRow.subscription_id == row.id, PurchaseRow.gave_until > since
        )
    )
    for purchase in bought:
        if purchase.gave_until is not None:
            purchase.gave_until += stood


async def changed(
    work: UnitOfWork, row: SubscriptionRow, action: str, **detail: object
) -> SubscriptionChange:
    """Finish a change of a subscription: revision, wake-ups of its keys' nodes, audit."""
    keys = await work.session.scalars(select(KeyRow.id).where(KeyRow.subscription_id == row.id))
    nodes = await nodes_of_keys(work.session, *(KeyId(key) for key in keys))
    row.revision = await work.revise(*nodes, scheduler=True)
    work.audit(action, f"subscription/{row.id}", **detail)
    return SubscriptionChange(subscription_from(row), changed=True)
