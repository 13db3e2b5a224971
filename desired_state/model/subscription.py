"""A subscription: what a person bought, whether it is in force now, and what is left of it.

Callers: core (derives `enable`), queries, commands. Not here: money.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from desired_state.model.ids import SubscriptionId, TariffName


class EndedBy(StrEnum):
    """Why a subscription is not in force."""

    EXPIRY = "expired"
    QUOTA = "over-quota"
    PERSON = "disabled"
    """An operator froze it, or banned its person."""
    LOST = "subscription-lost"
    """Its subscription's row is missing: nobody's decision, so a guard counts these."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What was bought. None for `valid_until`, quota or devices: without limit.

    `used_bytes` is what its keys used on all nodes since the paid period began. `suspended`: frozen, by
    an operator or its person; `frozen_at`: since when its time stands still, None where it goes on.
    `banned`: its person is.
    """

    id: SubscriptionId
    tariff: TariffName
    valid_until: datetime | None = None
    quota_bytes: int | None = None
    devices: int | None = None
    suspended: bool = False
    used_bytes: int = 0
    lost: bool = False
    banned: bool = False
    frozen_at: datetime | None = None

    def ended_by(self, now: datetime) -> EndedBy | None:
        """Tell what keeps its keys switched off; None while it is in force."""
        if self.lost:
            return EndedBy.LOST
        if self.suspended or self.banned:
            return EndedBy.PERSON
        if self.valid_until is not None and now >= self.valid_until:
            return EndedBy.EXPIRY
        if self.quota_bytes is not None and self.used_bytes >= self.quota_bytes:
            return EndedBy.QUOTA
        return None

    def time_left(self, now: datetime) -> timedelta | None:
        """Tell how long it lasts still, never less than nothing; None: without end.

        The time of a frozen one stands still: what it had when it was frozen is what it has.
        """
        if self.valid_until is None:
            return None
        return max(timedelta(0), self.valid_until - (self.frozen_at or now))

    def days_left(self, now: datetime) -> int | None:
        """Tell the days that are left, a begun one as a whole: 0 only where no time is left at all.

        None: without end. There is no other way to say "not known" than not to have a subscription.
        """
        left = self.time_left(now)
        return None if left is None else -(-left // timedelta(days=1))

    def bytes_left(self) -> int | None:
        """Tell what is left of the quota, never less than nothing; None: without limit."""
        return None if self.quota_bytes is None else max(0, self.quota_bytes - self.used_bytes)
