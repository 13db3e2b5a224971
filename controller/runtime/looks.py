"""Which nodes this controller has seen well lately, and who waits for a look at which.

A client is taken off a node because its key lives elsewhere; whether it is served there, the last record of
that node cannot tell: nobody may have looked since. Written by the worker, read by the pass and by `reads`.
Not here: what is stored of a node, looking, deciding.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from controller.runtime.lease import Lease
from desired_state.model.ids import NodeName

FRESH_S = 15.0
"""A look that is older tells nothing of whether keys are served now."""
_ANOTHERS = datetime.max.replace(tzinfo=UTC)


class Elapsed(Protocol):
    """The monotonic clock."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class Looks:
    """Remembers the last good look at each node, in memory: none outlives its controller.

    Args:
        lease: tells which nodes are looked at here. Of another replica's, what is stored is believed.
        clock: by which a look grows old.
    """

    def __init__(self, lease: Lease, clock: Elapsed) -> None:
        self._lease = lease
        self._clock = clock
        self._seen: dict[NodeName, tuple[datetime, float]] = {}
        self._waiting: defaultdict[NodeName, set[NodeName]] = defaultdict(set)
        self._wanted: set[NodeName] = set()
        self._missed_s: dict[NodeName, float] = {}

    def turn_ended(self, node: NodeName, at: datetime | None) -> frozenset[NodeName]:
        """Note whether a turn saw its node well.

        Args:
            node: which one.
            at: all that was recorded until then was seen by its last look; None: it saw nothing.

        Returns:
            Nodes that are to have a turn: those that waited for this one, and those that it waits for.
        """
        freed: set[NodeName] = set()
        if at is None:
            self._seen.pop(node, None)
        else:
            self._seen[node] = at, self._clock.monotonic()
            self._missed_s.pop(node, None)
            freed = self._waiting.pop(node, freed)
        wanted, self._wanted = self._wanted, set()
        return frozenset(freed | wanted)

    def missed(self, node: NodeName) -> float:
        """Note the end of a look that failed; returns the seconds since the one before, 0 without one."""
        now_s = self._clock.monotonic()
        before_s = self._missed_s.get(node, now_s)
        self._missed_s[node] = now_s
        return now_s - before_s

    def seen_at(self, node: NodeName) -> datetime | None:
        """Until when what is recorded of a node was confirmed by a look that is recent; None: by none."""
        held = self._lease.nodes()
        if held is not None and node not in held:
            return _ANOTHERS
        at, since_s = self._seen.get(node, (None, 0.0))
        return None if self._clock.monotonic() - since_s > FRESH_S else at

    def wait_for(
        self, nodes: Iterable[NodeName], waiting: NodeName, asked: Iterable[NodeName]
    ) -> None:
        """Have a node told as soon as one of these others was seen well; `asked` are looked at for that."""
        for node in nodes:
            self._waiting[node].add(waiting)
        self._wanted.update(asked)
