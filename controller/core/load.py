"""How busy a node is: traffic and its host's CPU and memory, smoothed over looks.

Callers: the sampler, after a turn. Pure: the elapsed time is an argument. Not here: storing it, how much
each of these weighs (policy), keys as a share of capacity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from controller.core.observed import Observation
from desired_state.model.ids import InboundId

SMOOTHED_OVER_S = 300.0
"""Looks are 15 s to 5 min apart: with this, a short peak does not move keys, and an hour's load does."""
LEAST_RATE_BPS = 1_000
"""A slower traffic than this is nobody's load."""
RATE_STEP, SHARE_STEP = 0.10, 0.05
"""Smaller differences are not worth a write: the first is relative, the second of the whole."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a node carries. `traffic_rate_bps`: bytes a second, up and down; shares are parts of 1.

    None: the panel never said.
    """

    traffic_rate_bps: int = 0
    cpu_share: float | None = None
    memory_share: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The last measurement of a node. `at_s`: on the monotonic clock; `carried`: bytes by inbound."""

    at_s: float
    carried: Mapping[InboundId, int]
    load: Load


def measure(before: Measured | Load, look: Observation, at_s: float) -> Measured:
    """Measure a node by one more look.

    A counter that fell, or an inbound that is new, adds nothing: what it says began elsewhere.

    Args:
        before: the last measurement; for the first one what was stored, perhaps of an earlier process.
        look: the panel now.
        at_s: when, on the clock of `before`.
    """
    carried = {inbound.id: inbound.carried_bytes for inbound in look.inbounds}
    known = before if isinstance(before, Load) else before.load
    part, rate = 1.0, float(known.traffic_rate_bps)
    if isinstance(before, Measured):
        elapsed_s = max(at_s - before.at_s, 1.0)
        part = 1 - exp(-elapsed_s / SMOOTHED_OVER_S)
        grown = sum(
            max(0, size - before.carried[one])
            for one, size in carried.items()
            if one in before.carried
        )
        rate += part * (grown / elapsed_s - rate)
    load = Load(
        traffic_rate_bps=round(rate) if rate >= LEAST_RATE_BPS else 0,
        cpu_share=_smooth(known.cpu_share, look.host.cpu_share, part),
        memory_share=_smooth(known.memory_share, look.host.memory_share, part),
    )
    return Measured(at_s, carried, load)


def is_worth_storing(stored: Load, now: Load) -> bool:
    """Whether a load differs from the stored one by more than its noise."""
    rates = (stored.traffic_rate_bps, now.traffic_rate_bps)
    if abs(rates[0] - rates[1]) > RATE_STEP * max(rates):
        return True
    return _differs(stored.cpu_share, now.cpu_share) or _differs(
        stored.memory_share, now.memory_share
    )


def _smooth(before: float | None, seen: float | None, part: float) -> float | None:
    if seen is None:
        return before
    return round(seen if before is None else before + part * (seen - before), 4)


def _differs(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(before - now) >= SHARE_STEP
