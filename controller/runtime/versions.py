"""Counters of what this process recorded, by which a cached reading is known to be outdated.

Desired state has its global revision in the database. Status is written by one controller alone, so
a count in memory tells as much: `records` and the scheduler's pass bump it, `reads` compares.
Not here: what was read.
"""

from collections import Counter

from desired_state.model.ids import NodeName


class StatusVersions:
    """How often status was written: by node, and where it may concern every node."""

    def __init__(self) -> None:
        self._everywhere = 0
        self.total = 0
        """How often anything was written."""
        self._nodes: Counter[NodeName] = Counter()

    def of(self, node: NodeName) -> tuple[int, int]:
        """Whatever this returned before is outdated when it returns something else."""
        return self._everywhere, self._nodes[node]

    def bump(self, node: NodeName) -> None:
        """Something that only this node's turns read was written."""
        self._nodes[node] += 1
        self.total += 1

    def note(self) -> None:
        """Something was written that turns do not read, and the scheduler's pass does."""
        self.total += 1

    def bump_all(self) -> None:
        """Something was written that turns of other nodes read: placements, usage, what is gone."""
        self._everywhere += 1
        self.total += 1
