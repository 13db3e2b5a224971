"""Counters and gauges whose first label is a node: thousands of series, kept as plain numbers.

The library keeps a lock and four objects for each of them, and makes two dictionaries of each at every
exposition: with 200 nodes most of its time and memory. These are written by the event loop alone and
read in whole by whoever exposes them. Callers: `metrics`. Not here: which there are, text (`exposition`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(slots=True)
class Cell:
    """The number of one series."""

    value: float = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount

    def set(self, value: float) -> None:
        """Measure."""
        self.value = value


class NodeSeries(Collector):
    """One metric of every node.

    Args:
        family: makes its kind: `CounterMetricFamily` or `GaugeMetricFamily`.
        name: of the metric.
        text: for people.
        labels: `node` first.
        registry: where it is exposed.
    """

    def __init__(
        self,
        family: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        text: str,
        labels: Iterable[str],
        registry: CollectorRegistry,
    ) -> None:
        self._family = family
        self._name, self._text, self._labelnames = name, text, tuple(labels)
        self._nodes: dict[str, dict[tuple[str, ...], Cell]] = {}
        registry.register(self)

    def labels(self, node: str, *values: str) -> Cell:
        """Return one series; it begins at 0."""
        cells = self._nodes.setdefault(node, {})
        cell = cells.get(values)
        if cell is None:
            cell = cells[tuple(map(str, values))] = Cell()
        return cell

    def forget(self, node: str) -> None:
        """Let every series of a node vanish."""
        self._nodes.pop(node, None)

    def describe(self) -> list[Family]:
        """Name it, so that no other takes its name."""
        return [self._family(self._name, self._text, labels=self._labelnames)]

    def collect(self) -> list[Family]:
        """Make the family as it is now; the event loop may go on counting meanwhile."""
        family = self._family(self._name, self._text, labels=self._labelnames)
        for node, cells in list(self._nodes.items()):
            for values, cell in list(cells.items()):
                family.add_metric((node, *values), cell.value)
        return [family]
