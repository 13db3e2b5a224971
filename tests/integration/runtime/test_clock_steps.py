"""The wall clock is set, by minutes, hours and a day, at every awkward moment: what is promised holds."""

import os
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from controller.core.conditions import ConditionType
from controller.jobs.failover import given_up
from controller.runtime.clock_steps import ClockSteps
from controller.runtime.lease import SoleLease
from controller.runtime.versions import StatusVersions
from desired_state.commands import subscriptions
from desired_state.model.ids import NodeName
from desired_state.model.policy import Policy
from desired_state.store.errors import StoreBusy
from desired_state.store.tables.status import NodeStatusRow, RemoteGenerationRow, WebhookDeliveryRow
from tests.fakes.set_clock import SetClock
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet, status_of

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
STEPS = {
    "90 s ahead": 90, "90 s back": -90, "an hour ahead": 3600, "an hour back": -3600,
    "a day ahead": 86_400, "a day back": -86_400,
}  # fmt: skip
BOTH_WAYS = ("an hour ahead", "an hour back")
SAMPLED = tuple(STEPS) if DEEP else BOTH_WAYS
VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
MIDST = (
    [(version, step) for version in VERSIONS for step in STEPS]
    if DEEP
    else [("2.9.4", "an hour ahead"), ("3.2.8", "an hour back"), ("3.6.0", "90 s ahead")]
)
WAIT_S = 61
"""A create without an answer may be on its way for 60 s."""
LOST = {"kind": "lost_request", "method": "POST", "path": "/panel/api/clients/"}
WIDE = Policy(
    max_delete_share=1.0, max_delete_floor=100, fleet_delete_share=1.0, heals_per_hour=100
)


class Stepping:
    """Sets the clock as soon as a panel has answered so many times."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.seconds, self.after = 0, -1
        self.answers = self.stepped_s = 0

    def exchanged(self, exchange) -> None:
        del exchange
        if self.after == self.answers:
            self.clock.set(seconds=self.seconds)
            self.stepped_s = self.seconds
        self.answers += 1

    def arm(self, seconds: int, after: int) -> None:
        self.answers, self.seconds, self.after = 0, seconds, after
        self.stepped_s = 0


@asynccontextmanager
async def opened(tmp_path, monkeypatch, clock, *policies, observer=None, **wanted):
    """A fleet whose panels have been up for long."""
    async with open_fleet(
        tmp_path, monkeypatch, policies=policies, clock=clock, observer=observer, **wanted
    ) as fleet:
        for site in fleet.sites.values():
            site.panel.status_asked_ms = 0
        yield fleet


def pass_time(fleet, clock, seconds):
    clock.pass_(seconds)
    for site in fleet.sites.values():
        site.panel.clock.advance(seconds)


def creates(site):
    return sum("/add" in line or "bulkCreate" in line for line in site.log())


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
async def fleet(tmp_path, monkeypatch, clock):
    """One node of a version that stores a client twice when it is created twice."""
    async with opened(tmp_path, monkeypatch, clock, WIDE, one=Wanted("3.2.8")) as fleet:
        await fleet.reconcile()
        fleet.forget_requests()
        yield fleet


# -- between turns -----------------------------------------------------------------------------------


@pytest.mark.promise("S2")
@pytest.mark.promise("S3")
@pytest.mark.parametrize("step", SAMPLED)
async def test_a_create_without_an_answer_is_not_repeated_sooner_since_the_clock_was_set(
    fleet, clock, step
):
    """And not later either: a minute that passed is a minute, whatever the wall clock shows."""
    site = fleet["one"]
    site.panel.faults.arm(LOST)
    await fleet.issue()
    await fleet.reconcile()
    (asked,) = await journal_of(fleet, "one")
    assert asked.create_unknown_at is not None
    fleet.forget_requests()

    clock.set(seconds=STEPS[step])
    await fleet.reconcile()
    too_early = site.writes()
    pass_time(fleet, clock, WAIT_S)
    await fleet.reconcile()

    assert 0 == too_early
    assert 1 == len(site.ours())
    assert 1 == creates(site)


@pytest.mark.parametrize("step", BOTH_WAYS)
async def test_a_clock_that_was_set_while_nobody_ran_holds_up_nothing_for_hours(fleet, clock, step):
    """What an earlier process left in the future begins when the next one does."""
    site = fleet["one"]
    clock.set(seconds=STEPS[step])
    site.panel.faults.arm(LOST)
    await fleet.issue()
    await fleet.reconcile()
    clock.set(seconds=-STEPS[step])
    async with fleet.reopened(clock) as again:
        await again.reconcile()
        early = site.ours()
        pass_time(fleet, clock, WAIT_S)
        await again.reconcile()

    if STEPS[step] > 0:
        assert {} == early
    assert 1 == len(site.ours())


@pytest.mark.parametrize("step", SAMPLED)
async def test_the_share_of_deletes_is_counted_by_time_that_passed(
    tmp_path, monkeypatch, clock, step
):
    """A step forward makes no room, one back takes none away for longer than the window."""
    tight = Policy(fleet_delete_share=0.0, max_delete_floor=2, max_delete_share=1.0)
    async with opened(tmp_path, monkeypatch, clock, tight, one=Wanted("3.6.0")) as fleet:
        keys = await fleet.issue(6)
        await fleet.reconcile()
        for key in keys[:2]:
            await fleet.revoke(key)
        await fleet.reconcile()
        assert 4 == len(fleet["one"].ours())

        pass_time(fleet, clock, 30)
        clock.set(seconds=STEPS[step])
        for key in keys[2:4]:
            await fleet.revoke(key)
        await fleet.reconcile()
        within = len(fleet["one"].ours())
        pass_time(fleet, clock, 10 * 60)
        await fleet.reconcile()

        assert (4, 2) == (within, len(fleet["one"].ours()))


async def test_an_approval_lasts_no_longer_since_the_clock_was_set_back(
    tmp_path, monkeypatch, clock
):
    """It is a quarter of an hour; a clock an hour behind would make it an hour and a quarter."""
    narrow = Policy(max_delete_share=0.1, max_delete_floor=1, fleet_delete_share=1.0)
    async with opened(tmp_path, monkeypatch, clock, narrow, one=Wanted("3.6.0")) as fleet:
        keys = await fleet.issue(4)
        await fleet.reconcile()
        for key in keys[:3]:
            await fleet.revoke(key)
        report = await fleet.reconcile()
        await fleet.approve(report.nodes[0].blocked_sets[0].digest)

        clock.set(hours=-1)
        pass_time(fleet, clock, 20 * 60)
        await fleet.reconcile()
        held = len(fleet["one"].ours())
        await fleet.approve(report.nodes[0].blocked_sets[0].digest)
        await fleet.reconcile()

        assert (4, 1) == (held, len(fleet["one"].ours()))


@asynccontextmanager
async def fallen(tmp_path, monkeypatch, clock, *, looks):
    """Two nodes, one of which holds a key and was looked at in vain so many times."""
    quick = Policy(failover_after_s=300)
    async with opened(
        tmp_path, monkeypatch, clock, quick, one=Wanted("3.6.0"), two=Wanted("3.6.0"),
    ) as fleet:  # fmt: skip
        await fleet.issue(node="one")
        await fleet.reconcile()
        fleet["one"].panel.faults.arm({"kind": "reset", "path": ".*", "count": None})
        for _ in range(looks):
            await fleet.reconcile("one")
        yield fleet


@pytest.mark.parametrize("step", SAMPLED)
async def test_a_node_is_given_up_after_the_time_that_it_was_out_of_reach(
    tmp_path, monkeypatch, clock, step
):
    """Neither at once, since the clock was set ahead, nor hours later, since it was set back."""
    async with fallen(tmp_path, monkeypatch, clock, looks=3) as fleet:
        assert (await status_of(fleet, "one")).failures >= 2

        clock.set(seconds=STEPS[step])
        await fleet.controller.place()
        at_once = await given_up(fleet.controller.store, clock.now())
        pass_time(fleet, clock, 300)
        await fleet.reconcile("one")
        then = await given_up(fleet.controller.store, clock.now())

        assert (frozenset(), {"one"}) == (at_once, {node for node, _ in then})


async def test_a_stop_of_the_controller_counts_for_no_failover(tmp_path, monkeypatch, clock):
    """Hours in which nobody looked, and one look in vain: it may have fallen this very moment."""
    async with fallen(tmp_path, monkeypatch, clock, looks=2) as fleet:
        pass_time(fleet, clock, 20 * 3600)
        async with fleet.reopened(clock) as again:
            store = again.controller.store
            unseen = await again.controller.place()
            before = await given_up(store, clock.now())
            await again.reconcile("one")
            on_one_look = await given_up(store, clock.now())
            pass_time(fleet, clock, 200)
            await again.reconcile("one")
            too_soon = await given_up(store, clock.now())
            pass_time(fleet, clock, 100)
            await again.reconcile("one")
            after = await given_up(store, clock.now())

        assert ((), frozenset()) == (unseen.ended, before)
        assert (frozenset(), frozenset()) == (on_one_look, too_soon)
        assert {"one"} == {node for node, _ in after}


async def test_a_clock_that_ran_ahead_leaves_no_back_off_of_hours(fleet, clock):
    """Set forward and back again: the next look is due within a back-off, and at once where nobody ran."""
    site = fleet["one"]
    site.panel.faults.arm({"kind": "reset", "path": ".*", "count": None})
    clock.set(hours=6)
    await fleet.reconcile()
    clock.set(hours=-6)
    await fleet.controller.steps.settle()
    here = (await status_of(fleet, "one")).next_look_at
    clock.set(hours=30)
    await fleet.reconcile()
    clock.set(hours=-30)
    async with fleet.reopened(clock) as again:
        await again.controller.steps.settle()
        there = (await status_of(again, "one")).next_look_at

    assert here <= clock.now() + timedelta(seconds=10)
    assert there <= clock.now() + timedelta(seconds=10)


# -- in the middle of a turn ---------------------------------------------------------------------------


async def test_a_clock_that_was_wrong_when_a_turn_began_ends_no_subscription(
    tmp_path, monkeypatch, clock
):
    """It is right again before the panel answers, so the two clocks agree; the turn's moment is wrong."""
    stepping = Stepping(clock)
    async with opened(
        tmp_path, monkeypatch, clock, WIDE, observer=stepping, one=Wanted("3.6.0")
    ) as fleet:
        keys = await fleet.issue(2)
        await fleet.reconcile()
        fleet.forget_requests()
        clock.set(days=40)
        stepping.arm(-40 * 86_400, after=0)

        await fleet.reconcile()
        enabled = fleet["one"].enabled()

    assert {True} == set(enabled.values())
    assert (len(keys), 0) == (len(enabled), fleet["one"].writes())


@pytest.mark.promise("S2")
@pytest.mark.promise("S3")
@pytest.mark.promise("D1")
@pytest.mark.promise("D2")
@pytest.mark.parametrize(("version", "step"), MIDST)
async def test_wherever_in_a_turn_the_clock_is_set_everything_is_done_once(  # noqa: PLR0917 - fixtures
    tmp_path, monkeypatch, clock, version, step, rng, report_count
):
    """Creates, rotations, revocations: the same end, and no more calls that create or delete."""
    stepping = Stepping(clock)
    async with opened(
        tmp_path, monkeypatch, clock, WIDE, observer=stepping, one=Wanted(version)
    ) as fleet:
        await fleet.reconcile()
        site, keys = fleet["one"], await fleet.issue(4)
        await fleet.reconcile()
        tried = range(12) if DEEP else rng.sample(range(8), 2)
        for after in tried:
            before = set(site.ours())
            rotated, revoked, *_ = keys
            await fleet.rotate(rotated)
            await fleet.revoke(revoked)
            keys = [*keys[2:], rotated, *await fleet.issue(1)]
            site.panel.trail.begin(on=True)
            stepping.arm(STEPS[step], after)
            await fleet.reconcile()
            stepped_s = stepping.stepped_s
            stepping.arm(0, -1)
            for _ in range(3):
                pass_time(fleet, clock, 30)
                await fleet.reconcile()
            lines = site.panel.trail.lines
            seen = set(site.ours())
            # Right again: until then both clocks differ, and that is shown.
            clock.set(seconds=-stepped_s)
            report = await fleet.reconcile()

            assert (True, len(keys)) == (report.in_sync, len(seen))
            assert len(seen - before) == _clients(lines, "came")
            assert len(before - seen) == _clients(lines, "went")
            assert {True} == set(site.enabled().values())

    report_count({"clock steps in turns": len(tried)})


def _clients(lines, how):
    return sum(len(getattr(line, how)) for line in lines)


# -- noticing ------------------------------------------------------------------------------------------


@pytest.fixture
def steps(sqlite_store, clock):
    return ClockSteps(sqlite_store, StatusVersions(), SoleLease(), clock)


async def test_a_clock_that_drifts_was_not_set(steps, clock):
    for _ in range(100):
        clock.pass_(60)
        clock.set(seconds=0.03)

        assert 0 == steps.noticed()


async def test_every_step_is_noticed_once(steps, clock):
    clock.set(hours=1)
    first = steps.noticed(), steps.noticed()
    clock.set(hours=-1)

    assert ((1, 1), 2) == (first, steps.noticed())


async def test_a_suspended_machine_is_no_step(steps, clock):
    """Time passed on both clocks."""
    clock.pass_(8 * 3600)

    assert 0 == steps.noticed()


async def test_what_could_not_be_moved_is_moved_by_the_next_call(steps, clock, monkeypatch):
    """A turn that could not settle does not begin."""
    await steps.settle()
    clock.set(hours=1)
    real, fails = steps._move, [StoreBusy("it is busy")]

    async def once(step):
        if fails:
            raise fails.pop()
        return await real(step)

    monkeypatch.setattr(steps, "_move", once)
    with pytest.raises(StoreBusy):
        await steps.settle()
    async with steps._store.recording() as session:
        session.add(_waiting(clock.now() - timedelta(hours=1, seconds=5)))
    await steps.settle()
    await steps.settle()

    async with steps._store.reading() as session:
        (row,) = await session.scalars(select(RemoteGenerationRow))
    age_s = (clock.now() - row.create_unknown_at).total_seconds()
    assert 5 == round(age_s)


def _waiting(at, node="one"):
    return RemoteGenerationRow(
        node=node, email="x3f-a-g1", key="a", generation=1, inbound_ids=[1], sub_id="s",
        password_bytes=32, state="intended", create_unknown_at=at, changed_at=at,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_replica_whose_clock_is_slow_ends_no_wait_of_others(store, clock):
    """A create that ended without an answer a moment ago seems to lie ten minutes ahead to it."""
    asked_at = clock.now()
    async with store.recording() as session:
        session.add(_waiting(asked_at))
    clock.set(minutes=-10)
    await ClockSteps(store, StatusVersions(), SoleLease(), clock).settle()

    async with store.reading() as session:
        (row,) = await session.scalars(select(RemoteGenerationRow))
    assert asked_at == row.create_unknown_at


async def test_a_webhook_is_not_held_up_by_a_clock_that_was_set_back(steps, clock):
    await steps.settle()
    clock.set(hours=5)
    await steps.settle()
    due = clock.now() + timedelta(seconds=30)
    async with steps._store.recording() as session:
        session.add(WebhookDeliveryRow(notification_id=1, hook="h", state="waiting", next_at=due))
    clock.set(hours=-5)
    await steps.settle()

    async with steps._store.reading() as session:
        (row,) = await session.scalars(select(WebhookDeliveryRow))
    assert row.next_at <= clock.now() + timedelta(seconds=31)


async def test_since_when_a_node_is_out_of_reach_never_lies_ahead(fleet, clock):
    """Of a clock that ran ahead in an earlier process; the next look begins it anew."""
    fleet["one"].panel.faults.arm({"kind": "reset", "path": ".*", "count": None})
    clock.set(hours=2)
    await fleet.reconcile()
    clock.set(hours=-2)
    async with fleet.reopened(clock) as again:
        await again.reconcile()
        async with again.controller.store.reading() as session:
            row = await session.get_one(NodeStatusRow, NodeName("one"))
        kinds = {c["type"]: c["since"] for c in row.conditions}

    assert kinds[ConditionType.UNREACHABLE.value] <= clock.now().isoformat()


async def test_time_that_passes_still_ends_a_subscription(fleet, clock):
    """The cure must not keep what is over: a month later, on both clocks, they are switched off."""
    keys = await fleet.issue(1)
    await fleet.reconcile()
    owner = await fleet.owner(keys[0])
    await fleet.run(lambda work: subscriptions.extend(work, owner, 1))

    pass_time(fleet, clock, 32 * 86_400)
    await fleet.reconcile()

    assert {False} == set(fleet["one"].enabled().values())


class Leased:
    """A replica's lease of some nodes."""

    def __init__(self, *nodes) -> None:
        self.held = frozenset(nodes)

    def nodes(self):
        return self.held


async def test_a_replica_brings_back_what_lies_ahead_of_its_own_nodes_alone(sqlite_store, clock):
    """The others are at work with it: of their nodes their replica knows whether a clock was wrong."""
    ahead = clock.now() + timedelta(hours=5)
    async with sqlite_store.recording() as session:
        session.add_all([_waiting(ahead), _waiting(ahead, node="two")])
        session.add_all([_fallen(node, ahead) for node in ("one", "two")])
    lease = Leased()
    steps = ClockSteps(sqlite_store, StatusVersions(), lease, clock)

    seen = []
    for held in ((), ("one",), ("one",), ("one", "two")):
        lease.held = frozenset(held)
        await steps.settle()
        seen.append(await _still_ahead(sqlite_store, clock))

    assert [["one", "two"], ["two"], ["two"], []] == seen


async def test_a_node_that_comes_back_from_another_replica_is_looked_at_again(sqlite_store, clock):
    lease = Leased("one")
    steps = ClockSteps(sqlite_store, StatusVersions(), lease, clock)
    await steps.settle()
    lease.held = frozenset()
    await steps.settle()
    async with sqlite_store.recording() as session:
        session.add(_waiting(clock.now() + timedelta(hours=5)))
        session.add(_fallen("one", clock.now() + timedelta(hours=5)))

    lease.held = frozenset({"one"})
    await steps.settle()

    assert [] == await _still_ahead(sqlite_store, clock)


def _fallen(node, since):
    unreachable = {"type": "Unreachable", "reason": "Timeout", "since": since.isoformat()}
    return NodeStatusRow(node=node, failures=1, conditions=[unreachable], changed_at=since)


async def _still_ahead(store, clock):
    async with store.reading() as session:
        unknown = {
            row.node
            for row in await session.scalars(select(RemoteGenerationRow))
            if row.create_unknown_at > clock.now()
        }
        fallen = {
            row.node
            for row in await session.scalars(select(NodeStatusRow))
            if datetime.fromisoformat(row.conditions[0]["since"]) > clock.now()
        }
    assert unknown == fallen
    return sorted(unknown)
