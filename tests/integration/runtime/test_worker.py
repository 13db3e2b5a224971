"""The worker's own duties: limits of a turn, the mode before each write, one look at defects."""

import asyncio
from datetime import timedelta

import pytest
import structlog

from controller.core.conditions import ConditionType
from controller.panels.api.clock import SystemClock
from controller.runtime.errors import LeaseLost
from controller.runtime.records import Records
from controller.settings import TurnSettings
from desired_state.commands import nodes
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode
from desired_state.model.policy import Policy
from desired_state.queries.node import show_node
from desired_state.store.errors import StoreBusy
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet

ONE = NodeName("one")
SLOW_CALLS = Policy(unknown_create_wait_s=0)
SINGLES = {"one": Wanted("2.9.4")}


class StepClock(SystemClock):
    """Time that a test moves on, on both clocks."""

    def __init__(self):
        self.moved = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.moved)

    def monotonic(self):
        return super().monotonic() + self.moved


def after_each_write(fleet, act):
    """Do something after every write that a panel has answered."""
    for site in fleet.sites.values():
        answer = site.panel.answer

        def heard(call, answer=answer):
            reply = answer(call)
            if call.method == "POST" and "/clients/add" in call.path:
                act()
            return reply

        site.panel.answer = heard


async def test_a_turn_starts_no_write_after_its_time_and_the_next_goes_on(tmp_path, monkeypatch):
    """Twenty seconds of writing, then others have their turn; nothing is lost by it."""
    clock = StepClock()
    async with open_fleet(
        tmp_path, monkeypatch, policies=(SLOW_CALLS,), clock=clock, one=Wanted("3.1.0")
    ) as fleet:
        await fleet.issue(3)

        def pass_time():
            clock.moved += 15

        after_each_write(fleet, pass_time)

        report = await fleet.reconcile()

        assert 3 == len(fleet["one"].ours())
        assert report.in_sync
        assert 2 == report.nodes[0].rounds
        assert 3 == report.totals["created"]


async def test_rounds_that_time_cut_short_do_not_count_against_the_five(tmp_path, monkeypatch):
    clock = StepClock()
    async with open_fleet(
        tmp_path, monkeypatch, policies=(SLOW_CALLS,), clock=clock, one=Wanted("3.1.0")
    ) as fleet:
        await fleet.issue(8)

        def pass_time():
            clock.moved += 25

        after_each_write(fleet, pass_time)

        report = await fleet.reconcile()

        assert 8 == len(fleet["one"].ours())
        assert report.nodes[0].rounds > 5


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    ("mode", "created"), [(Mode.PAUSED, 1), (Mode.OBSERVE, 1), (Mode.UPSERT_ONLY, 3)]
)
async def test_a_stricter_mode_takes_effect_at_the_next_write(tmp_path, monkeypatch, mode, created):
    """3.1.0 creates one by one: the mode changes while the first of three is on its way."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.1.0")) as fleet:
        await fleet.issue(3)
        changed = []

        def change():
            if not changed:
                changed.append(
                    asyncio.ensure_future(fleet.run(lambda work: nodes.set_mode(work, ONE, mode)))
                )

        after_each_write(fleet, change)
        hold_writes_until(fleet, changed, monkeypatch)

        await fleet.reconcile()

        assert created == len(fleet["one"].ours())


async def test_a_node_that_is_declared_otherwise_gets_no_further_write(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.1.0")) as fleet:
        await fleet.issue(3)
        changed = []

        def change():
            if not changed:
                changed.append(
                    asyncio.ensure_future(fleet.declare("one", url="http://127.0.0.1:9/"))
                )

        after_each_write(fleet, change)
        hold_writes_until(fleet, changed, monkeypatch)

        report = await fleet.reconcile()

        assert 1 == len(fleet["one"].ours())
        assert report.failed


async def test_a_turn_that_hangs_is_ended(tmp_path, monkeypatch):
    turns = TurnSettings(turn_s=0.5)
    async with open_fleet(tmp_path, monkeypatch, turns=turns, one=Wanted("2.9.4")) as fleet:
        await fleet.issue(1)
        fleet["one"].panel.faults.arm(
            {"kind": "slow", "path": "login", "delay_ms": 5_000, "count": None}
        )

        report = await fleet.reconcile()

        condition = report.nodes[0].status.find(ConditionType.UNREACHABLE)
        assert "Timeout" == condition.reason


async def test_a_busy_database_ends_a_turn_and_the_next_run_goes_on(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(2)
        record = Records.record

        async def busy(self, effect, now, cycle):
            if type(effect).__name__ == "RecordRows":
                raise StoreBusy("another writer held the database")
            return await record(self, effect, now, cycle)

        monkeypatch.setattr(Records, "record", busy)
        broken = await fleet.reconcile()
        monkeypatch.setattr(Records, "record", record)

        report = await fleet.reconcile()

        assert ["another writer held the database"] == [node.error for node in broken.nodes]
        assert not broken.in_sync
        assert 2 == len(fleet["one"].ours())
        assert report.in_sync


async def test_a_defect_at_one_node_stops_no_other(tmp_path, monkeypatch):
    both = {"bad": Wanted("3.6.0"), "good": Wanted("3.6.0")}
    async with open_fleet(tmp_path, monkeypatch, **both) as fleet:
        await fleet.issue(1, "bad")
        await fleet.issue(1, "good")
        record = Records.record

        async def defect(self, effect, now, cycle):
            if effect.node == "bad":
                raise KeyError("a bug")
            return await record(self, effect, now, cycle)

        monkeypatch.setattr(Records, "record", defect)

        report = await fleet.reconcile()

        assert ["a defect: KeyError", ""] == [node.error for node in report.nodes]
        assert 1 == len(fleet["good"].ours())


async def test_a_turn_writes_one_canonical_line(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(2)
        with structlog.testing.capture_logs(
            processors=[structlog.contextvars.merge_contextvars]
        ) as lines:
            await fleet.reconcile()

        (line,) = [line for line in lines if line["event"] == "cycle_finished"]
        assert ("one", 2, 2, "InSync", "enforce") == (
            line["node"], line["created"], line["verified"], line["result"], line["mode"],
        )  # fmt: skip
        assert 12 == len(line["cycle_id"])


@pytest.mark.promise("S6")
async def test_keys_are_placed_only_by_who_holds_the_database(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(1)
        before = await fleet.database()

        with pytest.raises(LeaseLost):
            await fleet.controller.place()

        assert before == await fleet.database()


async def test_only_a_turn_in_which_something_happened_is_kept(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(1)
        for _ in range(3):
            await fleet.reconcile()

        async with fleet.controller.store.reading() as session:
            detail = await show_node(session, ONE)

        assert [1] == [cycle.counts["created"] for cycle in detail.cycles]
        assert {cycle.id for cycle in detail.cycles} >= {
            event.cycle_id for event in detail.events if event.key
        }


async def test_the_width_of_calls_is_kept_from_turn_to_turn(tmp_path, monkeypatch):
    """A panel that answered 500 quickly is given 1,000 the next time."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        first = fleet.controller.worker._widths[ONE]
        await fleet.issue(2)
        await fleet.reconcile()

        assert fleet.controller.worker._widths[ONE] >= first > 0
        assert all(row.create_unknown_at is None for row in await journal_of(fleet, "one"))


def hold_writes_until(fleet, changed, monkeypatch):
    """Let no write begin before the change that is under way has been stored."""
    reader = fleet.controller.worker._reader
    approach_since = reader.approach_since

    async def settled(before):
        if changed:
            await changed[0]
        return await approach_since(before)

    monkeypatch.setattr(reader, "approach_since", settled)
