"""Payments: each charge of a provider is one row and credits one purchase once, whatever is told again.

A provider's messages come twice, late, out of order or never; what they say of a charge is kept, and a
payment that cannot be credited stays as a visible debt. Messages are verified before they come here.
Callers: provider adapters, entrances. Not here: talking to providers, what a purchase gives.
"""

import re
from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound, PaymentRejected
from desired_state.commands.fulfilment import fulfil, take_back
from desired_state.commands.purchases import find_purchase
from desired_state.commands.tokens import is_repeat
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import PaymentId, PurchaseId
from desired_state.model.payment import Debt, Payment, judge
from desired_state.model.quantities import Money
from desired_state.store.convert_shop import payment_from, purchase_from
from desired_state.store.tables.desired import PersonRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.unit_of_work import UnitOfWork

BY_HAND = "manual"
"""The provider of money that an operator took or gave back; whoever says so has done it."""
_CURRENCY = re.compile(r"[A-Z]{3,8}")
_CHARGE = re.compile(r"[!-~]{1,200}")
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class Charge:
    """The name of a payment: who took the money, and what they call it."""

    provider: str
    id: str

    def __post_init__(self) -> None:
        if not _PROVIDER.fullmatch(self.provider):
            raise InvalidValue("provider", "lower-case letters, digits and dashes, 31 at most")
        if not _CHARGE.fullmatch(self.id):
            raise InvalidValue("charge", "1 to 200 visible characters")


@dataclass(frozen=True, slots=True)
class PaymentChange:
    """The payment as it is now, and whether the message or command changed anything."""

    payment: Payment
    changed: bool


async def record(
    work: UnitOfWork, charge: Charge, paid: Money, purchase: PurchaseId | None = None
) -> PaymentChange:
    """Record that a charge was paid, and credit the purchase that it is for.

    Said again, nothing is credited twice; a debt is tried again, as when its person was unbanned or the
    purchase is named only now.

    Args:
        work: the transaction.
        charge: which one.
        paid: how much.
        purchase: what it is for, as the order said to the provider; None or unknown: a debt.

    Raises:
        InvalidValue: no positive amount, or no currency.
        PaymentRejected: another amount, currency or purchase was recorded of the same charge.
    """
    if paid.amount_minor <= 0 or not _CURRENCY.fullmatch(paid.currency):
        raise InvalidValue("amount", "a positive number of minor units, and a currency as RUB")
    row = await _find(work, charge)
    known = None if purchase is None else await work.session.get(PurchaseRow, purchase)
    if row is None:
        row = await _add(work, charge)
    else:
        _check_same(row, paid, known)
        is_settled = row.credited_id is not None or row.refund_asked_at is not None
        if is_settled or (row.amount_minor is not None and payment_from(row).is_refunded):
            return PaymentChange(payment_from(row), changed=False)
    before = payment_from(row)
    row.amount_minor, row.currency = paid.amount_minor, paid.currency
    if known is not None:
        row.purchase_id = known.id
    if not payment_from(row).is_refunded:
        await _credit(work, row)
    if payment_from(row) == before:
        return PaymentChange(before, changed=False)
    row.revision = await work.revise(wakes=False)
    work.audit(
        "payment_credited" if row.credited_id else "payment_owed", _subject(row),
        amount_minor=paid.amount_minor, currency=paid.currency, purchase=row.purchase_id,
        named=purchase, debt=row.debt,
    )  # fmt: skip
    return PaymentChange(payment_from(row), changed=True)


async def record_refund(work: UnitOfWork, charge: Charge, refunded: Money) -> PaymentChange:
    """Record what a provider gave back of a charge; with the last of it, what was bought is taken back.

    Args:
        work: the transaction.
        charge: which one; it may be heard of here first.
        refunded: given back of it in all so far: told again or late, a smaller sum changes nothing.

    Raises:
        InvalidValue: no positive amount, or no currency.
        PaymentRejected: another currency, or more than was paid.
    """
    if refunded.amount_minor <= 0 or not _CURRENCY.fullmatch(refunded.currency):
        raise InvalidValue("amount", "a positive number of minor units, and a currency as RUB")
    row = await _find(work, charge)
    if row is None:
        row = await _add(work, charge)
        row.currency = refunded.currency
    if row.currency != refunded.currency:
        raise PaymentRejected(f"charge {charge.id} was paid in {row.currency}")
    if row.amount_minor is not None and refunded.amount_minor > row.amount_minor:
        raise PaymentRejected(f"more was given back of charge {charge.id} than was paid")
    if refunded.amount_minor <= row.refunded_minor:
        return PaymentChange(payment_from(row), changed=False)
    row.refunded_minor, row.refunded_at = refunded.amount_minor, work.now
    row.revision = await work.revise(wakes=False)
    work.audit("payment_refunded", _subject(row), refunded_minor=row.refunded_minor)
    if payment_from(row).is_refunded:
        await _take_back(work, row)
    return PaymentChange(payment_from(row), changed=True)


async def refund(
    work: UnitOfWork, payment: PaymentId, *, reason: str = "", token: str | None = None
) -> PaymentChange:
    """Decide that a payment is given back: what it bought is taken back at once.

    The provider does the rest and says so (`record_refund`); one that was taken by hand is given back by
    whoever decides.

    Raises:
        NotFound: no such payment.
        Conflict: nothing is known to be paid, or the token stands for another command.
    """
    row = await find_payment(work, payment)
    repeated = await is_repeat(work, token, "refund_asked", f"payment/{payment}")
    if repeated or row.refund_asked_at is not None or payment_from(row).is_refunded:
        return PaymentChange(payment_from(row), changed=False)
    if row.amount_minor is None:
        raise Conflict(f"nothing is known to be paid with payment {payment}")
    row.refund_asked_at, row.refund_reason = work.now, reason
    if row.provider == BY_HAND:
        row.refunded_minor, row.refunded_at = row.amount_minor, work.now
    row.revision = await work.revise(wakes=False)
    work.audit("refund_asked", _subject(row), reason=reason)
    await _take_back(work, row)
    return PaymentChange(payment_from(row), changed=True)


async def find_payment(work: UnitOfWork, payment: PaymentId) -> PaymentRow:
    """Return the row of a payment.

    Raises:
        NotFound: no such payment.
    """
    row = await work.session.get(PaymentRow, payment)
    if row is None:
        raise NotFound("payment", str(payment), hint="x3fleet payments list shows them")
    return row


async def _credit(work: UnitOfWork, row: PaymentRow) -> None:
    """Credit the purchase that a payment names, or say why not; never both."""
    purchase = (
        None if row.purchase_id is None else await work.session.get(PurchaseRow, row.purchase_id)
    )
    owner = None if purchase is None else await work.session.get(PersonRow, purchase.person_id)
    debt = judge(
        Money(row.currency, row.amount_minor or 0),
        None if purchase is None else purchase_from(purchase),
        banned=owner is not None and owner.banned_at is not None,
    )
    if debt is None and purchase is not None:
        try:
            await fulfil(work, purchase)
        except (Conflict, NotFound):
            debt = Debt.NOT_DELIVERABLE
        else:
            row.credited_id, row.credited_at = purchase.id, work.now
    row.debt = "" if debt is None else debt.value


async def _take_back(work: UnitOfWork, row: PaymentRow) -> None:
    if row.credited_id is not None:
        await take_back(work, await find_purchase(work, PurchaseId(row.credited_id)))


async def _find(work: UnitOfWork, charge: Charge) -> PaymentRow | None:
    return await work.session.scalar(
        select(PaymentRow).where(
            PaymentRow.provider == charge.provider, PaymentRow.charge == charge.id
        )
    )


async def _add(work: UnitOfWork, charge: Charge) -> PaymentRow:
    row = PaymentRow(
        provider=charge.provider, charge=charge.id, currency="", recorded_at=work.now, debt="",
        refund_reason="", refunded_minor=0, revision=await work.revise(wakes=False),
    )  # fmt: skip
    work.session.add(row)
    work.audit("payment_recorded", f"charge/{charge.provider}/{charge.id}")
    await work.session.flush()
    return row


def _check_same(row: PaymentRow, paid: Money, purchase: PurchaseRow | None) -> None:
    """Refuse what contradicts what is recorded; what was not known before contradicts nothing."""
    name = f"charge {row.charge} of {row.provider}"
    if row.currency != paid.currency:
        raise PaymentRejected(f"{name} was recorded in {row.currency}")
    if row.amount_minor not in (None, paid.amount_minor):
        raise PaymentRejected(f"{name} was recorded with {row.amount_minor} minor units")
    if row.refunded_minor > paid.amount_minor:
        raise PaymentRejected(f"more was given back of {name} than is said to be paid")
    if purchase is not None and row.purchase_id not in (None, purchase.id):
        raise PaymentRejected(f"{name} was recorded for purchase {row.purchase_id}")


def _subject(row: PaymentRow) -> str:
    return f"payment/{row.id}"
