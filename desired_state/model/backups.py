"""Which backups are kept, and how far back tombstones must reach: pure rules.

Callers: the job that makes backups, retention of the journal. Not here: files, clocks.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

TOMBSTONES_LEAST = timedelta(days=30)
"""How long the journal remembers at least what was deleted."""
MARGIN = timedelta(days=1)
"""How much older than the oldest backup the journal remembers: clocks differ, and a delete takes time."""
AHEAD = timedelta(minutes=10)
"""Clocks of two machines may differ by so much: what is of a later moment was written by a wrong one."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many backups are kept: the newest, and the newest of so many days and weeks (of UTC)."""

    last: int = 3
    daily: int = 7
    weekly: int = 4

    @property
    def reach(self) -> timedelta:
        """How far back a folder reaches in which one a day is made; tombstones are kept as long anyway."""
        return max(timedelta(days=self.daily), timedelta(weeks=self.weekly), TOMBSTONES_LEAST)


def is_ahead(at: datetime, now: datetime) -> bool:
    """Tell whether a moment cannot have been yet: a clock that ran ahead wrote it."""
    return at > now + AHEAD


def kept(taken: Iterable[datetime], keep: Keep) -> frozenset[datetime]:
    """Choose which backups stay; the newest always does.

    Args:
        taken: of which moments backups are; aware.
        keep: how many.
    """
    newest = sorted(set(taken), reverse=True)
    stay = set(newest[: max(1, keep.last)])
    days: dict[Hashable, datetime] = {}
    weeks: dict[Hashable, datetime] = {}
    for moment in newest:
        utc = moment.astimezone(UTC)
        days.setdefault(utc.date(), moment)
        weeks.setdefault(utc.isocalendar()[:2], moment)
    stay.update(list(days.values())[: keep.daily])
    stay.update(list(weeks.values())[: keep.weekly])
    return frozenset(stay)


def tombstones_since(now: datetime, least: timedelta, oldest: datetime | None) -> datetime:
    """Tell which tombstones are still needed: those of clients deleted after this moment.

    A panel that is set back to the database it had when the oldest backup was made shows every client
    that was deleted since; only a tombstone says that it is to go again.

    Args:
        now: the moment.
        least: how long they are kept whatever backups there are.
        oldest: of which moment the oldest backup is that somebody can still restore; None: there is none.
    """
    since = now - least
    return since if oldest is None else min(since, oldest - MARGIN)
