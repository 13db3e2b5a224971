"""When people are told: damped, once, with recovery, one message when it is us."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.jobs.alerts import (
    FLEET,
    Alert,
    Decision,
    Severity,
    Trouble,
    decide,
    find_troubles,
)
from controller.settings import AlertSettings
from controller.telemetry.snapshot import (
    FleetSnapshot,
    SeenCondition,
    SeenNode,
    SeenSource,
    Withheld,
)
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode
from desired_state.queries.backups import BackupsView
from tests.fakes.clock import START

SETTINGS = AlertSettings(hold_s=120, recover_s=60)
DOWN = Trouble("node/nl-1/Unreachable", "Unreachable", "Timeout", Severity.WARNING, node="nl-1")
MOST = Trouble(FLEET, "Unreachable", "MostNodes", Severity.CRITICAL)


class Fleet:
    """Passes at moments that a test chooses; keeps the alerts, and what was said."""

    def __init__(self, settings=SETTINGS):
        self.settings = settings
        self.alerts = {}
        self.said = []
        self.writes = 0
        self.numbers = iter(range(1, 1000))

    def at(self, seconds, *troubles):
        now = START + timedelta(seconds=seconds)
        decision = decide(troubles, self.alerts.values(), now, self.settings)
        self.writes += not decision.is_empty
        for alert, _ in decision.fire:
            self.said.append((seconds, "firing", alert.key))
            self.alerts[alert.key] = replace_number(alert, next(self.numbers))
        for alert in decision.resolve:
            self.said.append((seconds, "resolved", alert.key))
        for alert in decision.keep:
            self.alerts[alert.key] = alert
        for alert in (*decision.resolve, *decision.forget):
            del self.alerts[alert.key]
        return decision


def replace_number(alert, number):
    return Alert(
        alert.key, alert.condition, alert.reason, alert.came_at, alert.message, alert.node,
        alert.cleared_at, number,
    )  # fmt: skip


@pytest.fixture
def fleet():
    return Fleet()


def test_a_trouble_is_told_of_once_it_has_held(fleet):
    for seconds in (0, 60, 119, 120, 180):
        fleet.at(seconds, DOWN)

    assert [(120, "firing", DOWN.key)] == fleet.said


def test_a_trouble_that_began_long_ago_is_told_of_at_once(fleet):
    """After a restart nobody waits again for what has held all the while."""
    since = START - timedelta(hours=1)

    fleet.at(0, Trouble(DOWN.key, "Unreachable", "Timeout", Severity.WARNING, since=since))

    assert [(0, "firing", DOWN.key)] == fleet.said


def test_a_trouble_that_passes_in_time_is_never_told_of(fleet):
    fleet.at(0, DOWN)
    fleet.at(30)
    fleet.at(90)

    assert [] == fleet.said
    assert {} == fleet.alerts


def test_recovery_is_told_once_it_has_held(fleet):
    for seconds in (0, 120):
        fleet.at(seconds, DOWN)
    for seconds in (130, 160, 189, 190, 300):
        fleet.at(seconds)

    assert [(120, "firing", DOWN.key), (190, "resolved", DOWN.key)] == fleet.said
    assert {} == fleet.alerts


def test_a_short_gap_interrupts_nothing(fleet):
    for seconds in range(0, 600, 10):
        fleet.at(seconds, *([] if seconds % 50 == 40 else [DOWN]))

    assert [(120, "firing", DOWN.key)] == fleet.said


def test_a_second_outage_is_told_of_again(fleet):
    for seconds in (0, 120):
        fleet.at(seconds, DOWN)
    for seconds in (130, 190):
        fleet.at(seconds)
    for seconds in (200, 320):
        fleet.at(seconds, DOWN)

    assert ["firing", "resolved", "firing"] == [state for _, state, _ in fleet.said]


def test_a_pass_that_finds_nothing_new_writes_nothing(fleet):
    for seconds in (0, 120, 130, 140, 1000):
        fleet.at(seconds, DOWN)

    assert 2 == fleet.writes
    assert Decision() == fleet.at(1001, DOWN)


def test_while_most_nodes_are_lost_single_ones_are_not_told_of(fleet):
    blocked = Trouble("node/nl-1/Blocked/X", "Blocked", "X", Severity.CRITICAL)
    for seconds in (0, 120, 240):
        fleet.at(seconds, DOWN, blocked, MOST)

    assert {(120, "firing", FLEET), (120, "firing", blocked.key)} == set(fleet.said)


def test_nodes_that_stay_lost_are_told_of_when_the_others_are_back(fleet):
    for seconds in (0, 120):
        fleet.at(seconds, DOWN, MOST)
    for seconds in (130, 190, 200):
        fleet.at(seconds, DOWN)

    assert [
        (120, "firing", FLEET), (190, "resolved", FLEET), (200, "firing", DOWN.key),
    ] == fleet.said  # fmt: skip


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 50), st.integers(0, 50))
def test_messages_alternate_whatever_happens(pattern, hold_s, recover_s):
    """Never two of a kind in a row, and what is told as over was told before."""
    fleet = Fleet(AlertSettings(hold_s=hold_s, recover_s=recover_s))

    for step, wrong in enumerate(pattern):
        fleet.at(10 * step, *([DOWN] if wrong else []))

    states = [state for _, state, _ in fleet.said]
    assert states == ["firing", "resolved"] * (len(states) // 2) + ["firing"] * (len(states) % 2)


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_lasting_trouble_is_always_told_of_and_so_is_its_end(hold_s, recover_s):
    fleet = Fleet(AlertSettings(hold_s=hold_s, recover_s=recover_s))

    for seconds in range(0, 620, 10):
        fleet.at(seconds, DOWN)
    for seconds in range(620, 1240, 10):
        fleet.at(seconds)

    assert ["firing", "resolved"] == [state for _, state, _ in fleet.said]


# -- what is wrong ---------------------------------------------------------------------------------


def node(name, *conditions, **columns):
    return SeenNode(NodeName(name), conditions=conditions, **columns)


def keys(*nodes, share=0.5, sources=()):
    found = find_troubles(FleetSnapshot(START, nodes, sources), share)
    return [trouble.key for trouble in found]


LOST = SeenCondition("Unreachable", "Timeout")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        pytest.param(LOST, ["node/a/Unreachable"], id="unreachable"),
        pytest.param(
            SeenCondition("Stalled", "CredentialsRefused"), ["node/a/Stalled/CredentialsRefused"],
            id="stalled",
        ),
        pytest.param(
            SeenCondition("Drifted", "Fighting"), ["node/a/Drifted/Fighting"], id="drifted"
        ),
        pytest.param(SeenCondition("Drifted", "Mode"), [], id="an observed node is as wanted"),
        pytest.param(SeenCondition("Paused", "Paused"), [], id="a paused node is as wanted"),
        pytest.param(SeenCondition("Reconciling", "Working"), [], id="work is no trouble"),
        pytest.param(SeenCondition("Ready", "Timeout", status=False), [], id="said by the other"),
    ],
)  # fmt: skip
def test_a_condition_is_a_trouble_or_none(condition, expected):
    assert expected == keys(node("a", condition))


def test_a_blocked_plan_says_how_to_let_it_pass():
    blocked = SeenCondition("Blocked", "TooManyDeletes", message="40 of 50 clients would go")
    seen = node("a", blocked, withheld=(Withheld("deletes", "ab12" * 16, 40),))

    (trouble,) = find_troubles(FleetSnapshot(START, (seen,)), 0.5)

    assert Severity.CRITICAL == trouble.severity
    assert (
        "40 of 50 clients would go; to let it pass: x3fleet approve ab12ab12ab12" == trouble.message
    )


def test_an_unreachable_node_is_one_trouble_whatever_the_reason():
    other = SeenCondition("Unreachable", "PanelBusy")

    assert keys(node("a", LOST)) == keys(node("a", other)) == keys(node("a", LOST, other))


@pytest.mark.parametrize(
    ("lost", "total", "paused", "expected"),
    [
        pytest.param(3, 5, 0, True, id="more than half"),
        pytest.param(3, 6, 0, False, id="half"),
        pytest.param(2, 2, 0, False, id="too few to tell"),
        pytest.param(3, 6, 2, True, id="paused nodes are not visited"),
    ],
)
def test_most_nodes_lost_is_a_trouble_of_its_own(lost, total, paused, expected):
    nodes = [node(f"lost-{n}", LOST) for n in range(lost)]
    nodes += [node(f"paused-{n}", mode=Mode.PAUSED) for n in range(paused)]
    nodes += [node(f"well-{n}") for n in range(total - lost - paused)]

    assert expected == (FLEET in keys(*nodes))


def test_a_failing_source_of_manifests_is_a_trouble():
    well, broken = SeenSource("a", "r1"), SeenSource("b", "r1", fault="manifest_schema")

    assert ["source/b"] == keys(sources=(well, broken))


def test_a_source_that_nobody_looks_at_any_more_is_a_trouble_of_its_own():
    silent = SeenSource("b", "r1", fault="git_down", silent_since=START)

    assert ["source/b", "source/b/silent"] == keys(sources=(SeenSource("a", "r1"), silent))


def test_a_failed_backup_is_told_until_one_succeeds():
    failed = BackupsView(since=START, tried_at=START, error="the disk is full")

    (trouble,) = find_troubles(FleetSnapshot(START, backups=failed), 0.5)

    assert ("Backup", "Failed", START) == (trouble.condition, trouble.reason, trouble.since)
    assert "the disk is full" in trouble.message
    assert () == find_troubles(FleetSnapshot(START, backups=BackupsView(since=START)), 0.5)


@pytest.mark.parametrize(("hours", "expected"), [(23, []), (25, ["node/nl-1/Move"])])
def test_a_move_that_is_older_than_a_day_is_a_trouble_until_its_keys_have_left(hours, expected):
    seen = node("nl-1", leaving=3, leaving_since=START - timedelta(hours=hours))

    assert expected == keys(seen)
    assert [] == keys(replace(seen, leaving=0, leaving_since=None))


def test_how_long_a_move_may_take_is_a_setting():
    seen = node("nl-1", leaving=3, leaving_since=START - timedelta(hours=2))
    (trouble,) = find_troubles(FleetSnapshot(START, (seen,)), 0.5, move_s=3600)

    assert ("Move", "Late", seen.leaving_since, 0.0) == (
        trouble.condition, trouble.reason, trouble.since, trouble.hold_s,
    )  # fmt: skip
    assert trouble.message.startswith("3 keys are on their way off nl-1; x3fleet moves list")
