"""`x3fleet payments list|show|record|refund`: what was paid, for what, and what became of it.

Amounts are minor units, as providers write them. Not here: the rules (`desired_state.commands.payments`).
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, day, show
from desired_state.model.ids import PaymentId, PersonId, PurchaseId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from desired_state.commands.payments import PaymentChange
    from desired_state.model.payment import Payment
    from desired_state.model.purchase import Purchase
    from desired_state.model.quantities import Money
    from desired_state.queries.payments import PaymentView

State = Literal["credited", "debt", "refunding", "refunded"]
TONES = {"credited": Tone.GOOD, "debt": Tone.BAD, "refunding": Tone.WARN, "refunded": Tone.DIM}
WHY = {
    "no-purchase": "it names no purchase that is known",
    "wrong-amount": "it is not the price of its purchase",
    "paid-already": "its purchase was paid already",
    "person-banned": "who bought is banned",
    "not-deliverable": "what was bought cannot be given any more",
}


async def list_payments(
    *,
    state: Annotated[State | None, Parameter(help="only what became of this")] = None,
    person: Annotated[int | None, Parameter(help="only theirs")] = None,
    limit: Annotated[int, Parameter(help="how many at most, the newest first")] = 1_000,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """List payments, the newest first; exits 2 when one of those shown is a debt."""
    from desired_state.model.payment import PaymentState
    from desired_state.queries.payments import list_payments as read_payments

    async with opened_store() as store, store.reading() as session:
        found = await read_payments(
            session,
            person=None if person is None else PersonId(person),
            state=None if state is None else PaymentState(state),
            limit=limit,
        )
    document = {"payments": [payment_document(one) for one in found]}
    show(Page(document, (payment_grid(found),)), output)
    owed = any(one.payment.state is PaymentState.DEBT for one in found)
    return Exit.DRIFT if owed else Exit.DONE


async def show_payment(
    payment: Annotated[int, Parameter(name="PAYMENT", help="its number")],
    /,
    *,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Show one payment: what it was for, and what became of it."""
    from desired_state.commands.errors import NotFound
    from desired_state.queries.payments import show_payment as read_payment

    async with opened_store() as store, store.reading() as session:
        found = await read_payment(session, PaymentId(payment))
    if found is None:
        raise NotFound("payment", str(payment), hint="x3fleet payments list shows them")
    show(Page(payment_document(found), (payment_grid((found,)),)), output)
    return Exit.DONE


async def record(
    *,
    charge: Annotated[str, Parameter(help="what the provider calls it")],
    amount: Annotated[int, Parameter(help="in minor units: 29900 for 299.00")],
    currency: Annotated[str, Parameter(help="RUB, XTR, USDT ...")],
    provider: Annotated[str, Parameter(help="who took it; manual: you did")] = "manual",
    purchase: Annotated[str | None, Parameter(help="what it is for")] = None,
    refunded: Annotated[
        bool, Parameter(help="it is what was given back of the charge, in all")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Record what a provider says of a charge; however often, it is credited once.

    Exits 2 when it could not be credited: it stays as a debt.
    """
    from desired_state.commands.payments import Charge, record_refund
    from desired_state.commands.payments import record as record_payment
    from desired_state.model.payment import PaymentState
    from desired_state.model.quantities import Money
    from desired_state.queries.payments import show_payment as read_payment
    from desired_state.store.unit_of_work import UnitOfWork

    async def write(work: UnitOfWork) -> PaymentId:
        named, money = Charge(provider, charge), Money(currency, amount)
        if refunded:
            return (await record_refund(work, named, money)).payment.id
        meant = None if purchase is None else PurchaseId(purchase)
        return (await record_payment(work, named, money, meant)).payment.id

    async with unit_of_work() as work:
        number = await write(work)
        view = await read_payment(work.session, number)
    if view is None:
        raise AssertionError("a payment that was just recorded is there")
    show(Page(payment_document(view), (payment_grid((view,)),)), output)
    return Exit.DRIFT if view.payment.state is PaymentState.DEBT else Exit.DONE


async def refund(
    payment: Annotated[int, Parameter(name="PAYMENT", help="its number")],
    /,
    *,
    reason: Annotated[str, Parameter(help="shown to operators")] = "",
    token: Annotated[
        str | None, Parameter(help="of your own: the same command under it is done once")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Decide that a payment is given back, a debt too: what it bought is taken back at once.

    Exits 2 when that could not be taken back, for what was bought since.
    """
    from desired_state.commands.payments import refund as refund_payment
    from desired_state.queries.payments import show_payment as read_payment

    async with unit_of_work() as work:
        change = await refund_payment(work, PaymentId(payment), reason=reason, token=token)
        view = await read_payment(work.session, PaymentId(payment))
    keeps = "" if view is None or view.purchase is None else view.purchase.keeps
    document = {
        **money_document(change.payment),
        "changed": change.changed,
        "keeps": keeps or None,
    }
    show(Page(document, (_refunded(change, keeps),)), output)
    return Exit.DRIFT if keeps else Exit.DONE


# -- what is shown ---------------------------------------------------------------------------------


def payment_document(view: "PaymentView") -> dict[str, Any]:
    """Make the JSON of one payment with its purchase."""
    purchase, person = view.purchase, view.person
    return {
        **money_document(view.payment),
        "purchase": None if purchase is None else purchase_document(purchase),
        "person": None if person is None else person.id,
    }


def money_document(payment: "Payment") -> dict[str, Any]:
    """Make the JSON of a payment itself."""
    paid = payment.paid
    return {
        "payment": payment.id,
        "provider": payment.provider,
        "charge": payment.charge,
        "state": payment.state.value,
        "debt": payment.debt and payment.debt.value,
        "amount_minor": None if paid is None else paid.amount_minor,
        "currency": None if paid is None else paid.currency,
        "recorded_at": payment.recorded_at,
        "credited_at": payment.credited_at,
        "refund_asked_at": payment.refund_asked_at,
        "refund_reason": payment.refund_reason or None,
        "refunded_minor": payment.refunded_minor,
        "refunded_at": payment.refunded_at,
    }


def purchase_document(purchase: "Purchase") -> dict[str, Any]:
    """Make the JSON of a purchase."""
    return {
        "purchase": purchase.id,
        "kind": purchase.kind.value,
        "state": purchase.state.value,
        "person": purchase.person,
        "tariff": purchase.tariff,
        "amount_minor": purchase.price.amount_minor,
        "currency": purchase.price.currency or None,
        "subscription": purchase.subscription,
        "created_at": purchase.created_at,
        "fulfilled_at": purchase.fulfilled_at,
        "taken_back_at": purchase.taken_back_at,
        "keeps": purchase.keeps or None,
    }


def payment_grid(found: "Sequence[PaymentView]") -> Grid:
    """Make the table of payments."""
    return Grid(
        ("PAYMENT", "DAY", "PROVIDER", "MINOR UNITS", "PERSON", "SUBSCRIPTION", "STATE", "WHY"),
        tuple(_row(one) for one in found),
        empty="no payment",
    )


def _row(view: "PaymentView") -> tuple[Cell, ...]:
    payment, purchase = view.payment, view.purchase
    paid = payment.paid
    return (
        str(payment.id),
        day(payment.recorded_at),
        payment.provider,
        "" if paid is None else f"{paid.amount_minor} {paid.currency}",
        "" if view.person is None else str(view.person.id),
        (purchase and purchase.subscription) or "",
        Text(payment.state.value, TONES[payment.state.value]),
        WHY.get(payment.debt.value, "") if payment.debt else payment.refund_reason,
    )


def _refunded(change: "PaymentChange", keeps: str) -> str:
    payment = change.payment
    back = "given back" if payment.is_refunded else "to be given back by its provider"
    taken = "it had bought nothing"
    if payment.credited is not None:
        taken = "what was left of what it bought is taken back"
    if keeps:
        taken = f"what it bought stays: {keeps}"
    before = "" if change.changed else ", as was decided before"
    return f"payment {payment.id} is {back}{before}; {taken}"


def minor(money: "Money") -> str:
    """Write an amount so that nobody takes kopecks for roubles."""
    return f"{money.amount_minor} minor units of {money.currency}"
