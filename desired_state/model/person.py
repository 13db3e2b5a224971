"""A person: a human who buys, known by the number of their Telegram account or by nothing.

Callers: commands, queries. Not here: names, phones, addresses: none is ever stored.
"""

from dataclasses import dataclass
from datetime import datetime

from desired_state.model.ids import PersonId


@dataclass(frozen=True, slots=True)
class Person:
    """One human. `language`: "ru", "en" or "" for not known. `banned_at` None: not banned."""

    id: PersonId
    telegram_id: int | None
    language: str
    created_at: datetime
    banned_at: datetime | None = None
    ban_reason: str = ""

    @property
    def is_banned(self) -> bool:
        """Whether nothing is sold to them and none of their keys is served."""
        return self.banned_at is not None
