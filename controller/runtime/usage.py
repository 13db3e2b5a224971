"""Booking the last counters of a client that is gone, so that no byte of a quota is lost.

Pure. Callers: `records`. Not here: sampling counters of living clients.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What one key used on one node, as `key_usage` keeps it."""

    period: int = 1
    base_bytes: int = 0
    counter_bytes: int = 0
    booked_bytes: int = 0


def book(usage: Usage, period: int, last_bytes: int) -> Usage:
    """Book a client's last counter; the next client of the key begins to count from 0.

    What was used stays equal: the part of the counter above its base moves to what is booked.

    Args:
        usage: as stored.
        period: the paid period of the subscription now; a new one forgets what was booked before.
        last_bytes: the counter, up and down together, that the last look showed.
    """
    if usage.period != period:
        # The counter as last seen is what the new period began with.
        usage = Usage(period, usage.counter_bytes, usage.counter_bytes, 0)
    covered = min(usage.base_bytes, last_bytes)
    return Usage(
        period=period,
        base_bytes=usage.base_bytes - covered,
        counter_bytes=max(0, usage.counter_bytes - last_bytes),
        booked_bytes=usage.booked_bytes + last_bytes - covered,
    )
