"""History: what a line tells, what is folded, whose plan it names, how long customers waited."""

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from controller.core import effects as fx
from controller.core.conditions import NodeStatus
from controller.core.result import Sent
from controller.runtime.history import LINES_APART, EventLog, Line
from controller.telemetry import metrics
from desired_state.commands import keys
from desired_state.model.generation import JournalState
from desired_state.model.ids import Epoch, Generation, InboundId
from desired_state.model.placement import DeleteReason
from desired_state.store.errors import StoreError
from desired_state.store.tables.status import EventRow
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import DATASETS, MONTH, NL1, NL2
from tests.integration.runtime.test_records import Desk, row

ONE, TWO = Generation(1), Generation(2)


@pytest.fixture
async def desk(store):
    """Three ready nodes, and a controller that holds them."""
    await DATASETS["fleet without keys"](store)
    desk = Desk(store)
    await desk.lease.take(store)
    return desk


def epoch(desk):
    return desk.lease.epoch(NL1)


async def append(desk, name, *lines, cycle="c1", node=NL1):
    async with desk.store.recording() as session:
        log = EventLog(await session.connection(), node, desk.store.clock.now(), cycle, Epoch(7))
        await log.append(name, lines)


async def told(desk, *fields):
    async with desk.store.reading() as session:
        found = await session.scalars(select(EventRow).order_by(EventRow.id))
        return [tuple(getattr(event, name) for name in fields) for event in found]


# -- folding ---------------------------------------------------------------------------------------


async def test_a_repetition_within_the_hour_is_counted_in_the_line_that_stands(desk):
    first_at = desk.store.clock.now()
    for _ in range(3):
        await append(
            desk,
            "condition_came",
            Line(detail="Unreachable/Timeout: 5 s", after="Unreachable/Timeout"),
        )
        desk.store.clock.advance(minutes=10)
    await append(
        desk, "condition_came", Line(detail="Unreachable/Timeout: 7 s", after="Unreachable/Timeout")
    )

    assert [(4, first_at, desk.store.clock.now(), "Unreachable/Timeout: 7 s")] == await told(
        desk, "times", "at", "last_at", "detail"
    )


async def test_a_repetition_after_an_hour_is_news(desk):
    await append(desk, "action_unknown", Line(detail="create"))
    desk.store.clock.advance(minutes=61)
    await append(desk, "action_unknown", Line(detail="create"))

    assert [(1,), (1,)] == await told(desk, "times")


async def test_a_node_that_flaps_leaves_two_lines(desk):
    for _ in range(5):
        await append(desk, "condition_came", Line(after="Unreachable/Timeout"))
        await append(desk, "condition_went", Line(before="Unreachable/Timeout"))

    assert [("condition_came", 5), ("condition_went", 5)] == await told(desk, "name", "times")


async def test_the_order_of_a_clients_history_is_kept(desk):
    """Live, gone, live again: three lines, though the first and the last say the same."""
    for name in ("generation_live", "generation_finalised", "generation_live"):
        await append(desk, name, Line("k", "x3f-k-g1"))

    assert [("generation_live",), ("generation_finalised",), ("generation_live",)] == await told(
        desk, "name"
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"name": "node_recovered"}, id="another event"),
        pytest.param({"node": NL2}, id="another node"),
        pytest.param({"line": Line(detail="delete")}, id="another detail"),
        pytest.param({"line": Line(detail="create", outcome="unknown")}, id="another outcome"),
        pytest.param({"line": Line(email="x3f-k-g1", detail="create")}, id="about a client"),
    ],
)
async def test_what_says_something_else_is_a_line_of_its_own(desk, other):
    await append(desk, "action_unknown", Line(detail="create"))
    await append(
        desk,
        other.get("name", "action_unknown"),
        other.get("line", Line(detail="create")),
        node=other.get("node", NL1),
    )

    assert [(1,), (1,)] == await told(desk, "times")


async def test_many_lines_at_once_are_one_that_counts(desk):
    lines = [Line(f"k{n}", f"x3f-k{n}-g1") for n in range(LINES_APART + 1)]

    await append(desk, "generation_live", *lines[:LINES_APART])
    await append(desk, "generation_finalised", *lines)

    found = await told(desk, "name", "email", "detail")
    assert LINES_APART == sum(name == "generation_live" for name, _, _ in found)
    assert ("generation_finalised", "", f"{LINES_APART + 1} clients") == found[-1]


# -- what a line tells -----------------------------------------------------------------------------


async def test_a_clients_life_is_told_with_states_outcome_and_epoch(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE, delete_reason=DeleteReason.REVOKED)
    for effect in (
        fx.JournalIntent(NL1, (row(key),), epoch(desk)),
        fx.RecordRows(NL1, (live,), epoch(desk)),
        fx.Finalise(NL1, (fx.Gone(live),), epoch(desk)),
    ):
        await desk.record(effect)

    assert [
        ("generation_journalled", "", "intended", "", ""),
        ("generation_live", "intended", "live", "", ""),
        ("generation_finalised", "live", "gone", "applied", "revoked"),
    ] == await told(desk, "name", "before", "after", "outcome", "detail")
    assert {(epoch(desk), "cycle-1")} == set(await told(desk, "epoch", "cycle_id"))


async def test_a_condition_is_told_as_what_came_and_what_went(desk):
    events = (
        fx.Event("condition_came", detail="Blocked/TooManyDeletes: 9 of 10 would go"),
        fx.Event("condition_went", detail="Unreachable/Timeout"),
    )

    await desk.record(fx.WriteStatus(NL1, NodeStatus(), epoch(desk), events=events))

    assert [
        ("condition_came", "", "Blocked/TooManyDeletes"),
        ("condition_went", "Unreachable/Timeout", ""),
    ] == await told(desk, "name", "before", "after")


def cycle(desk, number, plan="ab" * 32):
    now = desk.store.clock.now()
    return {
        "id": number, "node": NL1, "result": "InSync", "started_at": now, "finished_at": now,
        "observed_revision": 1, "plan_digest": plan, "counts": {},
    }  # fmt: skip


async def test_a_turn_names_its_plan_in_its_own_lines(desk):
    await append(desk, "generation_live", Line("k", "x3f-k-g1"), cycle="before")
    await append(desk, "generation_live", Line("k", "x3f-l-g1"), cycle="c2")

    await desk.records.record_cycle(cycle(desk, "c2"))

    assert [("before", ""), ("c2", "ab" * 32)] == await told(desk, "cycle_id", "plan_digest")


async def test_calls_that_were_refused_or_unknown_are_told_once_each(desk):
    def sent(verb, verdict, members=3, cause="HTTP 500"):
        return Sent(verb, members, fx.Outcome(verdict, cause))

    calls = (
        sent(fx.Verb.DELETE, fx.Verdict.APPLIED),
        sent(fx.Verb.CREATE, fx.Verdict.REJECTED),
        sent(fx.Verb.CREATE, fx.Verdict.REJECTED),
        sent(fx.Verb.UPDATE, fx.Verdict.UNKNOWN, cause="no answer"),
        sent(fx.Verb.CREATE, fx.Verdict.NOT_SENT),
        sent(fx.Verb.RESTART, fx.Verdict.REJECTED, members=0, cause="no such file"),
    )

    await desk.records.record_cycle(cycle(desk, "c3"), calls)

    assert [
        ("action_rejected", "create", "rejected", "create of 6 clients: HTTP 500", "ab" * 32),
        ("action_unknown", "update", "unknown", "update of 3 clients: no answer", "ab" * 32),
        ("action_rejected", "restart", "rejected", "restart of Xray: no such file", "ab" * 32),
    ] == await told(desk, "name", "after", "outcome", "detail", "plan_digest")


# -- how long customers waited ---------------------------------------------------------------------


class Waits:
    """What a histogram took in since it was made."""

    def __init__(self, histogram):
        self.histogram = histogram
        self.before = self.read()

    def read(self):
        samples = {s.name.rsplit("_", 1)[1]: s.value for s in self.histogram.collect()[0].samples}
        return samples["count"], samples["sum"]

    @property
    def new(self):
        # The sum grows over all tests of the process: what it grew by is as exact as a float.
        return tuple(
            round(now - then, 6) for now, then in zip(self.read(), self.before, strict=True)
        )


async def issue(desk):
    """Wish for a key now; place it on the first node a minute later."""
    async with begin(desk.store, "test") as work:
        key = (await keys.issue(work, MONTH)).key.id
    desk.store.clock.advance(seconds=60)
    await rows.place(desk.store, key, NL1)
    return key


async def live(desk, key, generation=ONE, node=NL1):
    """Journal a generation, and see it live."""
    made = row(key, generation, node, inbound_ids=(InboundId(1),))
    await desk.record(fx.JournalIntent(node, (made,), epoch(desk)))
    await desk.record(
        fx.RecordRows(node, (row(key, generation, node, state=JournalState.LIVE),), epoch(desk))
    )


async def test_a_new_key_was_waited_for_since_it_was_wished_for(desk):
    waits = Waits(metrics.KEY_FIRST_READY)
    key = await issue(desk)
    desk.store.clock.advance(seconds=30)

    await live(desk, key)

    assert (1, 90.0) == waits.new


async def test_a_key_that_lives_elsewhere_was_waited_for_since_its_placement_here(desk):
    key = await issue(desk)
    await live(desk, key)
    waits = Waits(metrics.KEY_FIRST_READY)
    desk.store.clock.advance(days=9)
    await rows.place(desk.store, key, NL2)
    desk.store.clock.advance(seconds=20)

    await live(desk, key, node=NL2)

    assert (1, 20.0) == waits.new


async def test_a_client_that_was_seen_before_is_not_waited_for_again(desk):
    key = await issue(desk)
    await live(desk, key)
    waits = Waits(metrics.KEY_FIRST_READY)

    await desk.record(
        fx.RecordRows(NL1, (row(key, state=JournalState.LIVE),), epoch(desk), healed=())
    )

    assert (0, 0.0) == waits.new


async def test_a_rotation_has_a_gap_and_its_wait_dates_from_the_rotation(desk):
    key = await issue(desk)
    await live(desk, key)
    ready, gap, gone = (
        Waits(m) for m in (metrics.KEY_FIRST_READY, metrics.ROTATION_GAP, metrics.KEY_DELETION)
    )
    desk.store.clock.advance(days=1)
    async with begin(desk.store, "test") as work:
        await keys.rotate(work, key)
    desk.store.clock.advance(seconds=10)
    old = row(key, state=JournalState.LIVE, delete_reason=DeleteReason.ROTATED)
    await desk.record(fx.Finalise(NL1, (fx.Gone(old),), epoch(desk)))
    desk.store.clock.advance(seconds=5)

    await live(desk, key, TWO)

    assert [(1, 15.0), (1, 5.0), (1, 10.0)] == [ready.new, gap.new, gone.new]


async def test_a_revoked_key_was_gone_so_long_after_its_end(desk):
    key = await issue(desk)
    await live(desk, key)
    async with begin(desk.store, "test") as work:
        await keys.revoke(work, key, reason="left")
    desk.store.clock.advance(seconds=42)
    waits = Waits(metrics.KEY_DELETION)

    gone = row(key, state=JournalState.LIVE, delete_reason=DeleteReason.REVOKED)
    await desk.record(fx.Finalise(NL1, (fx.Gone(gone),), epoch(desk)))

    assert (1, 42.0) == waits.new


async def test_nothing_is_counted_when_nothing_was_stored(desk):
    """A wait that a failed transaction measured would be counted again by the next turn."""
    key = await issue(desk)
    await desk.record(fx.JournalIntent(NL1, (row(key),), epoch(desk)))
    waits = Waits(metrics.KEY_FIRST_READY)
    seen = fx.RecordRows(NL1, (row(key, state=JournalState.LIVE),), epoch(desk))

    event.listen(desk.store.engine.sync_engine, "commit", fail, once=True)
    with pytest.raises(StoreError):
        await desk.record(seen)
    before = waits.new
    await desk.record(seen)

    assert [(0, 0.0), (1, 60.0)] == [before, waits.new]


def fail(connection):
    raise OperationalError("COMMIT", None, Exception("disk I/O error"))


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")
