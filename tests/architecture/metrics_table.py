"""Every series that a controller exposes, as the code has it: for the document and the rules.

`python -m tests.architecture.metrics_table` prints the table of docs/metrics.md. Callers: test_metrics.
"""

from datetime import UTC, datetime

from prometheus_client import Metric

from controller.telemetry import metrics
from controller.telemetry.collector import FleetCollector
from controller.telemetry.marks import NodeMarks
from controller.telemetry.snapshot import FleetSnapshot

OURS = ("x3fleet_", "workqueue_", "leader_election_")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def families() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and help of each metric of ours, sorted by name."""
    counted = [
        _family(metric.describe()[0], metric._labelnames)
        for metric in vars(metrics).values()
        if hasattr(metric, "_labelnames")
    ]
    return sorted([*counted, *(_family(f, f._labelnames) for f in _collected())])


def series() -> set[str]:
    """Every name that a rule may use."""
    return {
        f"{name.removesuffix('_total')}{suffix}" if kind == "counter" else f"{name}{suffix}"
        for name, kind, _, _ in families()
        for suffix in SUFFIXES[kind]
    }


def table() -> str:
    """The table of docs/metrics.md."""
    lines = ["| metric | type | labels | what it says |", "| --- | --- | --- | --- |"]
    for name, kind, labels, text in families():
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return "\n".join(lines) + "\n"


def _family(metric: Metric, labels: tuple[str, ...]) -> tuple[str, str, tuple[str, ...], str]:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    return name, metric.type, tuple(labels), metric.documentation


def _collected() -> list[Metric]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    collector = FleetCollector(NodeMarks(lambda: now), lambda: None, lambda: now)
    collector.show(FleetSnapshot(now))
    return list(collector.collect())


if __name__ == "__main__":
    print(table(), end="")
