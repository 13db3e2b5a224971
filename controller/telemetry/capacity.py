"""Series of how full and how busy nodes and groups of nodes are, over the last snapshot.

A group is named `label=value`, so its values are as bounded as the nodes' labels are; it vanishes with its
last node. Callers: `collector`. Not here: reading the database, what follows from the numbers.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily

from controller.telemetry.snapshot import SeenCapacity
from desired_state.scheduling.capacity import Direction, Group, NodeRoom

_OF_NODES: tuple[tuple[str, str, Callable[[NodeRoom], float | None]], ...] = (
    ("x3fleet_node_placed_keys", "Keys that are placed on a node, those that leave included.",
     lambda node: node.keys),
    ("x3fleet_node_capacity_keys", "Most keys that a node takes; none without a limit.",
     lambda node: node.capacity),
    ("x3fleet_node_traffic_bytes_per_second", "Traffic of a node, up and down, smoothed over looks.",
     lambda node: node.traffic_rate_bps),
    ("x3fleet_node_cpu_ratio", "CPU of a panel's host, smoothed; none where the panel never said.",
     lambda node: node.cpu_share),
    ("x3fleet_node_memory_ratio", "Memory of a panel's host; none where the panel never said.",
     lambda node: node.memory_share),
)  # fmt: skip
_OF_GROUPS: tuple[tuple[str, str, Callable[[Group], float | None]], ...] = (
    ("x3fleet_group_keys", "Keys on all nodes of a group.", lambda group: group.keys),
    ("x3fleet_group_capacity_keys", "What the open nodes of a group take; none without a limit.",
     lambda group: group.capacity),
    ("x3fleet_group_free_ratio",
     "Free part of a group's capacity, below 0 when keys have no place; none without a limit.",
     lambda group: group.free_share),
    ("x3fleet_group_days_until_full", "By the last week's trend; none where it does not fill.",
     lambda group: group.days_until_full),
)  # fmt: skip
_SIGNAL = "x3fleet_scale_signal"
_SIGNAL_TEXT = "1 while people are told that a group needs a node, or can do without one."
CAPACITY_NAMES = (*(name for name, *_ in (*_OF_NODES, *_OF_GROUPS)), _SIGNAL)


def show_capacity(capacity: SeenCapacity) -> Iterator[GaugeMetricFamily]:
    """Make the series; a number that is not known has none."""
    for name, text, of_node in _OF_NODES:
        family = GaugeMetricFamily(name, text, labels=("node",))
        for node in capacity.nodes:
            if (number := of_node(node)) is not None:
                family.add_metric((node.name,), float(number))
        yield family
    for name, text, of_group in _OF_GROUPS:
        family = GaugeMetricFamily(name, text, labels=("group",))
        for group in capacity.groups:
            if (number := of_group(group)) is not None:
                family.add_metric((group.name,), float(number))
        yield family
    signals = GaugeMetricFamily(_SIGNAL, _SIGNAL_TEXT, labels=("group", "direction"))
    for group in capacity.groups:
        if group.scaling.label == group.label:
            for way in (Direction.OUT, Direction.IN):
                is_told = f"capacity/{group.name}/{way.value}" in capacity.told
                signals.add_metric((group.name, way.value), float(is_told))
    yield signals
