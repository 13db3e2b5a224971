"""Why a node takes no key: one rule at a time, in words that a person reads."""

import pytest

from desired_state.model.node import Mode, NodeOverrides
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy
from desired_state.scheduling.eligible import (
    Refusal,
    RefusedBy,
    Verdict,
    count_keys,
    explain_key,
    refuse_node,
    render_labels,
)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param(
            {"orphaned": True},
            Refusal(RefusedBy.ORPHANED, "is in no manifest any more"),
            id="orphaned",
        ),
        pytest.param(
            {"drain": True}, Refusal(RefusedBy.DRAINING, "is being drained"), id="drain-declared"
        ),
        pytest.param(
            {"overrides": NodeOverrides(draining=True)},
            Refusal(RefusedBy.DRAINING, "is being drained"),
            id="drain-by-operator",
        ),
        pytest.param(
            {"schedulable": False},
            Refusal(RefusedBy.UNSCHEDULABLE, "is declared unschedulable"),
            id="unschedulable",
        ),
        pytest.param(
            {"overrides": NodeOverrides(cordoned=True)},
            Refusal(RefusedBy.UNSCHEDULABLE, "is cordoned"),
            id="cordoned",
        ),
        pytest.param(
            {"overrides": NodeOverrides(paused=True)},
            Refusal(RefusedBy.PAUSED, "is paused: nothing would be created there"),
            id="paused",
        ),
        pytest.param({"mode": Mode.OBSERVE}, None, id="observe-shows-what-it-would-do"),
        pytest.param({"mode": Mode.UPSERT_ONLY}, None, id="upsert-only"),
        pytest.param(
            {"conditions": ("Drifted/EmailTaken", "Stalled/CredentialsRefused")},
            Refusal(RefusedBy.CONDITION, "is Stalled/CredentialsRefused"),
            id="stalled",
        ),
        pytest.param(
            {"conditions": ("Unreachable/Timeout",)},
            Refusal(RefusedBy.CONDITION, "is Unreachable/Timeout"),
            id="unreachable",
        ),
        pytest.param(
            {"conditions": ("Blocked/ShrunkObservation",)},
            Refusal(RefusedBy.CONDITION, "is Blocked/ShrunkObservation"),
            id="blocked",
        ),
        pytest.param({"conditions": ("Drifted/Fighting", "Ready/InSync")}, None, id="drifted"),
        pytest.param(
            {"xray_running": False},
            Refusal(RefusedBy.XRAY, "has no running Xray"),
            id="xray-stopped",
        ),
        pytest.param({"xray_running": None}, None, id="xray-never-seen"),
        pytest.param({"keys": 7}, Refusal(RefusedBy.FULL, "is full: 7 of 7 keys"), id="full"),
        pytest.param({"keys": 8}, None, id="room-for-one"),
    ],
)
def test_a_node_takes_keys_unless_a_rule_speaks_against_it(node, changes, refusal) -> None:
    assert refusal == refuse_node(node(**changes), Policy(), keys=7)


def test_a_policy_may_do_without_a_running_xray(node) -> None:
    state = node(xray_running=False)

    assert refuse_node(state, Policy(require_xray=False), keys=0) is None


def test_keys_that_are_leaving_take_no_room(placed) -> None:
    assert {"nl-1": 2, "de-1": 1} == count_keys(
        [
            placed("a", "nl-1"),
            placed("b", "nl-1"),
            placed("c", "nl-1", leaving=DeleteReason.MOVED),
            placed("a", "de-1"),
            placed("d", "fi-1", leaving=DeleteReason.REVOKED),
        ]
    )


def test_labels_are_written_as_people_write_them() -> None:
    assert "country=nl,tier=basic" == render_labels((("country", "nl"), ("tier", "basic")))
    assert "every node" == render_labels(())


def test_every_node_says_why_a_key_is_there_or_not(node, key, placed) -> None:
    nodes = [
        node("nl-1"),
        node("nl-2", conditions=("Unreachable/Timeout",)),
        node("nl-3", keys=1),
        node("nl-4"),
        node("nl-5"),
        node("de-1"),
    ]
    placements = [placed("k1", "nl-1"), placed("k1", "nl-4", leaving=DeleteReason.MOVED)]

    verdicts = explain_key(
        key(count=2, labels={"country": "nl"}), nodes, placements, (), {"nl-3": 1}
    )

    assert (
        Verdict("de-1", False, Refusal(RefusedBy.LABELS, "does not carry country=nl")),
        Verdict("nl-1", True, None),
        Verdict("nl-2", False, Refusal(RefusedBy.CONDITION, "is Unreachable/Timeout")),
        Verdict("nl-3", False, Refusal(RefusedBy.FULL, "is full: 1 of 1 keys")),
        Verdict("nl-4", False, Refusal(RefusedBy.LEAVING, "is being left: moved")),
        Verdict("nl-5", False, None),
    ) == verdicts


def test_a_key_with_enough_nodes_says_so(node, key, placed) -> None:
    verdicts = explain_key(key(), [node("nl-1"), node("nl-2")], [placed("k1", "nl-1")], (), {})

    assert (
        Verdict("nl-1", True, None),
        Verdict("nl-2", False, Refusal(RefusedBy.NOT_CHOSEN, "is not needed: the key has 1 of 1")),
    ) == verdicts


def test_a_pinned_key_goes_nowhere_else_and_asks_for_no_label(node, key) -> None:
    pinned = key(pinned="de-1", labels={"country": "nl"})

    assert (
        Verdict("de-1", False, None),
        Verdict(
            "nl-1", False, Refusal(RefusedBy.PINNED, "is not de-1, which the key is pinned to")
        ),
    ) == explain_key(pinned, [node("nl-1"), node("de-1")], [], (), {})


def test_the_policy_of_the_node_decides(node, key) -> None:
    state = node("nl-1", xray_running=False)
    policies = (Policy(), Policy("nl", selector=(("country", "nl"),), require_xray=False))

    assert (Verdict("nl-1", False, None),) == explain_key(key(), [state], [], policies, {})
