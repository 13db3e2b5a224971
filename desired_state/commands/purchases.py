"""Purchases: a trial, an order with its price. What can be refused is refused before anybody pays.

Callers: entrances; `commands.payments` credits an order when it is paid. Not here: payments, what a
purchase gives (`commands.fulfilment`).
"""

from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.fulfilment import fulfil
from desired_state.commands.ids import draw_id
from desired_state.commands.people import find_customer
from desired_state.commands.room import is_served_by, require_room
from desired_state.commands.subscriptions import find_subscription, find_tariff
from desired_state.model.ids import PersonId, PurchaseId, SubscriptionId, TariffName
from desired_state.model.purchase import Purchase, PurchaseKind
from desired_state.model.quantities import Money
from desired_state.model.tariff import Tariff
from desired_state.store.convert import spec_to_json, tariff_from
from desired_state.store.convert_shop import purchase_from
from desired_state.store.tables.desired import SubscriptionRow
from desired_state.store.tables.shop import PurchaseRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Ordered:
    """A purchase as it is now. `repeated`: an earlier call with the same token made it."""

    purchase: Purchase
    repeated: bool = False


async def trial(
    work: UnitOfWork, person: PersonId, tariff: TariffName, *, token: str | None = None
) -> Ordered:
    """Give a person a trial: once in their life, for nothing.

    Args:
        work: the transaction.
        person: who tries.
        tariff: one that is declared as a trial.
        token: the caller's own, so that asking twice gives one, and the same answer.

    Raises:
        NotFound: no such person or tariff.
        PersonBanned: nothing is given to them.
        Conflict: they had one, the tariff is no trial or withdrawn, or the token stands for another
            purchase.
        KeyUnschedulable: no node can carry a key of it now.
    """
    if (known := await _known(work, token)) is not None:
        return _repeat(known, (person, tariff, PurchaseKind.TRIAL, ""))
    await find_customer(work, person)
    sold = tariff_from(await find_tariff(work, tariff))
    if not sold.trial:
        raise Conflict(f"tariff {tariff} is no trial", hint="sell it")
    had = select(PurchaseRow.id).where(
        PurchaseRow.person_id == person, PurchaseRow.kind == PurchaseKind.TRIAL.value
    )
    if await work.session.scalar(had.limit(1)) is not None:
        raise Conflict(f"person {person} had a trial already")
    await require_room(work, sold.nodes)
    row = await _add(work, person, sold, PurchaseKind.TRIAL, price=Money("", 0), token=token)
    await fulfil(work, row)
    return Ordered(purchase_from(row))


async def sell(
    work: UnitOfWork,
    person: PersonId,
    tariff: TariffName,
    *,
    currency: str,
    subscription: SubscriptionId | None = None,
    token: str | None = None,
) -> Ordered:
    """Order a tariff at its present price; it is given when a payment of exactly that is credited.

    Args:
        work: the transaction.
        person: who buys.
        tariff: what is bought.
        currency: which of its prices is paid.
        subscription: which one gets more of its tariff, or this one instead of its own; None: a new
            one with a key.
        token: the caller's own, so that ordering twice orders once.

    Raises:
        NotFound: no such person, tariff or subscription.
        PersonBanned: nothing is sold to them.
        Conflict: the tariff is a trial, withdrawn or without a price in the currency; the
            subscription is another person's or has no end; or the token stands for another purchase.
        KeyUnschedulable: no node can carry a key of it now.
    """
    asked = (person, tariff, currency, subscription)
    if (known := await _known(work, token)) is not None:
        return _repeat(known, asked)
    await find_customer(work, person)
    sold = tariff_from(await find_tariff(work, tariff))
    price = _price(sold, currency)
    owner = None if subscription is None else await _owned(work, subscription, person)
    kind = PurchaseKind.NEW
    if owner is not None:
        is_same = owner.tariff_name == tariff
        kind = PurchaseKind.EXTENSION if is_same else PurchaseKind.CHANGE
    if subscription is None or not await is_served_by(work, subscription, sold.nodes):
        await require_room(work, sold.nodes)
    row = await _add(work, person, sold, kind, price=price, token=token, subscription=subscription)
    if price.amount_minor == 0:
        await fulfil(work, row)
    return Ordered(purchase_from(row))


async def find_purchase(work: UnitOfWork, purchase: PurchaseId) -> PurchaseRow:
    """Return the row of a purchase.

    Raises:
        NotFound: no such purchase.
    """
    row = await work.session.get(PurchaseRow, purchase)
    if row is None:
        raise NotFound("purchase", purchase, hint="x3fleet payments list shows what was paid")
    return row


async def _add(
    work: UnitOfWork,
    person: PersonId,
    sold: Tariff,
    kind: PurchaseKind,
    *,
    price: Money,
    token: str | None,
    subscription: SubscriptionId | None = None,
) -> PurchaseRow:
    row = PurchaseRow(
        id=draw_id(work.randomness), kind=kind.value, person_id=person, tariff_name=sold.name,
        sold=spec_to_json(sold), amount_minor=price.amount_minor, currency=price.currency,
        subscription_id=subscription, token=token, created_at=work.now, keeps="",
        revision=await work.revise(wakes=False),
    )  # fmt: skip
    work.session.add(row)
    work.audit(
        "purchase_ordered", f"purchase/{row.id}", kind=kind.value, person=person,
        tariff=sold.name, amount_minor=price.amount_minor, currency=price.currency,
    )  # fmt: skip
    return row


async def _known(work: UnitOfWork, token: str | None) -> PurchaseRow | None:
    if token is None:
        return None
    return await work.session.scalar(select(PurchaseRow).where(PurchaseRow.token == token))


def _repeat(row: PurchaseRow, asked: tuple[object, ...]) -> Ordered:
    """Answer as before; of a purchase that made its subscription, none was named."""
    makes_one = row.kind in (PurchaseKind.NEW.value, PurchaseKind.TRIAL.value)
    named = None if makes_one else row.subscription_id
    known: tuple[object, ...] = (row.person_id, row.tariff_name, row.currency, named)
    if row.kind == PurchaseKind.TRIAL.value:
        known = (row.person_id, row.tariff_name, PurchaseKind.TRIAL, row.currency)
    if known != asked:
        raise Conflict("the token stands for another purchase")
    return Ordered(purchase_from(row), repeated=True)


def _price(sold: Tariff, currency: str) -> Money:
    if sold.trial:
        raise Conflict(f"tariff {sold.name} is a trial: it is given, not sold")
    for price in sold.prices:
        if price.currency == currency:
            return price
    known = ", ".join(price.currency for price in sold.prices) or "none at all"
    raise Conflict(f"tariff {sold.name} has no price in {currency}", hint=f"it has: {known}")


async def _owned(
    work: UnitOfWork, subscription: SubscriptionId, person: PersonId
) -> SubscriptionRow:
    row = await find_subscription(work, subscription)
    if row.person_id != person:
        raise Conflict(f"subscription {subscription} is not person {person}'s")
    if row.valid_until is None:
        raise Conflict(f"subscription {subscription} has no end: there is nothing to add")
    return row
