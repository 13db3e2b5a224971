"""Payments and what they were for: every charge that was heard of, and what became of it.

A payment may name no purchase, a purchase may have no subscription: each is shown all the same. Callers:
entrances. Not here: what is wrong between them (`queries.check`).
"""

from dataclasses import dataclass

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import PaymentId, PersonId, PurchaseId
from desired_state.model.payment import Payment, PaymentState
from desired_state.model.person import Person
from desired_state.model.purchase import Purchase, PurchaseState
from desired_state.store.convert_shop import payment_from, person_from, purchase_from
from desired_state.store.tables.desired import PersonRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow

MOST = 1_000


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment, the purchase that it names, and who bought; None where nothing is known of them."""

    payment: Payment
    purchase: Purchase | None
    person: Person | None


async def list_payments(
    session: AsyncSession,
    *,
    person: PersonId | None = None,
    state: PaymentState | None = None,
    limit: int = MOST,
) -> tuple[PaymentView, ...]:
    """Read payments, the newest first.

    Args:
        session: any transaction.
        person: only theirs.
        state: only those of which this became.
        limit: how many at most.
    """
    query = _joined().order_by(PaymentRow.id.desc())
    if person is not None:
        query = query.where(PurchaseRow.person_id == person)
    if state in (PaymentState.DEBT, PaymentState.REFUNDING):
        # Nearly all are credited: what waits for somebody must not be sought among a million.
        query = query.where(or_(PaymentRow.debt != "", PaymentRow.refund_asked_at.is_not(None)))
    elif state is None:
        query = query.limit(limit)
    found = []
    for row in await session.execute(query):
        view = _view(*row)
        if state in (None, view.payment.state):
            found.append(view)
            if len(found) == limit:
                break
    return tuple(found)


async def show_payment(session: AsyncSession, payment: PaymentId) -> PaymentView | None:
    """Read one payment; None where there is none."""
    found = (await session.execute(_joined().where(PaymentRow.id == payment))).first()
    return None if found is None else _view(*found)


async def list_purchases(
    session: AsyncSession,
    *,
    person: PersonId | None = None,
    state: PurchaseState | None = None,
    limit: int = MOST,
) -> tuple[Purchase, ...]:
    """Read orders, the newest first: those that were never paid, too.

    Args:
        session: any transaction.
        person: only theirs.
        state: only those that came so far.
        limit: how many at most.
    """
    query = select(PurchaseRow).order_by(PurchaseRow.revision.desc(), PurchaseRow.id).limit(limit)
    if person is not None:
        query = query.where(PurchaseRow.person_id == person)
    taken_back = PurchaseRow.taken_back_at.is_not(None)
    fulfilled = PurchaseRow.fulfilled_at.is_not(None)
    if state is PurchaseState.TAKEN_BACK:
        query = query.where(taken_back)
    elif state is not None:
        wanted = fulfilled if state is PurchaseState.FULFILLED else ~fulfilled
        query = query.where(wanted, ~taken_back)
    return tuple([purchase_from(row) for row in await session.scalars(query)])


async def show_purchase(session: AsyncSession, purchase: PurchaseId) -> Purchase | None:
    """Read one purchase; None where there is none."""
    row = await session.get(PurchaseRow, purchase)
    return None if row is None else purchase_from(row)


def _joined() -> Select[PaymentRow, PurchaseRow, PersonRow]:
    return (
        select(PaymentRow, PurchaseRow, PersonRow)
        .outerjoin(PurchaseRow, PurchaseRow.id == PaymentRow.purchase_id)
        .outerjoin(PersonRow, PersonRow.id == PurchaseRow.person_id)
    )


def _view(
    payment: PaymentRow, purchase: PurchaseRow | None, person: PersonRow | None
) -> PaymentView:
    return PaymentView(
        payment_from(payment),
        None if purchase is None else purchase_from(purchase),
        None if person is None else person_from(person),
    )
