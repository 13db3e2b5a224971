"""Rebalance: the fewest moves that bring every node within 10 % of its fair share.

Called by `place` where a person asked for it or the policy wants it by itself. Moves go on in steps: no
node loses more at a time than its guard lets pass, and the fleet no more than its share. Not here: fair
shares (`shares`), drains, failover.

    1. nodes above their range give to nodes below theirs, then to those below their share
    2. nodes below their range take from those above their share
    3. where no key of the one may live on the other, over nodes in between
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.tariff import Labels
from desired_state.scheduling.rooms import Rooms
from desired_state.scheduling.shares import Movable, Share


@dataclass(frozen=True, slots=True, order=True)
class Shift:
    """One key is to move."""

    key: KeyId
    source: NodeName
    target: NodeName


@dataclass(slots=True)
class _Floor:
    """Who stands where while shifts are found.

    `homes`: nodes that a key cannot go to: it is there, or leaves it. `stays`: movable keys by node and
    selector. `moved`: by key and where it was at first.
    """

    rooms: Rooms
    shares: dict[NodeName, Share]
    counts: dict[NodeName, int]
    homes: dict[KeyId, frozenset[NodeName]]
    closed: frozenset[NodeName]
    stays: dict[NodeName, dict[Labels, dict[tuple[KeyId, NodeName], Movable]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    moved: dict[tuple[KeyId, NodeName], Shift] = field(default_factory=dict)

    def above(self, name: NodeName) -> int:
        """How many keys more than its share a node holds."""
        return self.counts[name] - self.shares[name].fair

    def improves(self, source: NodeName, target: NodeName) -> bool:
        """Whether a key taken off the source and placed anew would rather go to the target.

        Without this, nodes that are equally loaded would pass a key round.
        """
        give, take = self.rooms.by_name[source].scale, self.rooms.by_name[target].scale
        return take.rank(self.counts[target])[:3] < give.rank(self.counts[source] - 1)[:3]

    def find(self, source: NodeName, target: NodeName) -> Movable | None:
        """Return a key of the source that may live on the target."""
        if target in self.closed:
            return None
        carries = set(self.rooms.by_name[target].state.node.spec.labels)
        nowhere: frozenset[NodeName] = frozenset()
        for labels, some in self.stays[source].items():
            if some and set(labels) <= carries:
                for one in reversed(some.values()):
                    if target not in self.homes.get(one.key, nowhere):
                        return one
        return None

    def put(self, one: Movable) -> None:
        """Let a movable key stand on its node."""
        self.stays[one.node].setdefault(one.labels, {})[one.key, one.origin] = one

    def shift(self, one: Movable, target: NodeName) -> None:
        """Move one key; one that moves on goes there directly."""
        del self.stays[one.node][one.labels][one.key, one.origin]
        self.put(replace(one, node=target))
        self.moved[one.key, one.origin] = Shift(one.key, one.origin, target)
        self.counts[one.node] -= 1
        self.counts[target] += 1
        # What it leaves for good it cannot come back to within the same rebalance.
        homes = self.homes.get(one.key, frozenset()) | {one.origin, target}
        self.homes[one.key] = homes - ({one.node} - {one.origin})


def find_shifts(
    rooms: Rooms,
    shares: dict[NodeName, Share],
    movable: Iterable[Movable],
    counts: Mapping[NodeName, int],
    *,
    tied: Mapping[KeyId, frozenset[NodeName]],
    closed: frozenset[NodeName] = frozenset(),
) -> tuple[Shift, ...]:
    """Find the moves that bring nodes into their ranges, as far as keys may move.

    Args:
        rooms: what shares were found in.
        shares: of every node.
        movable: placements that may move.
        counts: keys of each node now.
        tied: nodes that a key is on, or is leaving, of keys that have several.
        closed: nodes that take no key now.

    Returns:
        Sorted by key; at most one a placement.
    """
    present = {name: counts.get(name, 0) for name in shares}
    floor = _Floor(rooms, shares, present, dict(tied), closed)
    for one in sorted(movable, key=lambda one: (one.key, one.node), reverse=True):
        floor.put(one)
    _give(floor, lambda name: floor.shares[name].least)
    _give(floor, lambda name: floor.shares[name].fair)
    _take(floor)
    _pass_on(floor)
    return tuple(sorted(floor.moved.values()))


def _give(floor: _Floor, wanted: Callable[[NodeName], int]) -> None:
    takers = sorted(floor.shares, key=lambda name: (floor.above(name), name))
    for source in sorted(floor.shares, key=lambda name: (-floor.above(name), name)):
        most = floor.shares[source].most
        for target in takers:
            if floor.counts[source] <= most:
                break
            while floor.counts[source] > most and floor.counts[target] < wanted(target):
                if not _move_one(floor, source, target):
                    break


def _take(floor: _Floor) -> None:
    givers = sorted(floor.shares, key=lambda name: (-floor.above(name), name))
    for target in sorted(floor.shares, key=lambda name: (floor.above(name), name)):
        least = floor.shares[target].least
        for source in givers:
            if floor.counts[target] >= least:
                break
            while floor.counts[target] < least and floor.above(source) > 0:
                if not _move_one(floor, source, target):
                    break


def _move_one(floor: _Floor, source: NodeName, target: NodeName) -> bool:
    if source == target or not floor.improves(source, target):
        return False
    found = floor.find(source, target)
    if found is None:
        return False
    floor.shift(found, target)
    return True


def _pass_on(floor: _Floor) -> None:
    """Reach nodes that no key of a giver may live on, by the shortest way over others."""
    for source in sorted(floor.shares):
        while floor.counts[source] > floor.shares[source].most:
            if not _walk(floor, source, lambda name: floor.above(name) < 0):
                break
    for source in sorted(floor.shares, key=lambda name: (-floor.above(name), name)):
        while floor.above(source) > 0:
            needy = frozenset(_needy(floor))
            if not needy or not _walk(floor, source, needy.__contains__):
                break


def _needy(floor: _Floor) -> Iterator[NodeName]:
    return (name for name, share in floor.shares.items() if floor.counts[name] < share.least)


def _walk(floor: _Floor, source: NodeName, ends: Callable[[NodeName], bool]) -> bool:
    """Move one key a step along the shortest way from a giver to a taker; False if there is none."""
    came: dict[NodeName, tuple[NodeName, Movable]] = {}
    todo = deque([source])
    while todo:
        here = todo.popleft()
        for name in floor.shares:
            if name == source or name in came:
                continue
            found = floor.find(here, name)
            if found is None:
                continue
            came[name] = (here, found)
            if ends(name) and floor.improves(source, name):
                _follow(floor, source, name, came)
                return True
            todo.append(name)
    return False


def _follow(
    floor: _Floor,
    source: NodeName,
    end: NodeName,
    came: dict[NodeName, tuple[NodeName, Movable]],
) -> None:
    while end != source:
        before, one = came[end]
        floor.shift(one, end)
        end = before
