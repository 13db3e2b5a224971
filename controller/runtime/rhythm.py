"""When a node is looked at again, and how urgently: one pure function over the turn that ended.

60 s while something is pending or drifted, 5 min when quiet, at once when time cut the turn short, by
the stored back-off when its panel did not answer. Every period has its own +-10 %, so that nodes do not
march in step. Callers: the loop. Not here: the back-off's own rule, clocks, queues.
"""

from dataclasses import dataclass

from controller.runtime.queue import Priority

FLOOR_S = 15.0
"""No node is looked at more often by itself, whatever its policy says of looks."""
FAILOVER_FLOOR_S = 5.0
"""Nor more often than this for a failover that is to be quick."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Periods in seconds. `jitter`: the part of each by which it is longer or shorter."""

    pending_s: float = 60.0
    quiet_s: float = 300.0
    jitter: float = 0.10


@dataclass(frozen=True, slots=True)
class Ended:
    """What of a turn decides about the next look.

    `goes_on`: something is left that can be done now. `settled`: in sync, nothing waits.
    `override_s`: the policy's own period. `failover_s`: how soon after its fall its keys are to live
    elsewhere; 0 or None: never. `due_s`: until something ends by its own date.
    `backoff_s`: until the next try of a panel that did not answer, jitter included; None: it did.
    """

    goes_on: bool = False
    settled: bool = True
    override_s: float | None = None
    failover_s: float | None = None
    due_s: float | None = None
    backoff_s: float | None = None


@dataclass(frozen=True, slots=True)
class NextLook:
    """When, and before whom."""

    after_s: float
    priority: Priority


def next_look(ended: Ended, rhythm: Rhythm, draw: float) -> NextLook:
    """Decide the next look at a node.

    Args:
        ended: the turn.
        rhythm: the fleet's periods.
        draw: random, from 0 up to 1.
    """
    if ended.backoff_s is not None:
        return NextLook(ended.backoff_s, Priority.RETRY)
    if ended.goes_on:
        return NextLook(0.0, Priority.RETRY)
    period_s = rhythm.quiet_s if ended.settled else rhythm.pending_s
    if ended.override_s is not None:
        period_s = max(ended.override_s, FLOOR_S)
    after_s = period_s * (1 - rhythm.jitter + 2 * rhythm.jitter * draw)
    if ended.failover_s:
        # Half of it: what nobody notices cannot be failed over.
        after_s = min(after_s, max(ended.failover_s / 2, FAILOVER_FLOOR_S))
    if ended.due_s is not None:
        # A second later: what is due by then is past.
        after_s = min(after_s, max(ended.due_s, 0.0) + 1.0)
    return NextLook(after_s, Priority.ROUTINE)
