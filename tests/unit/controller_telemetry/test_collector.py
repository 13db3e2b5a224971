"""Per-node series: over the last snapshot, marks of this process, nodes that come and go."""

import ast
import inspect
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from controller.core import guards as core_guards
from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import Outcome, Verb, Verdict
from controller.core.observed import NotObserved, NotSeen
from controller.core.result import Result, Sent
from controller.telemetry import labels, metrics
from controller.telemetry.collector import SCRAPED_NAMES, FleetCollector
from controller.telemetry.labels import ReconcileResult
from controller.telemetry.marks import NodeMarks
from controller.telemetry.snapshot import (
    FleetSnapshot,
    SeenCondition,
    SeenNode,
    SeenSource,
    Withheld,
)
from desired_state.model.ids import NodeName, Revision
from desired_state.model.node import Mode
from tests.fakes.clock import START

ONE, TWO = NodeName("shown-1"), NodeName("shown-2")
BLOCKED = SeenCondition("Blocked", "TooManyDeletes", since=START - timedelta(minutes=5))
UNREADY = SeenCondition("Ready", "TooManyDeletes", status=False)


class Shown:
    """A collector in a registry of its own, at a moment that is moved by hand."""

    def __init__(self, held=None):
        self.now: datetime = START
        self.held = held
        self.marks = NodeMarks(lambda: self.now)
        self.collector = FleetCollector(self.marks, lambda: self.held, lambda: self.now)
        self.registry = CollectorRegistry(auto_describe=True)
        self.registry.register(self.collector)

    def show(self, *nodes, sources=()):
        self.collector.show(FleetSnapshot(self.now, tuple(nodes), tuple(sources)))

    def get(self, name, node=ONE, **values):
        return self.registry.get_sample_value(name, {"node": node, **values})

    def names(self):
        return {family.name for family in self.registry.collect()}


@pytest.fixture
def shown():
    fleet = Shown()
    yield fleet
    fleet.marks.keep(())


def test_before_the_first_snapshot_there_is_nothing(shown):
    assert set() == shown.names()


def test_every_name_that_is_promised_is_exposed(shown):
    shown.show(
        SeenNode(ONE, xray="running", certificate_until=START), sources=[SeenSource("main", "abc")]
    )

    assert set(SCRAPED_NAMES) == shown.names()


def test_conditions_are_shown_with_both_of_their_states(shown):
    shown.show(SeenNode(ONE, conditions=(UNREADY, BLOCKED)))

    found = {
        (s.labels["condition"], s.labels["status"]): s.value
        for family in shown.registry.collect()
        if family.name == "x3fleet_node_condition"
        for s in family.samples
    }
    true = {kind.value: float(kind.value == "Blocked") for kind in ConditionType}
    false = {kind: 1.0 - number for kind, number in true.items()}
    expected = {(kind, "True"): number for kind, number in true.items()}
    assert expected | {(kind, "False"): number for kind, number in false.items()} == found


def test_a_node_that_was_never_looked_at_is_neither_ready_nor_unready(shown):
    shown.show(SeenNode(ONE))

    ready = [
        shown.get("x3fleet_node_condition", condition="Ready", status=status)
        for status in ("True", "False")
    ]
    assert [0.0, 0.0] == ready


def test_a_node_that_is_not_in_the_snapshot_has_no_series(shown):
    shown.show(SeenNode(ONE), SeenNode(TWO))
    shown.marks.turn_ended(ONE, None, 1.0)
    shown.show(SeenNode(TWO))

    series = [
        s
        for registry in (shown.registry, metrics.REGISTRY)
        for family in registry.collect()
        for s in family.samples
        if ONE in s.labels.values()
    ]
    assert [] == series
    assert 0.0 == shown.get("x3fleet_node_paused", TWO)


def test_every_guard_has_a_series_and_the_one_that_withholds_is_one(shown):
    shown.show(SeenNode(ONE, conditions=(BLOCKED,)))

    found = {
        reason.value: shown.get("x3fleet_plan_blocked", reason=reason.value)
        for reason in labels.PLAN_BLOCKED
    }
    assert {r.value: float(r.value == "TooManyDeletes") for r in labels.PLAN_BLOCKED} == found


def test_a_set_that_waits_for_a_person_has_an_age(shown):
    shown.show(
        SeenNode(ONE, conditions=(BLOCKED,), withheld=(Withheld("deletes", "ab", 9),)),
        SeenNode(TWO, conditions=(BLOCKED,)),
    )

    ages = [shown.get("x3fleet_plan_pending_approval_seconds", node) for node in (ONE, TWO)]
    assert [300.0, 0.0] == ages


def test_counts_are_shown_by_state(shown):
    counts = {"desired": 5, "live": 3, "pending": 2, "deleting": 1, "foreign": 4, "drift": 7}
    shown.show(SeenNode(ONE, counts=counts), SeenNode(TWO, counts=counts, orphaned=True))

    found = {s.value: shown.get("x3fleet_keys", state=s.value) for s in labels.KEY_STATES}
    assert {
        "desired": 5, "live": 3, "pending": 2, "deleting": 1, "orphaned": 0, "foreign": 4,
        "quarantined": 0,
    } == found  # fmt: skip
    assert 3.0 == shown.get("x3fleet_keys", TWO, state="orphaned")
    assert 4.0 == shown.get("x3fleet_owner_mismatch_objects")
    assert 7.0 == shown.get("x3fleet_drift_objects", kind="client")
    assert 0.0 == shown.get("x3fleet_drift_objects", kind="inbound")


def test_the_back_off_counts_down(shown):
    due = START + timedelta(seconds=90)
    shown.show(SeenNode(ONE, failures=3, next_look_at=due), SeenNode(TWO, next_look_at=due))

    shown.now += timedelta(seconds=30)

    assert 3.0 == shown.get("x3fleet_node_consecutive_failures")
    assert 60.0 == shown.get("x3fleet_node_backoff_seconds")
    assert 0.0 == shown.get("x3fleet_node_backoff_seconds", TWO)


def test_keys_on_their_way_have_a_count_and_an_age_and_adopted_clients_a_count(shown):
    shown.show(SeenNode(ONE, leaving=3, leaving_since=START - timedelta(hours=1), adopted=7))

    assert 3.0 == shown.get("x3fleet_keys_leaving")
    assert 3600.0 == shown.get("x3fleet_keys_leaving_age_seconds")
    assert 7.0 == shown.get("x3fleet_adopted_clients")


def test_debts_have_a_count_and_an_age(shown):
    shown.show(SeenNode(ONE, debt=4, debt_since=START - timedelta(days=1)))

    assert 4.0 == shown.get("x3fleet_delete_debt")
    assert 86400.0 == shown.get("x3fleet_delete_debt_age_seconds")


def test_modes_are_shown_one_by_one(shown):
    shown.show(SeenNode(ONE, mode=Mode.PAUSED), SeenNode(TWO, mode=Mode.OBSERVE))

    assert 1.0 == shown.get("x3fleet_node_mode_info", mode="paused")
    assert [1.0, 0.0] == [shown.get("x3fleet_node_paused", node) for node in (ONE, TWO)]


def test_moments_start_when_the_node_was_first_seen(shown):
    """Not at 0: fifty years without a success would wake somebody."""
    shown.show(SeenNode(ONE))

    assert START.timestamp() == shown.get("x3fleet_node_last_success_timestamp_seconds")
    assert START.timestamp() == shown.get("x3fleet_node_last_attempt_timestamp_seconds")


def test_a_failed_turn_is_an_attempt_and_no_success(shown):
    shown.show(SeenNode(ONE))
    shown.now += timedelta(minutes=1)

    shown.marks.turn_ended(ONE, None, 1.0)

    assert START.timestamp() == shown.get("x3fleet_node_last_success_timestamp_seconds")
    assert shown.now.timestamp() == shown.get("x3fleet_node_last_attempt_timestamp_seconds")


def test_only_nodes_that_are_held_have_moments(shown):
    shown.held = frozenset({TWO})
    shown.show(SeenNode(ONE), SeenNode(TWO))

    leases = [shown.get("x3fleet_lease_held", node) for node in (ONE, TWO)]
    moments = [shown.get("x3fleet_node_last_success_timestamp_seconds", n) for n in (ONE, TWO)]
    assert [0.0, 1.0] == leases
    assert [None, START.timestamp()] == moments


def test_the_lag_counts_what_this_process_verified_and_did_not_store(shown):
    """A turn that finds nothing to do writes nothing: what is stored is behind and means nothing."""
    shown.show(SeenNode(ONE, wanted_revision=Revision(9), observed_revision=Revision(4)))
    before = shown.get("x3fleet_observed_revision_lag")

    shown.marks.turn_ended(ONE, seen(observed_revision=Revision(9)), 1.0)

    assert [5.0, 0.0] == [before, shown.get("x3fleet_observed_revision_lag")]


def test_a_source_is_well_until_it_fails_and_each_fault_is_counted_once(shown):
    before = metrics.REGISTRY.get_sample_value(*INVALID)
    well = SeenSource("main", "abc")
    broken = replace(
        well, fault="manifest_schema", fetched="def", failing_since=START - timedelta(hours=1)
    )

    shown.show(sources=[well])
    at_first = shown.registry.get_sample_value(*WELL)
    shown.show(sources=[broken])
    shown.show(sources=[broken])

    assert START.timestamp() == at_first
    assert START.timestamp() - 3600 == shown.registry.get_sample_value(*WELL)
    assert before + 1 == metrics.REGISTRY.get_sample_value(*INVALID)


def test_a_source_that_nobody_looks_at_any_more_was_well_until_then(shown):
    silent = SeenSource("main", "abc", silent_since=START - timedelta(hours=2))

    shown.show(sources=[silent])

    assert START.timestamp() - 7200 == shown.registry.get_sample_value(*WELL)


INVALID = ("x3fleet_source_errors_total", {"reason": "invalid"})
WELL = ("x3fleet_source_last_success_timestamp_seconds", {"source": "main"})


# -- how a turn is counted -------------------------------------------------------------------------


def seen(*conditions, **columns):
    """A result whose look succeeded."""
    held = tuple(Condition(kind, reason) for kind, reason in conditions)
    status = NodeStatus(conditions=held, observed_revision=columns.pop("observed_revision", 0))
    return Result(ONE, status, **columns)


def unseen(reason):
    return Result(ONE, NodeStatus(), not_observed=NotObserved(ONE, reason, "why"))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(seen((ConditionType.READY, "InSync")), "success", id="in sync"),
        pytest.param(seen((ConditionType.DRIFTED, "Mode")), "success", id="looked at only"),
        pytest.param(
            seen((ConditionType.RECONCILING, "Working")), "requeue_after", id="more to do"
        ),
        pytest.param(seen(cut=True), "requeue_after", id="cut by time"),
        pytest.param(seen((ConditionType.BLOCKED, "TooManyDeletes")), "blocked", id="a guard"),
        pytest.param(seen((ConditionType.STALLED, "IdentityChanged")), "stalled", id="no retry"),
        pytest.param(unseen(NotSeen.TIMEOUT), "error", id="no answer"),
        pytest.param(unseen(NotSeen.CREDENTIALS_REFUSED), "terminal", id="refused"),
        pytest.param(None, "error", id="broken off"),
    ],
)
def test_a_turn_is_counted_by_how_it_ended(result, expected, shown):
    name, pair = "x3fleet_reconcile_total", {"controller": "node"}
    before = {
        r: metrics.REGISTRY.get_sample_value(name, {**pair, "result": r}) for r in labels.RESULTS
    }

    ended = shown.marks.turn_ended(ONE, result, 0.5)

    after = {
        r: metrics.REGISTRY.get_sample_value(name, {**pair, "result": r}) for r in labels.RESULTS
    }
    assert ReconcileResult(expected) == ended
    assert {r: before[r] + (r == expected) for r in labels.RESULTS} == after


def test_what_a_turn_sent_and_healed_is_counted(shown):
    shown.marks.turn_ended(ONE, seen(), 0.5)
    shown.now += timedelta(seconds=40)
    sent = Sent(Verb.UPDATE, 3, Outcome(Verdict.APPLIED))
    before = metrics.REGISTRY.get_sample_value("x3fleet_drift_age_seconds_sum")

    shown.marks.turn_ended(ONE, seen(sent=(sent,), healed=2), 0.5)

    done = {"node": ONE, "action": "update", "result": "applied"}
    assert 3.0 == metrics.REGISTRY.get_sample_value("x3fleet_actions_total", done)
    healed = metrics.REGISTRY.get_sample_value("x3fleet_drift_healed_total", {"node": ONE})
    assert 2.0 == healed
    assert before + 80 == metrics.REGISTRY.get_sample_value("x3fleet_drift_age_seconds_sum")


def test_every_guard_that_withholds_is_a_label():
    """But for the mode: an observed node is as its operator wants it."""
    guards = Path(inspect.getfile(core_guards)).read_text()
    reasons = {
        part.value
        for node in ast.walk(ast.parse(guards))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"_refuse", "_untrusted"}
        for part in node.args
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
        if part.value[:1].isupper() and part.value.isalpha()
    }

    assert reasons - {"Mode"} == {reason.value for reason in labels.PLAN_BLOCKED}


@pytest.mark.parametrize(("xray", "expected"), [("running", 1.0), ("stop", 0.0), ("unknown", None)])
def test_xray_is_shown_where_the_panel_says_something(xray, expected, shown):
    shown.show(SeenNode(ONE, xray=xray))

    assert expected == shown.get("x3fleet_xray_running")


def test_the_end_of_a_certificate_is_a_moment(shown):
    shown.show(SeenNode(ONE, certificate_until=START), SeenNode(TWO))

    name = "x3fleet_panel_certificate_end_timestamp_seconds"
    assert [START.timestamp(), None] == [shown.get(name, node) for node in (ONE, TWO)]
