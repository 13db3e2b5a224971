"""A payment: what a provider says that somebody paid, and whether it credits the purchase it names.

Pure. One payment is one (provider, charge id). Callers: commands (record), queries.
Not here: providers' messages as they come, what a purchase gives.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from desired_state.model.ids import PaymentId, PurchaseId
from desired_state.model.purchase import Purchase, PurchaseState
from desired_state.model.quantities import Money


class Debt(StrEnum):
    """Why a payment was not credited: somebody is owed a key or their money."""

    NO_PURCHASE = "no-purchase"
    """It names no purchase, or one that is not known."""
    WRONG_AMOUNT = "wrong-amount"
    """Another amount or currency than the purchase's price."""
    PAID_ALREADY = "paid-already"
    """Another payment was credited to the purchase."""
    BANNED = "person-banned"
    NOT_DELIVERABLE = "not-deliverable"
    """What was ordered contradicts what is by now, as an extension of what has no end."""


class PaymentState(StrEnum):
    """What became of the money."""

    CREDITED = "credited"
    DEBT = "debt"
    REFUNDING = "refunding"
    """A person decided to give it back; the provider has not said that it did."""
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Payment:
    """One charge of one provider.

    `paid` None: only a refund of it was heard of so far. `refunded_minor`: given back in all, in minor
    units of the same currency. `credited`: the purchase that it paid for.
    """

    id: PaymentId
    provider: str
    charge: str
    recorded_at: datetime
    paid: Money | None = None
    purchase: PurchaseId | None = None
    credited: PurchaseId | None = None
    credited_at: datetime | None = None
    debt: Debt | None = None
    refund_asked_at: datetime | None = None
    refund_reason: str = ""
    refunded_minor: int = 0
    refunded_at: datetime | None = None

    @property
    def is_refunded(self) -> bool:
        """Whether all of it was given back."""
        if self.paid is None:
            return self.refunded_minor > 0
        return self.refunded_minor >= self.paid.amount_minor

    @property
    def state(self) -> PaymentState:
        """What became of the money; a partial refund changes nothing of that."""
        if self.is_refunded:
            return PaymentState.REFUNDED
        if self.refund_asked_at is not None:
            return PaymentState.REFUNDING
        return PaymentState.DEBT if self.credited is None else PaymentState.CREDITED


def judge(paid: Money, purchase: Purchase | None, *, banned: bool) -> Debt | None:
    """Decide whether a payment is credited to the purchase that it names; None: it is.

    Args:
        paid: what the provider says.
        purchase: as it is now; None where none was named, or there is none of that name.
        banned: whether its person is.
    """
    if purchase is None:
        return Debt.NO_PURCHASE
    if purchase.state is not PurchaseState.OPEN:
        return Debt.PAID_ALREADY
    if paid != purchase.price:
        return Debt.WRONG_AMOUNT
    return Debt.BANNED if banned else None
