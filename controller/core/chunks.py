"""How wide the next bulk call may be, and how a plan's slice is cut into calls.

Kept per node in memory, part of no digest: a width is no decision about what is wanted.
Callers: reconcile. Not here: sending.
"""

from controller.core.effects import Outcome, Verdict

START = 500
WIDEST = 2_500
WITH_SUB_NODES = 30
"""A panel that drives sub-nodes takes another path above 32 members at once."""
_FAST_S = 2.0
_SLOW_S = 8.0
_BODY_BYTES = 4 * 2**20


def next_size(size: int, outcome: Outcome) -> int:
    """Double after a quick answer, halve after a slow one; never beyond 4 MiB of body.

    Larger calls are cheaper up to some thousand clients, since every write costs the panel as much as
    its inbound is long; but it cuts answers after 30 s.
    """
    if outcome.verdict is Verdict.UNKNOWN or outcome.duration_s > _SLOW_S:
        return max(1, size // 2)
    if outcome.verdict is not Verdict.APPLIED or outcome.duration_s > _FAST_S:
        return size
    if outcome.sent_bytes * 2 > _BODY_BYTES:
        return size
    return min(WIDEST, size * 2)
