"""When a node that could not be looked at is tried again, and when it counts as recovered.

One value and one rule: this is the circuit breaker. `result` applies it at the end of a turn, it is
stored with the node's status, and it survives a restart. Callers: `core.result`; runtime reads the
moment. Not here: a clock, randomness, waiting.

    outcome of a turn   what follows
    ------------------  ---------------------------------------------------------------------
    clean               recovered: all is forgotten, but for how often it fell lately
    connected           answers again, and is not proved yet: failures stay, looks go on
    lost                5 s x 2^n, at most 15 min, of that a random part ("full jitter")
    permanent           a slow probe every 15 min: somebody has to correct something
    refused             never again by itself: five refusals lock the account
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from desired_state.model.ids import Revision
from desired_state.model.policy import Policy

FIRST_S = 5.0
LONGEST_S = 900.0
SLOW_S = 900.0
SLOW_JITTER_S = 90.0
"""Of the slow probe, so that a fleet whose certificates ended together is not probed in step."""
_DOUBLINGS = 10
"""More would exceed the cap many times over."""
FLAPS_WITHIN = timedelta(minutes=10)
"""A node that falls so soon after it recovered flaps."""
FIRST_PROBATION_S, LONGEST_PROBATION_S = 60.0, 600.0
CONFIRM_AFTER = timedelta(seconds=0.2)
"""The look that a failover waits for comes so long after it would be due, so that it counts in full."""
LATE_S = 60.0
"""A look may come so much later than the longest pause; more was no watch: the process stood still."""
_MOST_FLAPS = 5
"""From here on the probation grows no more."""


class Ended(StrEnum):
    """What a turn was to the health of its node."""

    CLEAN = "clean"
    """A whole cycle: looked, did what there was to do, and looked again where it wrote."""
    CONNECTED = "connected"
    """The panel answered; the cycle was cut short, or something in it failed."""
    LOST = "lost"
    PERMANENT = "permanent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a node fares. Holds nothing that changes by itself.

    `failures`: looks in a row that failed; 0 once recovered. `next_look_at`: not before; None: at the
    usual time, or, after refused credentials, never. `connected_at`: since when it answers again
    without being recovered. `recovered_at`: the last time it was. `flaps`: how often it fell soon after.
    `watched_s`: seconds for which a controller saw it fail, from look to look; stops of ours do not count.
    `tried_revision`: of desired state at the last look that failed; what is declared later is tried at once.
    """

    failures: int = 0
    next_look_at: datetime | None = None
    connected_at: datetime | None = None
    recovered_at: datetime | None = None
    flaps: int = 0
    watched_s: float = 0.0
    tried_revision: Revision = Revision(0)

    @property
    def is_failing(self) -> bool:
        """Whether it is not proved well since its last failure."""
        return self.failures > 0

    def left_s(self, now: datetime) -> float:
        """Seconds until the next look is due; never more than any back-off, whatever clocks did."""
        if self.next_look_at is None:
            return 0.0
        left = (self.next_look_at - now).total_seconds()
        return min(max(left, 0.0), SLOW_S + SLOW_JITTER_S)


def next_backoff(
    state: Backoff,
    ended: Ended,
    now: datetime,
    draw: float,
    not_before: datetime | None = None,
    *,
    watched_s: float = 0.0,
) -> Backoff:
    """Decide what a turn changes.

    Args:
        state: before it.
        ended: how it ended.
        now: when it ended.
        draw: random, from 0 up to 1.
        not_before: what the panel itself asked for; honoured up to the cap.
        watched_s: since the failed look before, if this controller made it; 0 otherwise.
    """
    match ended:
        case Ended.CLEAN | Ended.CONNECTED:
            return _answered(state, now, is_clean=ended is Ended.CLEAN)
        case Ended.REFUSED:
            if state.is_failing and state.next_look_at is None and state.connected_at is None:
                return state
            return _fallen(state, now, None, watched_s)
        case Ended.PERMANENT:
            pause_s = SLOW_S + SLOW_JITTER_S * (2 * draw - 1)
        case Ended.LOST:
            pause_s = draw * longest_pause_s(state.failures + 1)
    due = now + timedelta(seconds=pause_s)
    if not_before is not None:
        due = max(due, min(not_before, now + timedelta(seconds=LONGEST_S)))
    return _fallen(state, now, due, watched_s)


def confirm_before_failover(state: Backoff, policy: Policy, now: datetime) -> Backoff:
    """Bring the next look forward to the moment when it would have been watched for long enough.

    Args:
        state: of a node that is out of reach.
        policy: tells after how long its keys are placed elsewhere.
        now: the end of the last look.
    """
    left_s = policy.failover_after_s - state.watched_s
    if not policy.failover_after_s or state.next_look_at is None or left_s <= 0:
        return state
    confirm_at = now + timedelta(seconds=left_s) + CONFIRM_AFTER
    return replace(state, next_look_at=min(state.next_look_at, confirm_at))


def longest_pause_s(failures: int) -> float:
    """Return the longest pause after so many failures in a row; 5 s after the first."""
    return float(min(FIRST_S * 2 ** min(failures - 1, _DOUBLINGS), LONGEST_S))


def probation_s(flaps: int) -> float:
    """Return for how long a node has to answer before it counts as recovered; 0 after a first fall."""
    if flaps == 0:
        return 0.0
    return float(min(FIRST_PROBATION_S * 2 ** (flaps - 1), LONGEST_PROBATION_S))


def _fallen(state: Backoff, now: datetime, due: datetime | None, watched_s: float) -> Backoff:
    flaps = state.flaps
    if state.connected_at is not None:
        flaps += 1
    elif not state.is_failing:
        soon = state.recovered_at is not None and now - state.recovered_at < FLAPS_WITHIN
        flaps = flaps + 1 if soon else 0
    return Backoff(
        failures=state.failures + 1,
        next_look_at=due,
        recovered_at=state.recovered_at,
        flaps=min(flaps, _MOST_FLAPS),
        watched_s=_watched_s(state, watched_s),
    )


def _watched_s(state: Backoff, gap_s: float) -> float:
    """Add the time since the failed look before, as far as somebody may have waited for this one."""
    if not state.is_failing or state.connected_at is not None:
        return 0.0
    return state.watched_s + min(gap_s, SLOW_S + SLOW_JITTER_S + LATE_S)


def _answered(state: Backoff, now: datetime, *, is_clean: bool) -> Backoff:
    if not state.is_failing:
        return state
    # A clock that was set back must not make a probation longer.
    since = min(state.connected_at or now, now)
    if is_clean and (now - since).total_seconds() >= probation_s(state.flaps):
        return Backoff(recovered_at=now, flaps=state.flaps)
    return replace(state, next_look_at=None, connected_at=since, watched_s=0.0)
