"""Wall time that stands still until somebody moves it.

Callers: fakes and tests. Not here: sleeping, the monotonic clock.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """Time that moves only by `advance`; aware UTC."""

    now: datetime = START

    def advance(self, **parts: float) -> None:
        """Move on by `timedelta(**parts)`; backwards too, as a corrected clock does."""
        self.now += timedelta(**parts)

    def copy(self) -> "FakeClock":
        """Return a clock that shows the same time and moves by itself."""
        return FakeClock(self.now)
