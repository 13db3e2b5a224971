"""The controller's metrics: names, bounded labels, zeros from the start, nodes that vanish."""

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from controller.core.effects import MemberResult, MemberVerdict, Outcome, Verb, Verdict
from controller.panels.api.channel import Exchange, Kind
from controller.telemetry import labels, metrics
from controller.telemetry.labels import Controller
from controller.telemetry.observers import (
    PanelExchanges,
    QueueMeter,
    StoreMeter,
    show_unschedulable,
)
from controller.telemetry.observers import count_write as count
from desired_state.model.ids import Email, KeyId, NodeName
from desired_state.scheduling.result import Unschedulable
from desired_state.store.errors import ConcurrentUpdate, StoreBusy, StoreError, StoreOutdated

ROOT = Path(__file__).parents[3]
NODE = NodeName("metrics-1")
OURS = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
LABELS = {
    "node", "verb", "result", "action", "reason", "controller", "name", "priority", "job", "kind",
    "direction",
}  # fmt: skip


def sample(series, /, **values):
    return metrics.REGISTRY.get_sample_value(series, {k: str(v) for k, v in values.items()})


@pytest.fixture
def node():
    metrics.start_node(NODE)
    yield NODE
    metrics.forget_node(NODE)


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric._name)
def test_names_and_labels_follow_the_rules(metric):
    """Prefix, base units, no `_total` on what is no counter, no label beyond the bounded ones."""
    name = metric.describe()[0].name
    shown = f"{name}_total" if isinstance(metric, Counter) else name

    assert re.fullmatch(r"(x3fleet|workqueue|leader_election)_[a-z_]+", shown)
    assert isinstance(metric, Counter) or not name.endswith("_total")
    assert set(metric._labelnames) <= LABELS


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric._name)
def test_every_label_set_starts_at_zero(metric, node):
    """A rate over a series that begins with its first fault misses that fault."""
    assert metric.collect()[0].samples


def test_a_removed_node_has_no_series():
    metrics.start_node(NODE)
    before = {
        s.name for m in metrics.REGISTRY.collect() for s in m.samples if NODE in s.labels.values()
    }

    metrics.forget_node(NODE)

    left = [s for m in metrics.REGISTRY.collect() for s in m.samples if NODE in s.labels.values()]
    assert {
        "x3fleet_panel_requests_total", "x3fleet_panel_latency_seconds", "x3fleet_actions_total",
        "x3fleet_drift_healed_total",
    } == before  # fmt: skip
    assert [] == left


def exchange(kind=Kind.READ, status=200, duration_s=0.5, *, sent=True):
    return Exchange(NODE, kind, status, "" if status else "gone", duration_s, 0, 0, sent=sent)


@pytest.mark.parametrize(
    ("given", "verb", "result"),
    [
        pytest.param(exchange(), "read", "applied", id="an answer"),
        pytest.param(exchange(Kind.LOGIN), "login", "applied", id="a login"),
        pytest.param(exchange(Kind.PROBE, 500), "probe", "rejected", id="a failing panel"),
        pytest.param(exchange(status=401), "read", "auth", id="not logged in"),
        pytest.param(exchange(status=404), "read", "auth", id="not logged in, as 3.x says it"),
        pytest.param(exchange(status=None), "read", "unknown", id="no answer"),
        pytest.param(exchange(status=None, sent=False), "read", "not_sent", id="never sent"),
    ],
)
def test_an_exchange_is_counted_by_what_became_of_it(given, verb, result, node):
    PanelExchanges().exchanged(given)

    counted = {
        (s.labels["verb"], s.labels["result"])
        for s in metrics.PANEL_REQUESTS.collect()[0].samples
        if s.labels["node"] == node and s.value
    }
    assert {(verb, result)} == counted


def test_latency_is_a_moving_average_of_each_node_and_verb(node):
    for duration_s in (1.0, 2.0):
        PanelExchanges().exchanged(exchange(duration_s=duration_s))

    assert 1.2 == pytest.approx(sample("x3fleet_panel_latency_seconds", node=node, verb="read"))
    assert 0.0 == sample("x3fleet_panel_latency_seconds", node=node, verb="login")


def test_what_was_never_sent_has_no_latency(node):
    before = sample("x3fleet_panel_request_duration_seconds_count", verb="read")

    PanelExchanges().exchanged(exchange(status=None, sent=False, duration_s=5.0))

    assert before == sample("x3fleet_panel_request_duration_seconds_count", verb="read")
    assert 0.0 == sample("x3fleet_panel_latency_seconds", node=node, verb="read")


def test_a_write_is_counted_once_by_its_verdict_and_its_members_by_theirs(node):
    skipped = MemberResult(Email("x3f-a-g1"), MemberVerdict.SKIPPED, "too long")

    PanelExchanges().exchanged(exchange(Kind.WRITE))
    count(node, Verb.CREATE, 5, Outcome(Verdict.APPLIED, members=(skipped,), duration_s=2.0))

    one = {"node": node, "verb": "create", "result": "applied"}
    done = {"node": node, "action": "create"}
    assert 1.0 == sample("x3fleet_panel_requests_total", **one)
    assert 4.0 == sample("x3fleet_actions_total", **done, result="applied")
    assert 1.0 == sample("x3fleet_actions_total", **done, result="rejected")


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("verdict", Verdict)
def test_every_verb_and_verdict_has_a_series(verb, verdict, node):
    count(node, verb, 1, Outcome(verdict))

    counted = [
        s.labels
        for s in metrics.PANEL_REQUESTS.collect()[0].samples
        if s.labels["node"] == node and s.value
    ]
    expected = {"node": node, "verb": verb.value, "result": verdict.value.replace("-", "_")}
    assert [expected] == counted


class Queue:
    """A queue in which one node is worked on for 7 s and two wait."""

    def depth(self):
        return {100: 2}

    def running(self):
        return {"nl-1": 7.0, "nl-2": 1.0}


def test_a_queue_is_measured_under_its_usual_names():
    meter = QueueMeter(Controller.NODE)
    names = {"name": "node", "controller": "node"}
    before = [sample(f"workqueue_{n}_total", **names) for n in ("adds", "retries")]

    meter.added(100)
    meter.retried()
    meter.taken(0.5)
    meter.finished(2.0)
    meter.sample(Queue())

    after = [sample(f"workqueue_{n}_total", **names) for n in ("adds", "retries")]
    assert [b + 1 for b in before] == after
    assert [2.0, 0.0] == [sample("workqueue_depth", **names, priority=p) for p in (100, -100)]
    assert 8.0 == sample("workqueue_unfinished_work_seconds", **names)
    assert 7.0 == sample("workqueue_longest_running_processor_seconds", **names)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreBusy("x"), "busy"),
        (ConcurrentUpdate("x"), "concurrent"),
        (StoreOutdated("x"), "version"),
        (StoreError("x"), "other"),
    ],
)
def test_a_failure_of_the_database_is_counted_by_its_kind(error, kind):
    before = sample("x3fleet_db_errors_total", kind=kind)

    StoreMeter().failed(error)

    assert before + 1 == sample("x3fleet_db_errors_total", kind=kind)


def test_verbs_are_those_of_the_channel_and_of_the_effects():
    reads = {kind.value for kind in Kind} - {Kind.WRITE.value}

    assert reads == set(labels.READS)
    assert {*reads, *(verb.value for verb in Verb)} == set(labels.VERBS)


def test_every_metric_is_counted_somewhere():
    """A metric that nobody touches is a promise that an alert rule would believe."""
    others = "".join(
        path.read_text()
        for path in (ROOT / "controller").rglob("*.py")
        if path.name != "metrics.py"
    )
    own = (ROOT / "controller/telemetry/metrics.py").read_text()
    counted = others + own[own.index("def start_node") :]
    names = [name for name, value in vars(metrics).items() if value in OURS]

    idle = [name for name in names if not re.search(rf"\b{name}\b", counted)]
    assert [] == idle


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("no node carries country=fr", "no_match"),
        ("of 2 nodes for country=nl: 1 Unreachable/Timeout, 1 full", "unhealthy"),
        ("of 1 node for every node: 1 full", "full"),
        ("nl-1 is full: 5 of 5 keys", "full"),
        ("of 1 node for every node: 1 draining", "closed"),
        ("nl-1 is paused: nothing would be created there", "closed"),
        ("something new", "other"),
    ],
)
def test_unschedulable_keys_are_shown_by_a_coarse_reason(sentence, reason):
    show_unschedulable([Unschedulable(KeyId("a"), 1, sentence)])
    shown = {r.value: sample("x3fleet_unschedulable_keys", reason=r) for r in labels.UNSCHEDULABLE}
    show_unschedulable([])

    assert {r.value: float(r == reason) for r in labels.UNSCHEDULABLE} == shown
    assert 0.0 == sample("x3fleet_unschedulable_keys", reason=reason)
