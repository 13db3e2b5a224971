"""What one key used on one node, followed through counters that restart, repeat, jump and go.

A panel's counter is a hint like any answer: only its growth between two looks counts, and only growth
that a network could have carried. Nothing is ever counted twice; what a reset hides between two looks
is lost to nobody but the seller. Callers: the sampler, and the booking of what is finalised. Pure.

    the counter of a client        what follows
    -----------------------------  ----------------------------------------------------------------
    grew                           the growth was used
    fell, and is seen so again     a new base: it restarted, or a backup was restored
    is another row's               a new base: somebody created the client anew, or took that back
    fell, and is back at the next  an old answer: nothing happened
    shows for the first time       all of it was used; none, if we created the client just now
    grew faster than a network     a new base: the panel counted something else
    is gone, and that is proved    its mark goes, what was used stays
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

MOST_BPS = 1_250_000_000
"""10 Gbit/s, in bytes: what one node is believed to carry, in all."""
SLACK_S = 30.0
"""Panels bring their counters up to date every 5 to 10 s, and may be late."""


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of one client. `row`: the panel's id of it, 0 where nobody told."""

    up_bytes: int
    down_bytes: int
    row: int = 0

    @property
    def total_bytes(self) -> int:
        """Both directions, as quotas count them."""
        return self.up_bytes + self.down_bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A client's counter as far as it was counted; `fell`: a lower one seen once, not believed yet."""

    at: Counter
    fell: Counter | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one key used on one node in the paid period `period`.

    `base_bytes`: what the panel's counters of the key showed when the period began, for the panel's own
    limit. `counter_bytes`: what they show now, as far as it is believed. `booked_bytes`: used, and in no
    counter any more. `up_bytes`, `down_bytes`: what was used, by direction. `marks`: by email.
    """

    period: int = 1
    base_bytes: int = 0
    counter_bytes: int = 0
    booked_bytes: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    marks: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def used_bytes(self) -> int:
        """What counts against the quota."""
        return self.booked_bytes + max(0, self.counter_bytes - self.base_bytes)

    def in_period(self, period: int) -> "Usage":
        """The same counters in another paid period: what they show now is what it begins with."""
        if period == self.period:
            return self
        now = self.counter_bytes
        return Usage(period, base_bytes=now, counter_bytes=now, marks=self.marks)


def follow(
    usage: Usage,
    clients: Mapping[str, Counter],
    born: Iterable[str] = (),
    *,
    believed: bool = True,
) -> Usage:
    """Take what a look showed of a key's clients.

    A client that the look did not show keeps its mark: absence proves nothing.

    Args:
        usage: as stored, in the present period.
        clients: by email.
        born: emails that this turn created: what they show at once is nobody's use.
        believed: False where the node as a whole grew faster than a network: growth is a new base.
    """
    fresh = frozenset(born)
    for email, seen in clients.items():
        usage = _follow_one(usage, email, seen, is_new=email in fresh, believed=believed)
    return usage


def bury(usage: Usage, email: str, last: Counter) -> Usage:
    """Book a client that is proved gone, with the counter that the last look showed.

    What was used stays; what its counter held of the period's base goes with it.
    """
    usage = follow(usage, {email: last})
    shown = usage.marks[email].at.total_bytes
    counter = max(0, usage.counter_bytes - shown)
    base = min(usage.base_bytes - min(usage.base_bytes, shown), counter)
    marks = {other: mark for other, mark in usage.marks.items() if other != email}
    return _settle(replace(usage, marks=marks), usage.used_bytes, counter, base)


def most_bytes(elapsed_s: float) -> int:
    """What a node may have carried since it was sampled last."""
    return int(MOST_BPS * (elapsed_s + SLACK_S))


def _follow_one(usage: Usage, email: str, seen: Counter, *, is_new: bool, believed: bool) -> Usage:
    mark = usage.marks.get(email)
    if mark is None:
        mark = Mark(seen if is_new else _unmarked(usage, seen))
        usage = replace(
            usage,
            base_bytes=usage.base_bytes + (seen.total_bytes if is_new else 0),
            counter_bytes=usage.counter_bytes + (seen.total_bytes if is_new else 0),
        )
    elif (at_once := is_new or _is_another(mark.at, seen)) or _is_fallen(mark.at, seen):
        return _fall(usage, email, mark, seen, at_once=at_once, believed=believed)
    up, down = seen.up_bytes - mark.at.up_bytes, seen.down_bytes - mark.at.down_bytes
    if not believed:
        up = down = 0
    moved = seen.total_bytes - mark.at.total_bytes
    # Not `replace`: this runs for every key of a busy node.
    return Usage(
        usage.period,
        usage.base_bytes + moved - up - down,
        usage.counter_bytes + moved,
        usage.booked_bytes,
        usage.up_bytes + up,
        usage.down_bytes + down,
        {**usage.marks, email: Mark(seen)},
    )


def _unmarked(usage: Usage, seen: Counter) -> Counter:
    """The part of a counter that was counted before there were marks."""
    marked = sum(mark.at.total_bytes for mark in usage.marks.values())
    counted = min(max(0, usage.counter_bytes - marked), seen.total_bytes)
    up = min(counted, seen.up_bytes)
    return Counter(up, counted - up, seen.row)


def _is_fallen(before: Counter, seen: Counter) -> bool:
    return seen.up_bytes < before.up_bytes or seen.down_bytes < before.down_bytes


def _is_another(before: Counter, seen: Counter) -> bool:
    """Whether the panel counts the client in another row: created anew, or set back to before that.

    Also where the other row shows more: it may be the one that was counted before.
    """
    return 0 not in (before.row, seen.row) and before.row != seen.row


def _fall(
    usage: Usage, email: str, mark: Mark, seen: Counter, *, at_once: bool, believed: bool
) -> Usage:
    """A counter that is below its mark: believed at the second look, or when it is another's row."""
    if not at_once and (mark.fell is None or _is_fallen(mark.fell, seen)):
        return replace(usage, marks={**usage.marks, email: replace(mark, fell=seen)})
    since = seen if at_once or mark.fell is None or not believed else mark.fell
    grown = seen.total_bytes - since.total_bytes
    counter = usage.counter_bytes - mark.at.total_bytes + seen.total_bytes
    after = replace(
        usage,
        up_bytes=usage.up_bytes + seen.up_bytes - since.up_bytes,
        down_bytes=usage.down_bytes + seen.down_bytes - since.down_bytes,
        marks={**usage.marks, email: Mark(seen)},
    )
    return _settle(after, usage.used_bytes + grown, counter, min(usage.base_bytes, counter))


def _settle(usage: Usage, used: int, counter: int, base: int) -> Usage:
    """Put what was used where no counter can take it back."""
    return replace(
        usage, counter_bytes=counter, base_bytes=base, booked_bytes=used - max(0, counter - base)
    )
