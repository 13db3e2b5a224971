"""How long what is left will take: a pure rule over what was done lately and what guards let pass.

Callers: `queries.moves`. Not here: reading either.
"""

import math
from dataclasses import dataclass

RECENTLY_S = 600.0
"""What was done within this tells how fast a node works."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How many keys may leave nodes of the fleet: `room` now, `share` in every `window_s` seconds."""

    room: int
    share: int
    window_s: float


def estimate_s(left: int, done_recently: int, pace: Pace | None = None) -> float | None:
    """Estimate the seconds that something takes yet; None where nothing tells.

    Args:
        left: keys that are still to be worked on.
        done_recently: keys that were done within `RECENTLY_S`.
        pace: what holds it back, if anything does.
    """
    if left <= 0:
        return 0.0
    if pace is not None and left > pace.room:
        return math.ceil((left - pace.room) / max(1, pace.share)) * pace.window_s
    if done_recently <= 0:
        return None
    return left / done_recently * RECENTLY_S
