"""`x3fleet subscriptions trial|sell`: what a person gets for nothing, and what is to be paid.

Not here: the rules (`desired_state.commands.purchases`), recording what providers say (`cli.payments`).
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import unit_of_work
from cli.payments import minor, purchase_document
from cli.people import PersonOption, TelegramOption, TokenOption, find_or_meet
from cli.render import Output, OutputOption, Page, show
from desired_state.model.ids import PurchaseId, SubscriptionId, TariffName

if TYPE_CHECKING:
    from desired_state.commands.purchases import Ordered
    from desired_state.model.payment import Payment
    from desired_state.model.purchase import Purchase
    from desired_state.store.unit_of_work import UnitOfWork


async def trial(
    *,
    tariff: Annotated[str, Parameter(help="one that is declared as a trial")],
    person: PersonOption = None,
    telegram: TelegramOption = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Give a person a trial: a subscription with a key, once in their life."""
    from desired_state.commands.purchases import trial as give_trial

    async with unit_of_work() as work:
        who = await find_or_meet(work, person, telegram)
        ordered = await give_trial(work, who, TariffName(tariff), token=token)
    _show_ordered(ordered, None, output)
    return Exit.DONE


async def sell(
    *,
    tariff: Annotated[str, Parameter(help="what is bought")],
    currency: Annotated[str, Parameter(help="which of its prices is paid: RUB, XTR ...")],
    person: PersonOption = None,
    telegram: TelegramOption = None,
    subscription: Annotated[
        str | None, Parameter(help="which one gets more, or changes tariff; a new one if left out")
    ] = None,
    paid: Annotated[
        str | None, Parameter(help="you took the money: what you call this payment")
    ] = None,
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Order a tariff at its price; it is given when that is paid.

    Exits 2 when it was paid and could not be given: the payment stays as a debt.
    """
    from desired_state.commands.purchases import sell as order

    payment = None
    async with unit_of_work() as work:
        who = await find_or_meet(work, person, telegram)
        ordered = await order(
            work,
            who,
            TariffName(tariff),
            currency=currency,
            subscription=None if subscription is None else SubscriptionId(subscription),
            token=token,
        )
        if paid is not None:
            payment, ordered = await _take(work, ordered, paid)
    _show_ordered(ordered, payment, output)
    return Exit.DRIFT if payment is not None and payment.debt is not None else Exit.DONE


async def _take(work: "UnitOfWork", ordered: "Ordered", charge: str) -> "tuple[Payment, Ordered]":
    """Record that an operator took the money, in the transaction of the order."""
    from desired_state.commands.payments import BY_HAND, Charge, record
    from desired_state.commands.purchases import Ordered
    from desired_state.queries.payments import show_purchase

    purchase = ordered.purchase
    change = await record(work, Charge(BY_HAND, charge), purchase.price, PurchaseId(purchase.id))
    after = await show_purchase(work.session, purchase.id)
    return change.payment, Ordered(after or purchase, ordered.repeated)


def _show_ordered(ordered: "Ordered", payment: "Payment | None", output: Output) -> None:
    purchase = ordered.purchase
    document: dict[str, Any] = {
        **purchase_document(purchase),
        "repeated": ordered.repeated,
        "payment": None if payment is None else payment.id,
        "debt": None if payment is None or payment.debt is None else payment.debt.value,
    }
    if purchase.fulfilled_at is not None:
        line = _given(purchase)
    elif payment is not None:
        line = f"paid, and not given: {document['debt']}; x3fleet payments show {payment.id}"
    else:
        price = minor(purchase.price)
        line = f"purchase {purchase.id} waits for {price}; x3fleet payments record credits it"
    show(Page(document, (line,)), output)


def _given(purchase: "Purchase") -> str:
    kind, subscription = purchase.kind.value, purchase.subscription
    if purchase.taken_back_at is not None:
        return f"{kind}: subscription {subscription}; it was taken back since"
    follows = {
        "extension": "it is extended",
        "change": "its keys follow the new tariff",
    }.get(kind, "its key is on its way")
    return f"{kind}: subscription {subscription}; {follows}"
