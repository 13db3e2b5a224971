"""Disagreements inside the shop: payments, purchases, subscriptions, people, and whether keys were issued.

Callers: `queries.check`. Not here: where keys live, panels.
"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.queries.disagreements import Disagreement, Kind
from desired_state.store.convert_shop import payment_from
from desired_state.store.tables.desired import KeyRow, PersonRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow


async def check_shop(session: AsyncSession, now: datetime) -> list[Disagreement]:
    """Find what of the shop contradicts itself; in no order."""
    return [
        *await _payments(session),
        *await _purchases(session),
        *await _subscriptions(session, now),
        *await _bans(session),
    ]


async def _payments(session: AsyncSession) -> list[Disagreement]:
    query = select(PaymentRow).where(
        or_(PaymentRow.debt != "", PaymentRow.refund_asked_at.is_not(None))
    )
    return [one for row in await session.scalars(query) for one in _owed(row)]


def _owed(row: PaymentRow) -> Iterator[Disagreement]:
    payment = payment_from(row)
    subject = f"payment/{row.id}"
    if payment.is_refunded:
        return
    if payment.refund_asked_at is not None:
        told = f"its refund was decided on {payment.refund_asked_at:%Y-%m-%d}"
        yield Disagreement(
            Kind.REFUND_NOT_MADE,
            subject,
            f"{told}, and {row.provider} has not said that it is made",
        )
    elif payment.debt is not None:
        told = f"{row.amount_minor} minor units of {row.currency} came by {row.provider}"
        yield Disagreement(
            Kind.PAYMENT_WITHOUT_CREDIT,
            subject,
            f"{told} and credited nothing: {payment.debt.value}",
        )


async def _purchases(session: AsyncSession) -> list[Disagreement]:
    kept = await session.execute(
        select(PurchaseRow.id, PurchaseRow.keeps).where(PurchaseRow.keeps != "")
    )
    found = [
        Disagreement(Kind.REFUNDED_AND_KEPT, f"purchase/{name}", f"refunded, and kept: {why}")
        for name, why in kept
    ]
    paid = exists().where(PaymentRow.credited_id == PurchaseRow.id)
    unpaid = await session.execute(
        select(PurchaseRow.id, PurchaseRow.amount_minor, PurchaseRow.currency).where(
            PurchaseRow.fulfilled_at.is_not(None),
            PurchaseRow.taken_back_at.is_(None),
            PurchaseRow.amount_minor > 0,
            ~paid,
        )
    )
    found += [
        Disagreement(
            Kind.FULFILLED_WITHOUT_PAYMENT,
            f"purchase/{name}",
            f"it was given for {amount} {currency}, and no payment of that is known",
        )
        for name, amount, currency in unpaid
    ]
    return found


async def _subscriptions(session: AsyncSession, now: datetime) -> list[Disagreement]:
    """Find those in force that have no key; a quota that is used up is no reason for none.

    Where nobody paid, a key that was taken away is somebody's decision; so is one for nobody.
    """
    keys = exists().where(KeyRow.subscription_id == SubscriptionRow.id)
    bought = exists().where(
        PurchaseRow.subscription_id == SubscriptionRow.id,
        PurchaseRow.fulfilled_at.is_not(None),
        PurchaseRow.taken_back_at.is_(None),
    )
    query = select(SubscriptionRow.id, SubscriptionRow.tariff_name, bought).where(
        ~keys.where(KeyRow.deleted_at.is_(None)),
        or_(bought, ~keys & SubscriptionRow.person_id.is_not(None)),
        SubscriptionRow.banned.is_(False),
        or_(
            SubscriptionRow.valid_until.is_(None),
            SubscriptionRow.valid_until > now,
            SubscriptionRow.frozen_at.is_not(None),
        ),
    )
    return [
        Disagreement(
            Kind.PAID_WITHOUT_KEY if is_bought else Kind.SUBSCRIPTION_WITHOUT_KEY,
            f"subscription/{name}",
            f"it is in force, of tariff {tariff}, and has no key",
        )
        for name, tariff, is_bought in await session.execute(query)
    ]


async def _bans(session: AsyncSession) -> list[Disagreement]:
    query = (
        select(SubscriptionRow.id, PersonRow.id, SubscriptionRow.banned)
        .join(PersonRow, PersonRow.id == SubscriptionRow.person_id)
        .where(SubscriptionRow.banned != PersonRow.banned_at.is_not(None))
    )
    return [
        Disagreement(
            Kind.BAN_NOT_CARRIED,
            f"subscription/{name}",
            f"it says that person {person} is {'' if banned else 'not '}banned, and they are"
            f"{' not' if banned else ''}",
        )
        for name, person, banned in await session.execute(query)
    ]
