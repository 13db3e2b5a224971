"""The nodes while keys are being placed: how many each holds by now, and which is best.

Used by `place` alone, within one call. It changes as it is used, which keeps 100,000 keys over 1,000
nodes a matter of a second or two. Not here: what a key is owed.
"""

import heapq
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from desired_state.model.ids import NodeName
from desired_state.model.policy import Policy, policy_for
from desired_state.model.tariff import Labels
from desired_state.scheduling.eligible import (
    NodeState,
    Refusal,
    RefusedBy,
    refuse_node,
    render_labels,
)
from desired_state.scheduling.score import Rank, Scale, make_scale


@dataclass(slots=True, eq=False)
class Room:
    """One node and the keys that it holds by now. `refusal`: what keeps every new key off."""

    state: NodeState
    policy: Policy
    scale: Scale
    refusal: Refusal | None
    keys: int = 0

    @property
    def name(self) -> NodeName:
        """The node's name."""
        return self.state.node.name

    @property
    def is_full(self) -> bool:
        """Whether the keys that it holds by now fill it."""
        capacity = self.state.node.spec.capacity_keys
        return capacity is not None and self.keys >= capacity

    def refuse(self) -> Refusal | None:
        """Tell what keeps a key off now."""
        return self.refusal or refuse_node(self.state, self.policy, self.keys)


class Rooms:
    """All nodes, each with its count, and a queue of the best for each selector."""

    def __init__(
        self,
        nodes: Iterable[NodeState],
        policies: tuple[Policy, ...],
        counts: dict[NodeName, int],
    ) -> None:
        self.by_name: dict[NodeName, Room] = {}
        for state in sorted(nodes, key=lambda state: state.node.name):
            policy = policy_for(policies, state.node.spec.labels)
            self.by_name[state.node.name] = Room(
                state=state,
                policy=policy,
                scale=make_scale(state, policy.load),
                refusal=refuse_node(state, policy, keys=0),
                keys=counts.get(state.node.name, 0),
            )
        self._covered: dict[Labels, list[Room]] = {}
        self._queues: dict[Labels, list[tuple[Rank, NodeName]]] = {}

    def covered(self, labels: Labels) -> list[Room]:
        """Return the nodes that carry these labels, by name."""
        found = self._covered.get(labels)
        if found is None:
            wanted = set(labels)
            found = [r for r in self.by_name.values() if wanted <= set(r.state.node.spec.labels)]
            self._covered[labels] = found
        return found

    def pick(self, labels: Labels, count: int, without: Container[NodeName]) -> list[Room]:
        """Take the best nodes for one key, `count` at most, and count the key on each."""
        queue = self._queue(labels)
        picked: list[Room] = []
        aside: list[tuple[Rank, NodeName]] = []
        while queue and len(picked) < count:
            rank, name = queue[0]
            room = self.by_name[name]
            if room.is_full:
                heapq.heappop(queue)
                continue
            now = room.scale.rank(room.keys)
            if now != rank:
                # Another selector put keys here since: only now is it worth the trouble to re-sort.
                heapq.heapreplace(queue, (now, name))
            elif name in without or room in picked:
                aside.append(heapq.heappop(queue))
            else:
                room.keys += 1
                picked.append(room)
                heapq.heapreplace(queue, (room.scale.rank(room.keys), name))
        for entry in aside:
            heapq.heappush(queue, entry)
        return picked

    def forget_order(self) -> None:
        """Sort anew from now on: a node may have lost keys, and queues only notice gains."""
        self._queues.clear()

    def say_why_none(self, labels: Labels) -> str:
        """Say in one sentence why no node with these labels took a key."""
        covered = self.covered(labels)
        if not covered:
            return f"no node carries {render_labels(labels)}"
        whys = Counter(_why(room) for room in covered)
        parts = ", ".join(f"{number} {why}" for why, number in sorted(whys.items()))
        nodes = "node" if len(covered) == 1 else "nodes"
        return f"of {len(covered)} {nodes} for {render_labels(labels)}: {parts}"

    def _queue(self, labels: Labels) -> list[tuple[Rank, NodeName]]:
        queue = self._queues.get(labels)
        if queue is None:
            queue = [
                (room.scale.rank(room.keys), room.name)
                for room in self.covered(labels)
                if room.refusal is None
            ]
            heapq.heapify(queue)
            self._queues[labels] = queue
        return queue


_WHY = {
    RefusedBy.ORPHANED: "orphaned",
    RefusedBy.DRAINING: "draining",
    RefusedBy.UNSCHEDULABLE: "unschedulable",
    RefusedBy.PAUSED: "paused",
    RefusedBy.XRAY: "without a running Xray",
    RefusedBy.FULL: "full",
    RefusedBy.OVERLOADED: "overloaded",
}


def _why(room: Room) -> str:
    refusal = room.refuse()
    if refusal is None:
        return "holding or losing this key already"
    return _WHY.get(refusal.by) or refusal.message.removeprefix("is ")
