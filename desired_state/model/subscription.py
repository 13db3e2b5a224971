"""A subscription: what a person bought, and whether it is in force now.

Callers: core (derives `enable`), queries, commands. Not here: money.
"""

from dataclasses import dataclass
from datetime import datetime
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

    `used_bytes` is what its keys used on all nodes since the paid period began.
    """

    id: SubscriptionId
    tariff: TariffName
    valid_until: datetime | None = None
    quota_bytes: int | None = None
    devices: int | None = None
    suspended: bool = False
    used_bytes: int = 0
    lost: bool = False

    def ended_by(self, now: datetime) -> EndedBy | None:
        """Tell what keeps its keys switched off; None while it is in force."""
        if self.lost:
            return EndedBy.LOST
        if self.suspended:
            return EndedBy.PERSON
        if self.valid_until is not None and now >= self.valid_until:
            return EndedBy.EXPIRY
        if self.quota_bytes is not None and self.used_bytes >= self.quota_bytes:
            return EndedBy.QUOTA
        return None
