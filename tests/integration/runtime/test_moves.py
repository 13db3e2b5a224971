"""What a pass stores of drains, failovers and rebalances, and what a person is shown of them."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from controller.jobs.failover import given_up
from controller.jobs.place import place
from controller.jobs.snapshot import read_fleet
from desired_state.commands import keys, nodes, rebalance
from desired_state.commands.errors import Conflict
from desired_state.model.generation import JournalState
from desired_state.model.placement import DeleteReason
from desired_state.queries.balance import list_rebalances
from desired_state.queries.estimate import Pace, estimate_s
from desired_state.queries.moves import list_moves, node_debt, node_progress
from desired_state.store.tables.status import EventRow, PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_tariff
from tests.data import rows
from tests.data.datasets import DATASETS, MONTH, NL1, NL2


@pytest.fixture
async def fleet(store):
    """Two nodes in one country, both ready, with six keys: half of them live on each."""
    await DATASETS["fleet without keys"](store)
    for _ in range(6):
        async with begin(store, "test") as work:
            await keys.issue(work, MONTH)
    summary = await place(store, store.clock.now())
    for one in summary.added:
        await rows.journal(store, one.key, one.node)
    store.clock.advance(minutes=1)
    return store


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")


BOTH = pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


async def fall(store, node, *, minutes=0, failures=2, next_look_at=None):
    """Let a node be out of reach since then."""
    since = store.clock.now() - timedelta(minutes=minutes)
    await rows.replace_status(
        store, node, rows.condition("Unreachable", "Timeout", since),
        failures=failures, watched_s=60.0 * minutes, next_look_at=next_look_at,
    )  # fmt: skip


async def on(store, node):
    """Keys of a node: those that stay, and those that leave, with the reason."""
    async with store.reading() as session:
        query = select(PlacementRow).where(PlacementRow.node == node)
        found = (await session.scalars(query.order_by(PlacementRow.key))).all()
    return (
        [row.key for row in found if row.leaving is None],
        {row.key: row.leaving for row in found if row.leaving is not None},
    )


@BOTH
async def test_a_drain_ends_every_placement_and_each_new_one_waits_for_it(fleet):
    (leaving, _), (stayed, _) = await on(fleet, NL1), await on(fleet, NL2)
    async with begin(fleet, "test") as work:
        await nodes.drain(work, NL1)

    summary = await place(fleet, fleet.clock.now())
    again = await place(fleet, fleet.clock.now())
    async with fleet.reading() as session:
        moves = await list_moves(session, fleet.clock.now())

    assert ([], dict.fromkeys(leaving, "drained")) == await on(fleet, NL1)
    seen = {one.name: one for one in (await read_fleet(fleet, fleet.clock.now())).nodes}
    assert (len(leaving), fleet.clock.now()) == (seen[NL1].leaving, seen[NL1].leaving_since)
    assert (0, None) == (seen[NL2].leaving, seen[NL2].leaving_since)
    assert sorted(leaving + stayed) == (await on(fleet, NL2))[0]
    assert {NL1} == {p.replaces for p in summary.added}
    assert not again.changed
    assert [(key, NL1, NL2, "drained", "deleting", fleet.clock.now()) for key in leaving] == [
        (m.key, m.source, m.to, m.reason, m.stage, m.since) for m in moves.moves
    ]


@BOTH
async def test_a_dead_node_owes_what_it_held_and_is_told_of_with_the_age_of_the_debt(fleet):
    owed, _ = await on(fleet, NL1)
    await fall(fleet, NL1, minutes=20)
    fell_at = fleet.clock.now()

    before = await given_up(fleet, fleet.clock.now())
    summary = await place(fleet, fleet.clock.now())
    fleet.clock.advance(hours=2)
    async with fleet.reading() as session:
        debt = await node_debt(session, NL1)
        moves = await list_moves(session, fleet.clock.now())
    seen = {one.name: one for one in (await read_fleet(fleet, fleet.clock.now())).nodes}

    assert {NL1} == {node for node, _ in before}
    assert {DeleteReason.FAILED_OVER} == {p.leaving for p in summary.ended}
    assert {None} == {p.replaces for p in summary.added}
    assert (len(owed), fell_at) == (debt.keys, debt.since)
    assert (len(owed), fell_at) == (seen[NL1].debt, seen[NL1].debt_since)
    # Nothing was created elsewhere yet: that matters more to the customer than the debt.
    assert {"owed"} == {m.stage for m in moves.moves if m.source == NL1}


async def test_history_tells_of_every_key_that_was_given_another_node(fleet):
    leaving, _ = await on(fleet, NL1)
    await fall(fleet, NL1, minutes=20)

    await place(fleet, fleet.clock.now())

    async with fleet.reading() as session:
        told = (await session.scalars(select(EventRow).where(EventRow.name == "key_moved"))).all()
    assert [(key, NL2, f"failed over from {NL1}") for key in leaving] == sorted(
        (one.key, one.node, one.detail) for one in told
    )


@pytest.mark.parametrize(
    ("minutes", "failures"), [(5, 9), (20, 1)], ids=["too soon", "one look in vain"]
)
async def test_a_node_is_not_given_up_too_soon_or_on_one_look(fleet, minutes, failures):
    await fall(fleet, NL1, minutes=minutes, failures=failures)

    summary = await place(fleet, fleet.clock.now())

    assert frozenset() == await given_up(fleet, fleet.clock.now())
    assert not summary.changed


async def test_no_node_is_given_up_on_what_was_seen_before_a_long_stop(fleet):
    """Down for a minute when the controller ended: what it did in the 20 hours since, nobody has seen."""
    due = fleet.clock.now() + timedelta(seconds=5)
    await fall(fleet, NL1, minutes=1, next_look_at=due)
    fleet.clock.advance(hours=20)

    summary = await place(fleet, fleet.clock.now())

    assert frozenset() == await given_up(fleet, fleet.clock.now())
    assert not summary.changed


async def test_a_node_that_is_back_keeps_its_debt_until_it_is_paid_and_gets_no_key_back(fleet):
    owed, _ = await on(fleet, NL1)
    await fall(fleet, NL1, minutes=20)
    await place(fleet, fleet.clock.now())
    await rows.replace_status(fleet, NL1)

    summary = await place(fleet, fleet.clock.now())

    assert not summary.changed
    assert ([], dict.fromkeys(owed, "failed-over")) == await on(fleet, NL1)


async def test_a_move_that_waits_for_a_dead_node_waits_no_more(fleet):
    (key, *_), _ = await on(fleet, NL1)
    fleet.clock.advance(minutes=1)
    async with begin(fleet, "test") as work:
        await keys.move(work, key, NL2)
    await place(fleet, fleet.clock.now())
    await fall(fleet, NL1, minutes=20)

    summary = await place(fleet, fleet.clock.now())

    assert [key] == [p.key for p in summary.freed]
    async with fleet.reading() as session:
        row = await session.get_one(PlacementRow, (key, NL2))
    assert row.replaces is None


@BOTH
async def test_a_rebalance_is_followed_from_its_wish_to_its_end(fleet):
    """A third node of the same country joins; moves begin as the fleet's share lets them."""
    bundle = make_bundle(
        *(make_node_spec(name) for name in ("nl-1", "nl-2", "nl-3", "de-1")),
        make_tariff(),
        make_policy(fleet_delete_share=1.0, max_delete_share=1.0),
        revision="r2",
    )
    await rows.apply(fleet, bundle)
    async with begin(fleet, "test") as work:
        asked = await rebalance.rebalance(work, (("country", "nl"),), token="t")
        again = await rebalance.rebalance(work, (("country", "nl"),), token="t")

    first = await place(fleet, fleet.clock.now())
    async with fleet.reading() as session:
        begun = (await list_rebalances(session))[0]
    await arrive(fleet, first)
    last = await place(fleet, fleet.clock.now())
    async with fleet.reading() as session:
        done = (await list_rebalances(session))[0]

    assert (False, True) == (asked.repeated, again.repeated)
    assert {f"rebalanced from {NL1}", f"rebalanced from {NL2}"} == {p.reason for p in first.added}
    assert (2, 0, None) == (begun.made, begun.waiting, begun.done_at)
    assert not last.changed
    assert (2, 0, fleet.clock.now()) == (done.made, done.waiting, done.done_at)


async def arrive(store, summary) -> None:
    """Let nodes do what a pass decided."""
    async with store.recording() as session:
        for one in summary.ended:
            await session.delete(await session.get_one(PlacementRow, (one.key, one.node)))
            gone = update(RemoteGenerationRow).where(
                RemoteGenerationRow.key == one.key, RemoteGenerationRow.node == one.node
            )
            await session.execute(gone.values(state=JournalState.GONE.value))
        for one in summary.added:
            row = await session.get_one(PlacementRow, (one.key, one.node))
            row.replaces = None
    for one in summary.added:
        await rows.journal(store, one.key, one.node)


async def test_a_token_stands_for_one_rebalance(fleet):
    async with begin(fleet, "test") as work:
        await rebalance.rebalance(work, (("country", "nl"),), token="t")
        with pytest.raises(Conflict, match="another rebalance"):
            await rebalance.rebalance(work, token="t")


async def test_one_node_is_nothing_to_even_out(fleet):
    async with begin(fleet, "test") as work:
        with pytest.raises(Conflict, match="1 nodes carry country=de"):
            await rebalance.rebalance(work, (("country", "de"),))


async def test_a_node_that_fills_tells_how_much_is_left(fleet):
    async with begin(fleet, "test") as work:
        await keys.issue(work, MONTH, node=NL2)
    await place(fleet, fleet.clock.now())

    async with fleet.reading() as session:
        (filling,) = await node_progress(session, NL2, fleet.clock.now())

    assert ("filling", 1, 3) == (filling.what, filling.left, filling.done)


@pytest.mark.parametrize(
    ("left", "lately", "pace", "seconds"),
    [
        (0, 0, None, 0.0),
        (60, 30, None, 1_200.0),
        (60, 0, None, None),
        (60, 600, Pace(100, 100, 600), 60.0),
        (250, 600, Pace(50, 100, 600), 1_200.0),
        (51, 0, Pace(50, 100, 600), 600.0),
    ],
    ids=["done", "as fast as lately", "nothing tells", "within the share", "windows", "one window"],
)
def test_an_estimate_follows_what_was_done_and_what_guards_let_pass(left, lately, pace, seconds):
    assert seconds == estimate_s(left, lately, pace)
