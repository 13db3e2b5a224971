"""Rounds: who gets another turn, when a run ends, and that it always does."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import Outcome, Verb, Verdict
from controller.core.guards import Refusal
from controller.core.observed import NotObserved, NotSeen
from controller.core.plan import Action, Plan, Waiting
from controller.core.result import Result, Sent
from controller.runtime.report import FleetReport, NodeReport, Stage, add_up
from controller.runtime.rounds import AT_ONCE, MOST_ROUNDS, Rounds
from controller.runtime.worker import TurnReport
from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName

A, B = NodeName("a"), NodeName("b")
SENT = (Sent(Verb.CREATE, 1, Outcome(Verdict.APPLIED)),)


def action(number=0):
    return Action(
        Verb.CREATE, Email(f"x3f-{number}"), KeyId("k"), Generation(1), (InboundId(1),), "new"
    )


def plan(left=0, waiting=0):
    return Plan(
        actions=tuple(action(number) for number in range(left)),
        waiting=tuple(Waiting(Email(f"w{number}"), "it waits") for number in range(waiting)),
    )


def in_sync(node=A):
    return Result(node, NodeStatus())


def worked(node=A, left=0, waiting=0, **fields):
    return Result(node, NodeStatus(), remaining=plan(left, waiting), sent=SENT, created=1, **fields)


@dataclass
class FakeWorker:
    """Plays turns by node; the last one is repeated. `log`: the order of turns."""

    turns: dict[NodeName, list[TurnReport | Result | Exception]]
    log: list[NodeName] = field(default_factory=list)
    most: int = 0
    running: int = 0

    async def turn(self, node):
        self.log.append(node)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        play = self.turns[node]
        turn = play.pop(0) if len(play) > 1 else play[0]
        if isinstance(turn, Exception):
            raise turn
        return turn if isinstance(turn, TurnReport) else TurnReport(node, turn, 1.0)


@dataclass
class FakeRecords:
    """Hands out the nodes that were set free, round by round."""

    released: list[set[NodeName]] = field(default_factory=list)

    def take_released(self):
        return frozenset(self.released.pop(0)) if self.released else frozenset()


@dataclass(frozen=True)
class Placed:
    """What a pass of the scheduler answers."""

    nodes: tuple[NodeName, ...] = ()
    settled: bool = True
    looks: tuple[NodeName, ...] = ()


async def run(turns, *, released=(), placed=(Placed(),), on_event=None):
    """Run rounds over these nodes; returns reports, the worker, and how often keys were placed."""
    worker = FakeWorker({node: list(play) for node, play in turns.items()})
    passes = []

    async def place():
        passes.append(1)
        return placed[min(len(passes), len(placed)) - 1]

    rounds = Rounds(worker, FakeRecords([set(), *released]), place, on_event)
    reports = await rounds.run(tuple(turns))
    return reports, worker, len(passes)


async def test_a_converged_fleet_takes_one_turn_a_node_and_one_pass():
    reports, worker, passes = await run({A: [in_sync(A)], B: [in_sync(B)]})

    assert ([A, B], 1) == (worker.log, passes)
    assert [1, 1] == [report.rounds for report in reports]
    assert all(report.is_in_sync for report in reports)


async def test_a_node_that_finished_its_work_gets_no_second_turn():
    """Its last look has proved it."""
    _, worker, _ = await run({A: [worked()]})

    assert [A] == worker.log


async def test_a_node_with_work_left_goes_on_and_others_do_not():
    _, worker, _ = await run({A: [worked(A, left=2), worked(A)], B: [in_sync(B)]})

    assert [A, B, A] == worker.log


async def test_a_node_that_another_one_set_free_gets_a_turn():
    waits = Result(B, NodeStatus(), remaining=plan(waiting=1))
    reports, worker, _ = await run({A: [worked(A)], B: [waits, worked(B)]}, released=[{B}])

    assert [A, B, B] == worker.log
    assert all(report.is_in_sync for report in reports)


async def test_a_node_that_the_scheduler_gave_keys_gets_a_turn():
    _, worker, passes = await run(
        {A: [worked(A)], B: [in_sync(B), worked(B)]},
        placed=(Placed(settled=False), Placed((B,))),
    )

    assert [A, B, B] == worker.log
    assert 2 == passes


async def test_keys_are_placed_again_only_while_the_last_pass_left_something():
    """Placing is sticky: where every key has its nodes, another pass would change nothing."""
    turns = {A: [worked(A, left=1), worked(A, left=1), worked(A)]}

    _, _, content = await run(turns)
    _, _, moving = await run(turns, placed=(Placed(settled=False),))

    assert (1, 4) == (content, moving)


async def test_keys_are_placed_again_once_a_node_was_seen_otherwise_than_before():
    recovered = TurnReport(A, in_sync(A), 1.0, recorded=True)

    _, _, seen_anew = await run({A: [recovered]}, placed=(Placed(settled=False),))
    _, _, as_before = await run({A: [in_sync(A)]}, placed=(Placed(settled=False),))

    assert (2, 1) == (seen_anew, as_before)


async def test_only_nodes_of_the_run_get_turns():
    _, worker, _ = await run({A: [worked(A)]}, released=[{B}], placed=(Placed((B,), False),))

    assert [A] == worker.log


async def test_what_a_guard_withholds_is_no_reason_to_go_on():
    held = action(0)
    refusal = Refusal(Condition(ConditionType.BLOCKED, "TooManyDeletes"), frozenset({held}))
    blocked = replace(worked(), remaining=Plan(actions=(held,)), refusals=(refusal,))

    _, worker, _ = await run({A: [blocked]})

    assert [A] == worker.log


async def test_a_node_that_waits_for_time_alone_ends_the_run():
    """A create whose answer was lost may arrive for 60 s: nothing here waits for that."""
    reports, worker, _ = await run({A: [worked(A, waiting=1)]})

    assert [A] == worker.log
    assert not reports[0].is_in_sync


async def test_a_node_that_never_gets_done_ends_the_run_after_five_rounds():
    _, worker, _ = await run({A: [worked(A, left=1)]})

    assert [A] * MOST_ROUNDS == worker.log


async def test_rounds_that_time_cut_short_do_not_count_while_they_get_on():
    cuts = [TurnReport(A, worked(A, left=left), 20.0, out_of_time=True) for left in range(9, 0, -1)]

    reports, worker, _ = await run({A: [*cuts, worked(A)]})

    assert 10 == len(worker.log)
    assert (10, True) == (reports[0].created, reports[0].is_in_sync)


async def test_rounds_that_time_cut_short_count_when_they_get_nowhere():
    """Else a run could go on for ever."""
    cut = TurnReport(A, worked(A, left=3), 20.0, out_of_time=True)

    _, worker, _ = await run({A: [cut]})

    assert MOST_ROUNDS + 1 == len(worker.log)


@pytest.mark.parametrize("reason", [NotSeen.UNREACHABLE, NotSeen.CREDENTIALS_REFUSED])
async def test_a_node_that_was_not_seen_is_not_asked_again(reason):
    unseen = Result(A, NodeStatus(), not_observed=NotObserved(A, reason, "why"))

    reports, worker, _ = await run({A: [unseen]})

    assert [A] == worker.log
    assert reports[0].failed


async def test_a_turn_that_broke_off_ends_its_node_and_no_other():
    broken = TurnReport(A, None, 1.0, error="the database is busy")

    reports, worker, _ = await run({A: [broken], B: [worked(B, left=1), worked(B)]})

    assert [A, B, B] == worker.log
    assert ["the database is busy", ""] == [report.error for report in reports]


async def test_a_defect_at_one_node_stops_no_other():
    reports, worker, _ = await run({A: [KeyError("bug")], B: [in_sync(B)]})

    assert [A, B] == worker.log
    assert ["a defect: KeyError", ""] == [report.error for report in reports]


async def test_no_more_than_so_many_turns_run_at_once():
    nodes = [NodeName(f"n{number:03d}") for number in range(AT_ONCE + 20)]

    _, worker, _ = await run({node: [in_sync(node)] for node in nodes})

    assert AT_ONCE == worker.most
    assert len(nodes) == len(worker.log)


async def test_each_step_is_told_as_it_happens():
    heard = []

    await run({A: [worked(A, left=1), worked(A)]}, on_event=heard.append)

    told = [(step.stage, step.round, step.node, step.done, step.total) for step in heard]
    assert [
        (Stage.STARTED, 1, A, 0, 1),
        (Stage.FINISHED, 1, A, 1, 1),
        (Stage.STARTED, 2, A, 0, 1),
        (Stage.FINISHED, 2, A, 1, 1),
    ] == told


# -- reports ---------------------------------------------------------------------------------------


def test_turns_add_up_and_the_last_one_says_how_it_stands():
    report = NodeReport(A)
    for left in (2, 1, 0):
        report = report.plus(TurnReport(A, worked(A, left=left, looks=2), 1.5))

    assert (3, 3, 3, 6, 4.5) == (
        report.rounds, report.created, report.writes, report.looks, report.duration_s,
    )  # fmt: skip
    assert (0, True) == (report.actions_left, report.is_in_sync)


def test_a_turn_that_broke_off_keeps_what_was_done_before():
    report = NodeReport(A).plus(TurnReport(A, worked(A), 1.0))

    report = report.plus(TurnReport(A, None, 1.0, error="busy"))

    assert (1, "busy", False, True) == (
        report.created, report.error, report.is_in_sync, report.failed,
    )  # fmt: skip


def test_a_fleet_is_in_sync_when_all_its_nodes_are_and_every_key_has_a_place():
    done = NodeReport(A).plus(TurnReport(A, in_sync(), 1.0))
    left = NodeReport(B).plus(TurnReport(B, worked(B, left=1), 1.0))

    assert FleetReport((done,)).in_sync
    assert not FleetReport((done, left)).in_sync
    assert not FleetReport((done,), unschedulable=("k",)).in_sync
    assert not FleetReport((NodeReport(A),)).in_sync


def test_totals_are_sums():
    nodes = tuple(NodeReport(node).plus(TurnReport(node, worked(node), 1.0)) for node in (A, B))

    totals = add_up(nodes)

    assert (2, 2, 0) == (totals["created"], totals["writes"], totals["deleted"])


def test_a_blocked_node_is_named():
    status = NodeStatus(conditions=(Condition(ConditionType.BLOCKED, "TooManyDeletes"),))
    report = NodeReport(A).plus(TurnReport(A, Result(A, status), 1.0))

    assert ((report,), ()) == (FleetReport((report,)).blocked, FleetReport((report,)).failed)
