"""A run is summed up in an exit code and a word for each node, and says what a person does next."""

from dataclasses import replace

import pytest

from cli.advice import advise
from cli.exits import Exit
from cli.render import Grid, Text
from cli.reports import exit_code, plan_blocks, run_blocks, state_of, summary
from controller.core.conditions import BlockedSet, Condition, ConditionType, NodeStatus
from controller.core.effects import Verb
from controller.core.observed import NotObserved, NotSeen
from controller.core.plan import Action, Plan, Waiting
from controller.core.result import Result
from controller.runtime.report import FleetReport, NodeReport
from desired_state.model.ids import Digest, Email, Generation, InboundId, KeyId, NodeName
from desired_state.scheduling.result import Unschedulable

DIGEST = Digest("abcdef0123456789" * 4)
CREATE = Action(Verb.CREATE, Email("x3f-aa-g1"), KeyId("aa"), Generation(1), (InboundId(1),), "new")


def node(name: str = "nl-1", *, reason: str = "", kind: str = "", **changes: object) -> NodeReport:
    """Make the report of a node with one condition, or a result with some fields changed."""
    name_of_node = NodeName(name)
    conditions = (Condition(ConditionType(kind), reason, "it is so"),) if kind else ()
    status = NodeStatus(conditions=conditions)
    result = replace(Result(name_of_node, status), **changes)
    return NodeReport(name_of_node, rounds=1, first=result, last=result)


UNSEEN = NotObserved(NodeName("nl-1"), NotSeen.UNREACHABLE, "it does not answer")
NODES = {
    "in sync": (node(), "in sync", Exit.DONE),
    "something to do": (node(remaining=Plan(actions=(CREATE,))), "to do", Exit.DRIFT),
    "something waits": (node(remaining=Plan(waiting=(Waiting(Email("e"), "x"),))), "waiting", Exit.DRIFT),
    "a guard holds": (node(kind="Blocked", reason="TooManyDeletes"), "blocked", Exit.BLOCKED),
    "another panel": (node(kind="Stalled", reason="IdentityChanged"), "blocked", Exit.BLOCKED),
    "drifted": (node(kind="Drifted", reason="InboundDisabled"), "drifted", Exit.DRIFT),
    "warned": (node(kind="Drifted", reason="Quarantined"), "in sync", Exit.DONE),
    "a key is not served": (node(remaining=Plan(unserved=1)), "drifted", Exit.DRIFT),
    "paused": (node(kind="Paused", reason="Paused"), "paused", Exit.DONE),
    "not seen": (node(kind="Unreachable", reason="Unreachable", not_observed=UNSEEN), "failed", Exit.ERROR),
    "broken off": (replace(node(), error="the database is gone"), "failed", Exit.ERROR),
}  # fmt: skip


@pytest.mark.parametrize(("report", "state", "code"), NODES.values(), ids=NODES)
def test_a_node_is_summed_up_in_a_word_and_a_code(
    report: NodeReport, state: str, code: Exit
) -> None:
    assert (state, code) == (state_of(report), exit_code(FleetReport((node("ok"), report))))


def test_drift_that_no_call_mends_is_told_apart_from_work_to_do() -> None:
    report = FleetReport((NODES["drifted"][0],))

    assert "1 node drifted: nothing to send, see above" == summary(report, planned=True).text
    assert "1 node drifted: nothing to send, see above" == summary(report, planned=False).text


def test_an_error_weighs_more_than_a_guard_and_a_guard_more_than_drift() -> None:
    drift, blocked = NODES["something to do"][0], NODES["a guard holds"][0]
    failed = NODES["not seen"][0]

    assert Exit.BLOCKED == exit_code(FleetReport((drift, blocked)))
    assert Exit.ERROR == exit_code(FleetReport((drift, blocked, failed)))


def test_a_key_without_a_node_is_drift() -> None:
    report = FleetReport(
        (node(),), unschedulable=(Unschedulable(KeyId("aa"), 1, "no node carries country=nl"),)
    )

    text = said(plan_blocks(report, every=False))

    assert Exit.DRIFT == exit_code(report)
    assert "key aa would not be placed on 1 node: no node carries country=nl" in text


def said(blocks: object) -> str:
    """Everything but tables, as text."""
    assert not isinstance(blocks, str)
    texts = [b.text if isinstance(b, Text) else b for b in blocks if not isinstance(b, Grid)]  # type: ignore[attr-defined]
    return "\n".join(str(text) for text in texts)


def blocked_report() -> FleetReport:
    blocked = BlockedSet("deletes", DIGEST, tuple(f"x3f-k{n}-g1" for n in range(5)))
    report = node(kind="Blocked", reason="TooManyDeletes")
    assert report.last is not None
    status = replace(report.last.status, blocked_sets=(blocked,))
    return FleetReport((replace(report, last=replace(report.last, status=status)),))


@pytest.mark.parametrize(
    ("stored", "steps"),
    [
        ({("nl-1", DIGEST)}, f"x3fleet approve {DIGEST[:12]}, then x3fleet reconcile now"),
        (
            {("nl-2", DIGEST), ("nl-1", "0" * 64)},
            (
                "x3fleet reconcile now --node nl-1 first, which does the rest, "
                f"then x3fleet approve {DIGEST[:12]}, then x3fleet reconcile now"
            ),
        ),
    ],
    ids=["a run withheld it", "only seen by plan"],
)
def test_a_plan_advises_to_approve_only_what_can_be_approved(
    stored: set[tuple[str, str]], steps: str
) -> None:
    text = said(plan_blocks(blocked_report(), every=False, stored=stored))

    assert f"    if that is right: {steps} --node nl-1" in text.splitlines()


def test_what_is_withheld_is_shown_with_the_command_that_approves_it() -> None:
    text = said(run_blocks(blocked_report()))

    assert "Blocked/TooManyDeletes: it is so" in text
    assert "5 clients (deletes): x3f-k0-g1, x3f-k1-g1, x3f-k2-g1 ..." in text
    assert f"x3fleet approve {DIGEST[:12]}, then x3fleet reconcile now --node nl-1" in text


def test_a_long_plan_is_cut_and_says_so() -> None:
    actions = tuple(replace(CREATE, email=Email(f"x3f-k{n:02}-g1")) for n in range(25))
    report = FleetReport((node(remaining=Plan(actions=actions)),))

    short, whole = said(plan_blocks(report, every=False)), said(plan_blocks(report, every=True))

    assert "and 5 more, see --all" in short
    assert (20, 25) == (short.count("+ create"), whole.count("+ create"))
    assert "25 actions to do; x3fleet reconcile now does it" == summary(report, planned=True).text


@pytest.mark.parametrize("reason", [member.value for member in NotSeen])
def test_a_panel_that_is_not_seen_comes_with_advice(reason: str) -> None:
    """But for a missing secret, where the message itself says what to do."""
    assert bool(advise(reason, "nl-1")) == (reason != NotSeen.NOT_CONFIGURED.value)
