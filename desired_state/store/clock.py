"""The two things that the store takes from outside: the time, and random bytes.

Callers: `store.unit_of_work`, which hands both to commands; tests pass frozen and seeded ones.
Not here: monotonic time, delays, the format of ids.
"""

import secrets
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class Randomness(Protocol):
    """Draws bytes that nobody can guess."""

    def draw(self, size: int) -> bytes:
        """That many random bytes."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment in UTC."""
        return datetime.now(UTC)


class SystemRandomness:
    """The machine's source of secrets."""

    def draw(self, size: int) -> bytes:
        """That many bytes of `secrets`."""
        return secrets.token_bytes(size)
