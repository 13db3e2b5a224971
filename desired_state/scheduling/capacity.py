"""How full nodes and groups of nodes are, when they will be, and whether the fleet should grow or shrink.

A group is every node with one value of a label. Pure: what is stored arrives as values. Callers:
`queries.capacity`, the alerts. Not here: where a single key goes (`place`), SQL.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from desired_state.model.ids import NodeName
from desired_state.model.policy import Policy, Scaling, policy_for
from desired_state.model.tariff import Labels

SECONDS_A_DAY = 86_400.0


class Direction(StrEnum):
    """What a signal asks for."""

    OUT = "scale_out"
    """One more node in the group."""
    IN = "scale_in"
    """One node less: the signal names the one to drain."""
    REMOVE = "remove"
    """A node is drained to the last client: its declaration and its machine may go."""


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """One node. `keys`: placed there, those that leave included while they are there.

    `is_open`: new keys may be placed, but for its capacity. `owed`: clients that are not proved gone.
    `capacity` None: no limit. The load is as last sampled; see the table.
    """

    name: NodeName
    labels: Labels
    keys: int
    capacity: int | None
    is_open: bool = True
    is_draining: bool = False
    owed: int = 0
    traffic_rate_bps: int = 0
    cpu_share: float | None = None
    memory_share: float | None = None
    keys_a_day: float | None = None

    @property
    def free_share(self) -> float | None:
        """The part of its capacity that is free; None without one."""
        return None if not self.capacity else 1 - self.keys / self.capacity

    @property
    def days_until_full(self) -> float | None:
        """See `days_left`."""
        return days_left(self.keys, self.capacity, self.keys_a_day)


@dataclass(frozen=True, slots=True)
class Group:
    """Every node with one value of a label.

    `keys`: of all of them, those on nodes that are closed too: they need a place. `capacity`: of the open
    nodes; None where one of them has no limit. `keys_a_day`: how fast `keys` grows, None: not known yet.
    """

    label: str
    value: str
    nodes: tuple[NodeName, ...]
    keys: int
    capacity: int | None
    traffic_rate_bps: int = 0
    keys_a_day: float | None = None
    scaling: Scaling = Scaling()

    @property
    def name(self) -> str:
        """What messages and metrics call it."""
        return f"{self.label}={self.value}"

    @property
    def free_share(self) -> float | None:
        """The part of its capacity that is free, below 0 when keys have no place; None without limit."""
        if self.capacity is None:
            return None
        return 1 - self.keys / self.capacity if self.capacity else float(-bool(self.keys))

    @property
    def days_until_full(self) -> float | None:
        """See `days_left`."""
        return days_left(self.keys, self.capacity, self.keys_a_day)


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that the fleet's operator, or a script in their place, should do.

    `group`: its name, "" of a single node. `hold_s`: how long it must be true before anybody is told.
    """

    direction: Direction
    group: str
    node: str
    message: str
    hold_s: float

    @property
    def key(self) -> str:
        """What it is about, the same for as long as it holds."""
        return f"capacity/{self.group or self.node}/{self.direction.value}"


def days_left(keys: int, capacity: int | None, keys_a_day: float | None) -> float | None:
    """Tell in how many days the keys fill the capacity; None: never, as it is going, or not known."""
    if capacity is None or keys_a_day is None:
        return None
    if keys >= capacity:
        return 0.0
    return (capacity - keys) / keys_a_day if keys_a_day > 0 else None


def slope_a_day(samples: Sequence[tuple[datetime, int]]) -> float | None:
    """Fit a line through counts by least squares: how many more a day; None for less than two moments."""
    if not samples:
        return None
    first = samples[0][0]
    times = [(at - first).total_seconds() / SECONDS_A_DAY for at, _ in samples]
    middle = sum(times) / len(times)
    spread = sum((time - middle) ** 2 for time in times)
    if spread == 0:
        return None
    mean = sum(count for _, count in samples) / len(samples)
    together = sum(
        (time - middle) * (count - mean) for time, (_, count) in zip(times, samples, strict=True)
    )
    return together / spread


def make_groups(
    nodes: Iterable[NodeRoom],
    policies: tuple[Policy, ...],
    trend: Mapping[tuple[str, str], float] | None = None,
) -> tuple[Group, ...]:
    """Group nodes by every label that they carry; sorted.

    Args:
        nodes: of the whole fleet.
        policies: every policy; a group's is the one for nodes with its label alone.
        trend: keys a day by label and value, where known.
    """
    members: dict[tuple[str, str], list[NodeRoom]] = defaultdict(list)
    for node in nodes:
        for pair in node.labels:
            members[pair].append(node)
    known = trend or {}
    return tuple(
        _group(pair, sorted(members[pair], key=lambda n: n.name), policies, known.get(pair))
        for pair in sorted(members)
    )


def find_signals(
    nodes: Sequence[NodeRoom], groups: Iterable[Group], told: Mapping[str, str]
) -> tuple[Signal, ...]:
    """Name what should be done now, sorted by key.

    A signal that was told holds on until the fleet is beyond its limit by the policy's `hysteresis`, so
    that a group on the edge is no flood of messages; and it goes on naming the same node.

    Args:
        nodes: of the whole fleet.
        groups: from `make_groups`; only those of the label that their policy scales by count.
        told: node by key of signals that people know of.
    """
    by_name = {node.name: node for node in nodes}
    found: list[Signal] = []
    for group in groups:
        if group.scaling.label != group.label or group.free_share is None:
            continue
        signal = _grow(group, told) or _shrink(group, [by_name[n] for n in group.nodes], told)
        if signal is not None:
            found.append(signal)
    found += [_remove(node) for node in nodes if node.is_draining and not node.keys + node.owed]
    return tuple(sorted(found, key=lambda signal: signal.key))


def _group(
    pair: tuple[str, str],
    nodes: list[NodeRoom],
    policies: tuple[Policy, ...],
    trend: float | None,
) -> Group:
    limits = [node.capacity for node in nodes if node.is_open]
    known = [limit for limit in limits if limit is not None]
    return Group(
        label=pair[0],
        value=pair[1],
        nodes=tuple(node.name for node in nodes),
        keys=sum(node.keys for node in nodes),
        capacity=sum(known) if len(known) == len(limits) else None,
        traffic_rate_bps=sum(node.traffic_rate_bps for node in nodes),
        keys_a_day=trend,
        scaling=policy_for(policies, (pair,)).scaling,
    )


def _grow(group: Group, told: Mapping[str, str]) -> Signal | None:
    free, scaling = group.free_share or 0.0, group.scaling
    signal = Signal(
        Direction.OUT,
        group.name,
        "",
        f"{group.name}: {group.keys} keys for {group.capacity} places, {free:.0%} free where "
        f"{scaling.head_room:.0%} is wanted; add a node",
        scaling.out_after_s,
    )
    limit = scaling.head_room + (scaling.hysteresis if signal.key in told else 0.0)
    return signal if free < limit else None


def _shrink(group: Group, nodes: list[NodeRoom], told: Mapping[str, str]) -> Signal | None:
    """Name the node whose keys the others can take, and have room to spare; one at a time."""
    scaling, key = group.scaling, f"capacity/{group.name}/{Direction.IN.value}"
    limit = scaling.spare - (scaling.hysteresis if key in told else 0.0)
    if any(node.is_draining for node in nodes):
        return None
    fitting = [node for node in nodes if node.is_open and _free_without(group, node) >= limit]
    if not fitting:
        return None
    # Fewest keys: fewest customers are moved.
    node = min(fitting, key=lambda n: (n.name != told.get(key), n.keys, n.name))
    return Signal(
        Direction.IN,
        group.name,
        node.name,
        f"{group.name}: without {node.name} {_free_without(group, node):.0%} would be free where "
        f"{scaling.spare:.0%} is enough; drain {node.name} ({node.keys} keys)",
        scaling.in_after_s,
    )


def _free_without(group: Group, node: NodeRoom) -> float:
    left = (group.capacity or 0) - (node.capacity or 0)
    return 1 - group.keys / left if left > 0 else -1.0


def _remove(node: NodeRoom) -> Signal:
    return Signal(
        Direction.REMOVE,
        "",
        node.name,
        f"{node.name} is drained: no key and no client of ours is left there; it may be removed",
        0.0,
    )
