"""A purchase: what somebody ordered at which price, and what it gave once it was paid.

Callers: commands, queries. Not here: payments (`payment`), what is written on panels.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from desired_state.model.ids import PersonId, PurchaseId, SubscriptionId, TariffName
from desired_state.model.quantities import Money

MOST_CARRIED = timedelta(days=36_500)
"""A century: prices may be so far apart that the dates would end before the sum does."""


class PurchaseKind(StrEnum):
    """What was ordered."""

    TRIAL = "trial"
    """A subscription for nothing, once a person."""
    NEW = "new"
    """A subscription of its own, with a key."""
    EXTENSION = "extension"
    """More time and traffic for a subscription, of the tariff that it has."""
    CHANGE = "change"
    """Another tariff for a subscription; what is left of the old one is carried over by its price."""


class PurchaseState(StrEnum):
    """How far a purchase came."""

    OPEN = "open"
    """Nothing was credited to it."""
    FULFILLED = "fulfilled"
    TAKEN_BACK = "taken-back"
    """What it gave was taken back, for a refund."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """One order. `subscription`: what it is for, or what it made; None before a new one is paid.

    `keeps`: why what it gave was not taken back though its payment was refunded; "" otherwise.
    """

    id: PurchaseId
    kind: PurchaseKind
    person: PersonId
    tariff: TariffName
    price: Money
    created_at: datetime
    subscription: SubscriptionId | None = None
    fulfilled_at: datetime | None = None
    taken_back_at: datetime | None = None
    keeps: str = ""

    @property
    def state(self) -> PurchaseState:
        """How far it came."""
        if self.taken_back_at is not None:
            return PurchaseState.TAKEN_BACK
        return PurchaseState.OPEN if self.fulfilled_at is None else PurchaseState.FULFILLED

    @property
    def is_free(self) -> bool:
        """Whether nobody has to pay for it."""
        return self.price.amount_minor == 0


def carry_over(left: timedelta, old: tuple[int, int], new: tuple[int, int]) -> timedelta:
    """Turn the time that is left of one tariff into time of another, by what a day of each costs.

    Integers only: whole seconds, rounded down. Where one of the two has no price in the currency of
    the purchase, nothing can be compared, and nothing is carried.

    Args:
        left: of the old tariff.
        old: its price in minor units and its days.
        new: the same of the new tariff, in the same currency.
    """
    (old_price, old_days), (new_price, new_days) = old, new
    if old_price <= 0 or new_price <= 0 or old_days <= 0:
        return timedelta(0)
    seconds = left // timedelta(seconds=1)
    carried = seconds * old_price * new_days // (old_days * new_price)
    return timedelta(seconds=min(carried, MOST_CARRIED // timedelta(seconds=1)))
