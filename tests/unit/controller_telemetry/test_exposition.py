"""Our text of a registry says what the library's says."""

from collections.abc import Callable, Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from controller.telemetry.exposition import OPEN, PLAIN, encode, encoder_for
from controller.telemetry.node_series import NodeSeries

ODD = 'a "quoted" back\\slash\nand a line'


def made() -> CollectorRegistry:
    """A registry with every kind of metric, and what has to be escaped."""
    registry = CollectorRegistry()
    Counter("plain_total", ODD, registry=registry).inc(2)
    by_name = Gauge("by_name", "With labels.", ["zeta", "alpha"], registry=registry)
    by_name.labels("z", ODD).set(float("inf"))
    by_name.labels("", "Ж").set(-0.25)
    Histogram("took_seconds", "A histogram.", ["verb"], registry=registry).labels("read").observe(3)
    Info("build", "An info.", registry=registry).info({"version": "1"})
    counted = NodeSeries(CounterMetricFamily, "x_calls_total", "Calls.", ("node", "verb"), registry)
    counted.labels("n-1", "read").inc()
    counted.labels("n-1", "read").inc(1e9)
    counted.labels("n-2", ODD)
    measured = NodeSeries(GaugeMetricFamily, "x_seconds", "Seconds.", ("node",), registry)
    measured.labels("n-1").set(0.125)
    return registry


@pytest.mark.parametrize(
    ("is_open", "generate", "parse"),
    [
        pytest.param(False, generate_latest, parse_plain, id="plain"),
        pytest.param(True, generate_open, parse_open, id="openmetrics"),
    ],
)
def test_it_reads_as_what_the_library_writes(
    is_open: bool,
    generate: Callable[[CollectorRegistry], bytes],
    parse: Callable[[str], Iterable[Metric]],
) -> None:
    registry = made()

    written = encode(registry, is_open=is_open).decode()

    expected = generate(registry).decode()
    assert without_moments(parse(expected)) == without_moments(parse(written))
    assert sorted(heads(expected)) == sorted(heads(written))


def without_moments(families: Iterable[Metric]) -> list[Metric]:
    """Leave out when counters were made: we expose no such series."""
    kept = []
    for family in families:
        family.samples = [s for s in family.samples if not s.name.endswith("_created")]
        if family.samples:
            kept.append(family)
    return kept


def heads(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#") and "_created" not in line]


def test_it_is_openmetrics_only_for_those_who_ask_for_it() -> None:
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

    assert OPEN == encoder_for(asked)[1]
    assert encoder_for(asked)[0](made()).endswith(b"# EOF\n")
    assert PLAIN == encoder_for("")[1] == encoder_for("text/html, */*")[1]


def test_the_series_of_a_node_begin_at_nothing_and_vanish_with_it() -> None:
    registry = made()
    calls = NodeSeries(CounterMetricFamily, "more_total", "More.", ("node", "verb"), registry)
    calls.labels("n-1", "read")
    calls.labels("n-2", "read").inc(3)
    assert 0.0 == registry.get_sample_value("more_total", {"node": "n-1", "verb": "read"})

    calls.forget("n-1")

    assert registry.get_sample_value("more_total", {"node": "n-1", "verb": "read"}) is None
    assert 3.0 == registry.get_sample_value("more_total", {"node": "n-2", "verb": "read"})
