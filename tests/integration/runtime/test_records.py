"""Records of a turn, on both databases: one transaction each, fenced, bulk, and read back as written."""

from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import select

from controller.core import effects as fx
from controller.core.conditions import (
    BlockedSet,
    Condition,
    ConditionType,
    Counts,
    NodeStatus,
)
from controller.core.desired import ApprovalKind, BoundInbound, Heal
from controller.runtime.errors import LeaseLost
from controller.runtime.lease import SoleLease
from controller.runtime.reads import Reader
from controller.runtime.records import Records
from controller.runtime.versions import StatusVersions
from desired_state.commands import keys, requests, subscriptions
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Digest, Email, Epoch, Generation, InboundId, KeyId
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy
from desired_state.model.request import RequestKind
from desired_state.queries.key import show_key
from desired_state.store.errors import ConcurrentUpdate
from desired_state.store.tables.status import (
    DeleteBudgetRow,
    EventRow,
    KeyUsageRow,
    PlacementRow,
    RemoteGenerationRow,
    RequestAnswerRow,
)
from desired_state.store.tables.types import DESIRED
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_tariff
from tests.data import rows
from tests.data.datasets import DE1, MONTH, NL1, NL2
from tests.fakes.authorizer import writes_refused

ONE, TWO = Generation(1), Generation(2)
NUMBERS = count()
SOLE = Epoch(1)
"""Of the first controller of a database."""


class Desk:
    """Records and reads over one database, as a worker has them."""

    def __init__(self, store):
        self.store = store
        self.versions = StatusVersions()
        self.lease = SoleLease()
        self.records = Records(store, self.versions, self.lease)
        self.reader = Reader(store, self.versions, self.lease)

    async def record(self, effect):
        return await self.records.record(effect, self.store.clock.now(), "cycle-1")

    async def read(self, node=NL1):
        return await self.reader.desired(node, self.store.clock.now())

    async def issue(self, *nodes):
        async with begin(self.store, "test") as work:
            key = (await keys.issue(work, MONTH)).key.id
        for node in nodes:
            await rows.place(self.store, key, node)
        self.versions.bump_all()
        return key

    async def all(self, table):
        async with self.store.reading() as session:
            return list(await session.scalars(select(table)))


@pytest.fixture
async def desk(store):
    """Three nodes, one tariff, a fleet's policy."""
    await rows.apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(), make_policy(),
        ),
    )  # fmt: skip
    desk = Desk(store)
    await desk.lease.take(store)
    return desk


def row(key, generation=ONE, node=NL1, **fields):
    values = {
        "inbound_ids": (InboundId(1),), "sub_id": "s" * 26, "secrets_digest": "u.p.a",
        "password_bytes": 16, "projection": "",
    } | fields  # fmt: skip
    email = Email(f"x3f-{key}-g{generation}")
    return JournalRow(node=node, email=email, key=key, generation=generation, **values)


# -- the journal -----------------------------------------------------------------------------------


async def test_an_intent_is_read_back_as_it_was_journalled(desk):
    key = await desk.issue(NL1)
    intended = row(key, create_unknown_at=desk.store.clock.now())

    await desk.record(fx.JournalIntent(NL1, (intended,), SOLE))

    desired = await desk.read()
    assert (intended,) == desired.journal
    assert [key] == [found.key for found in desired.keys]
    assert () == (await desk.read(NL2)).journal


async def test_a_row_that_was_seen_live_overwrites_its_intent(desk):
    key = await desk.issue(NL1)
    await desk.record(
        fx.JournalIntent(NL1, (row(key, create_unknown_at=desk.store.clock.now()),), SOLE)
    )
    live = row(key, state=JournalState.LIVE, projection="1|0|0|0||1")

    await desk.record(fx.RecordRows(NL1, (live,), SOLE))

    assert (live,) == (await desk.read()).journal
    assert ["generation_journalled", "generation_live"] == [
        e.name for e in await desk.all(EventRow)
    ]


async def test_a_finalised_row_is_a_tombstone_for_thirty_days(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (live,), SOLE))
    gone = replace(live, delete_reason=DeleteReason.ROTATED)

    await desk.record(fx.Finalise(NL1, (fx.Gone(gone),), SOLE))

    desired = await desk.read()
    assert () == desired.journal
    assert (replace(gone, state=JournalState.GONE),) == desired.tombstones
    assert {key: ONE} == dict(desired.generations)
    desk.versions.bump_all()
    desk.store.clock.advance(days=31)
    assert () == (await desk.read()).tombstones


async def test_a_client_that_came_back_is_no_tombstone_any_more(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (live,), SOLE))
    await desk.record(fx.Finalise(NL1, (fx.Gone(live),), SOLE))

    await desk.record(fx.RecordRows(NL1, (live,), SOLE))

    desired = await desk.read()
    assert ((live,), ()) == (desired.journal, desired.tombstones)
    assert "generation_resurrected" == (await desk.all(EventRow))[-1].name
    assert [None] == [found.gone_at for found in await desk.all(RemoteGenerationRow)]


async def test_thousands_of_rows_go_in_and_out_at_once(desk):
    """More than any database takes as parameters of one statement."""
    many = tuple(
        row(KeyId(f"k{number:09d}"), state=JournalState.LIVE, projection="p")
        for number in range(3_000)
    )

    await desk.record(fx.RecordRows(NL1, many, SOLE))

    assert many == (await desk.read()).journal
    await desk.record(fx.Finalise(NL1, tuple(fx.Gone(one, 1, 1) for one in many), SOLE))
    assert (0, 3_000) == (len((await desk.read()).journal), len((await desk.read()).tombstones))
    told = {event.name: event.detail for event in await desk.all(EventRow)}
    assert {
        "generation_resurrected": "3000 clients",
        "generation_finalised": "3000 clients",
    } == told


async def test_a_key_tells_its_history_though_thousands_share_a_line(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE, projection="p")
    many = tuple(row(KeyId(f"k{number:09d}"), state=JournalState.LIVE) for number in range(200))
    await desk.record(fx.RecordRows(NL1, (live, *many), SOLE))

    async with desk.store.reading() as session:
        detail = await show_key(session, key, desk.store.clock.now())

    assert [("generation_live", NL1, live.email)] == [
        (event.name, event.node, event.email) for event in detail.events
    ]


# -- what may not be written -----------------------------------------------------------------------


@pytest.mark.promise("S6")
async def test_a_record_of_another_epoch_writes_nothing(desk):
    key = await desk.issue(NL1)
    stale = fx.Finalise(NL1, (fx.Gone(row(key)),), Epoch(7))

    with pytest.raises(LeaseLost):
        await desk.record(stale)

    assert [] == await desk.all(RemoteGenerationRow)


@pytest.mark.promise("S6")
async def test_nothing_is_recorded_once_the_lock_is_given_back(desk):
    key = await desk.issue(NL1)
    await desk.lease.release_all()

    with pytest.raises(LeaseLost):
        await desk.record(fx.JournalIntent(NL1, (row(key),), SOLE))

    assert [] == await desk.all(RemoteGenerationRow)


@pytest.mark.parametrize("change", ["moved", "revoked", "rotated", "unplaced"])
async def test_an_intent_is_refused_when_the_key_is_not_wanted_so_any_more(desk, change):
    """The new node of a moved key sees no row here, and may have begun: both would be live."""
    key = await desk.issue(NL1)
    async with begin(desk.store, "test") as work:
        if change == "revoked":
            await keys.revoke(work, key)
        if change == "rotated":
            await keys.rotate(work, key)
    if change in ("moved", "unplaced"):
        async with desk.store.recording() as session:
            placement = await session.get_one(PlacementRow, (key, NL1))
            if change == "moved":
                placement.leaving = DeleteReason.MOVED.value
            else:
                await session.delete(placement)

    with pytest.raises(ConcurrentUpdate):
        await desk.record(fx.JournalIntent(NL1, (row(key),), SOLE))

    assert [] == await desk.all(RemoteGenerationRow)


async def test_a_placeholder_needs_no_placement(desk):
    placeholder = JournalRow(
        node=NL1, email=Email("x3f-placeholdr-g1-i1"), key=None, generation=ONE,
        inbound_ids=(InboundId(1),), sub_id="s",
    )  # fmt: skip

    await desk.record(fx.JournalIntent(NL1, (placeholder,), SOLE))

    assert (placeholder,) == (await desk.read()).journal
    assert () == (await desk.read()).keys


# -- finalising ------------------------------------------------------------------------------------


async def test_the_last_counters_of_a_generation_count_for_its_subscription(desk):
    key = await desk.issue(NL1)
    await rows.use(desk.store, key, NL1, 3 * GIB, base_bytes=GIB)
    live = row(key, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (live,), SOLE))

    await desk.record(fx.Finalise(NL1, (fx.Gone(live, up_bytes=GIB, down_bytes=3 * GIB),), SOLE))

    (usage,) = await desk.all(KeyUsageRow)
    assert (0, 0, 3 * GIB) == (usage.base_bytes, usage.counter_bytes, usage.booked_bytes)
    (found,) = (await desk.read()).keys
    assert (3 * GIB, 0) == (found.subscription.used_bytes, found.counter_base_bytes)


async def test_finalising_the_last_generation_ends_a_placement_that_leaves(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (live,), SOLE))
    async with desk.store.recording() as session:
        (await session.get_one(PlacementRow, (key, NL1))).leaving = "moved"

    await desk.record(fx.Finalise(NL1, (fx.Gone(live),), SOLE))

    assert [] == await desk.all(PlacementRow)


async def test_a_placement_that_leaves_stays_while_an_older_generation_is_there(desk):
    key = await desk.issue(NL1)
    first, second = row(key, state=JournalState.LIVE), row(key, TWO, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (first, second), SOLE))
    async with desk.store.recording() as session:
        (await session.get_one(PlacementRow, (key, NL1))).leaving = "moved"

    await desk.record(fx.Finalise(NL1, (fx.Gone(first),), SOLE))

    assert [NL1] == [placement.node for placement in await desk.all(PlacementRow)]


async def test_finalising_frees_the_node_that_waited(desk):
    """The new node's create waits for the journal of the old one, and hears of its end."""
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    await desk.record(fx.RecordRows(NL1, (live,), SOLE))
    async with desk.store.recording() as session:
        (await session.get_one(PlacementRow, (key, NL1))).leaving = "moved"
    await rows.place(desk.store, key, DE1, replaces=NL1)
    desk.versions.bump_all()
    waiting = (await desk.read(DE1)).keys[0].held_by

    await desk.record(fx.Finalise(NL1, (fx.Gone(live),), SOLE))

    assert (NL1, None) == (waiting, (await desk.read(DE1)).keys[0].held_by)
    assert frozenset({DE1}) == desk.records.take_released()
    assert frozenset() == desk.records.take_released()
    assert [None] == [placement.replaces for placement in await desk.all(PlacementRow)]


# -- the fleet's share -----------------------------------------------------------------------------


async def reserve(desk, number, node=NL1, owned=0, emails=None):
    """Take so many deletes of emails that nobody took before, or these."""
    now = desk.store.clock.now()
    fresh = tuple(f"x3f-{next(NUMBERS):010}-g1" for _ in range(number))
    return await desk.record(fx.ReserveDeletes(node, emails or fresh, owned, SOLE, now))


async def test_deletes_are_reserved_from_one_share_for_all_nodes(desk):
    """At most max(5, 20 %) of the fleet's clients in ten minutes."""
    taken = [await reserve(desk, 3), await reserve(desk, 2, NL2), await reserve(desk, 1)]

    assert [True, True, False] == taken
    assert 5 == sum(budget.deletes for budget in await desk.all(DeleteBudgetRow))


async def test_a_delete_that_is_tried_again_takes_nothing_more_from_the_share(desk):
    """After a lost answer, by another turn, or by the next process; on another node it is another one."""
    emails = ("x3f-aaaaaaaaaa-g1", "x3f-bbbbbbbbbb-g1")
    for _ in range(9):
        assert await reserve(desk, 0, emails=emails)
    assert await reserve(desk, 0, emails=(*emails, "x3f-cccccccccc-g1"))
    assert await reserve(desk, 0, NL2, emails=emails)

    assert [2, 1, 2] == [budget.deletes for budget in await desk.all(DeleteBudgetRow)]
    assert not await reserve(desk, 1)


async def test_a_large_fleet_may_delete_a_fifth(desk):
    assert [True, False] == [await reserve(desk, 20, owned=100), await reserve(desk, 1, owned=100)]


async def test_the_share_is_free_again_after_its_window(desk):
    await reserve(desk, 5)
    desk.store.clock.advance(minutes=11)

    assert await reserve(desk, 5)


async def test_the_policy_of_the_fleet_sets_the_share(desk):
    tight = Policy(max_delete_floor=1, fleet_delete_share=0.0, fleet_delete_window_s=60)
    await rows.apply(
        desk.store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(), tight,
        ),
    )  # fmt: skip

    assert [True, False] == [await reserve(desk, 1), await reserve(desk, 1)]


# -- status ----------------------------------------------------------------------------------------


def status(desk, **fields):
    return NodeStatus(
        conditions=(
            Condition(ConditionType.READY, "TooManyDeletes", "6 of 9", False, desk.store.clock.now()),
            Condition(ConditionType.BLOCKED, "TooManyDeletes", "6 of 9", since=desk.store.clock.now()),
        ),
        version="3.6.0", family="3.1+", guid="g", xray="running", counts=Counts(desired=9, live=9),
        owned_seen=9, placed_seen=9, plan_digest=Digest("d" * 64), refused_fingerprint="f",
        blocked_sets=(BlockedSet("deletes", Digest("e" * 64), ("a", "b")),),
        **fields,
    )  # fmt: skip


async def test_a_status_is_read_back_as_it_was_written(desk):
    written = status(desk)

    await desk.record(fx.WriteStatus(NL1, written, SOLE, (fx.Event("condition_came", detail="x"),)))

    assert written == (await desk.read()).status
    assert ["condition_came"] == [event.name for event in await desk.all(EventRow)]


async def test_a_binding_is_read_back_and_a_status_leaves_it_alone(desk):
    bound = (
        BoundInbound(InboundId(2), "vless", 443, "in", "xtls-rprx-vision", carries_flow=True),
        BoundInbound(InboundId(5), "shadowsocks", 8443, password_bytes=16, method="2022"),
    )
    await desk.record(fx.Bind(NL1, bound, "digest", "guid-1", SOLE))

    await desk.record(fx.WriteStatus(NL1, status(desk), SOLE))

    desired = await desk.read()
    assert (bound, "digest", "guid-1") == (desired.bound, desired.match_digest, desired.guid)


async def test_binding_again_replaces_all_inbounds_and_keeps_the_guid_unless_told(desk):
    first = BoundInbound(InboundId(2), "vless", 443)
    second = BoundInbound(InboundId(3), "trojan", 444)
    await desk.record(fx.Bind(NL1, (first,), "digest", "guid-1", SOLE))

    await desk.record(fx.Bind(NL1, (second,), "other", None, SOLE))

    desired = await desk.read()
    assert ((second,), "other", "guid-1") == (desired.bound, desired.match_digest, desired.guid)


async def test_a_node_bound_to_nothing_is_not_a_node_that_was_never_bound(desk):
    never = (await desk.read()).bound
    await desk.record(fx.Bind(NL1, (), "digest", None, SOLE))

    assert (None, ()) == (never, (await desk.read()).bound)


async def test_heals_are_counted_for_an_hour(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    first = desk.store.clock.now()
    await desk.record(fx.RecordRows(NL1, (live,), SOLE, tried=(live.email,)))
    desk.store.clock.advance(minutes=40)
    second = desk.store.clock.now()
    await desk.record(fx.RecordRows(NL1, (), SOLE, tried=(live.email,)))

    before = (await desk.read()).heals
    desk.store.clock.advance(minutes=30)
    desk.versions.bump_all()
    after = (await desk.read()).heals

    assert (Heal(live.email, (first, second)),) == before
    assert (Heal(live.email, (second,)),) == after


async def test_an_approval_starts_once(desk):
    await desk.record(fx.WriteStatus(NL1, status(desk), SOLE))
    async with begin(desk.store, "test") as work:
        await requests.approve(work, "e" * 64)
    approved_at = desk.store.clock.now()
    desk.store.clock.advance(minutes=5)
    started = desk.store.clock.now()

    for _ in range(2):
        await desk.record(fx.StartApprovals(NL1, (Digest("e" * 64),), SOLE))
        desk.store.clock.advance(minutes=5)

    (approval,) = (await desk.read()).approvals
    assert (ApprovalKind.DELETES, frozenset({"a", "b"})) == (approval.kind, approval.emails)
    assert (approved_at, started) == (approval.approved_at, approval.started_at)


async def test_an_answered_request_is_not_read_again(desk):
    async with begin(desk.store, "test") as work:
        everyone = await requests.ask(work, RequestKind.RECONCILE)
        mine = await requests.ask(work, RequestKind.REMATCH, node=NL1)
    asked = [request.token for request in (await desk.read()).requests]

    await desk.record(fx.WriteStatus(NL1, status(desk), SOLE, answered=tuple(asked)))

    assert [everyone.token, mine.token] == asked
    assert () == (await desk.read()).requests
    assert [everyone.token] == [request.token for request in (await desk.read(NL2)).requests]
    assert {"TooManyDeletes"} == {answer.outcome for answer in await desk.all(RequestAnswerRow)}


# -- who writes what -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_no_record_writes_desired_state(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    now = desk.store.clock.now()
    async with writes_refused(desk.store, DESIRED) as refusals:
        for effect in (
            fx.Bind(NL1, (BoundInbound(InboundId(1), "vless", 443),), "d", "g", SOLE),
            fx.ReserveDeletes(NL1, ("x3f-a-g1",), 9, SOLE, now),
            fx.StartApprovals(NL1, (Digest("e"),), SOLE),
            fx.JournalIntent(NL1, (row(key),), SOLE),
            fx.RecordRows(NL1, (live,), SOLE, (live.email,)),
            fx.Finalise(NL1, (fx.Gone(live, 1, 1),), SOLE),
            fx.WriteStatus(NL1, status(desk), SOLE, answered=("t",)),
        ):
            await desk.record(effect)

    assert [] == refusals.statements


# -- what was read stays read only while nothing changed -------------------------------------------


async def test_an_unchanged_node_is_read_once(desk):
    await desk.issue(NL1)

    first, second = await desk.read(), await desk.read()

    assert first is second


COMMANDS = {
    "issue": lambda work, key, owner: keys.issue(work, MONTH),
    "rotate": lambda work, key, owner: keys.rotate(work, key),
    "revoke": lambda work, key, owner: keys.revoke(work, key),
    "suspend": lambda work, key, owner: subscriptions.freeze(work, owner),
    "extend": lambda work, key, owner: subscriptions.extend(work, owner, 30),
    "request": lambda work, key, owner: requests.ask(work, RequestKind.RECONCILE, node=NL1),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_any_command_makes_the_next_turn_read_anew(desk, name):
    key = await desk.issue(NL1)
    before = await desk.read()
    async with begin(desk.store, "test") as work:
        await COMMANDS[name](work, key, before.keys[0].subscription.id)

    after = await desk.read()

    assert before is not after
    assert before.revision < after.revision


async def test_any_record_of_its_node_makes_the_next_turn_read_anew(desk):
    key = await desk.issue(NL1)
    live = row(key, state=JournalState.LIVE)
    for effect in (
        fx.Bind(NL1, (), "d", None, SOLE),
        fx.JournalIntent(NL1, (row(key),), SOLE),
        fx.RecordRows(NL1, (live,), SOLE),
        fx.Finalise(NL1, (fx.Gone(live),), SOLE),
        fx.WriteStatus(NL1, status(desk), SOLE),
    ):
        before = await desk.read()
        await desk.record(effect)
        assert before is not await desk.read(), type(effect).__name__


async def test_what_another_node_finalised_makes_this_one_read_anew(desk):
    """Its counters may use up a quota here, and its end may free a create here."""
    key = await desk.issue(NL1, DE1)
    before = await desk.read(DE1)

    await desk.record(fx.Finalise(NL1, (fx.Gone(row(key), 5, 5),), SOLE))

    after = await desk.read(DE1)
    assert (0, 10) == (
        before.keys[0].subscription.used_bytes,
        after.keys[0].subscription.used_bytes,
    )


async def test_a_record_that_failed_half_way_is_forgotten_too(desk):
    """Whether its commit went through may be unknown."""
    before = await desk.read()
    with pytest.raises(LeaseLost):
        await desk.record(fx.WriteStatus(NL1, status(desk), Epoch(3)))

    assert before is not await desk.read()
