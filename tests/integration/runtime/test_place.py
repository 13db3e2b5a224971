"""The scheduler's pass: what it stores, what it removes, and that it stores nothing when content."""

import pytest
from sqlalchemy import select

from controller.jobs.place import compute_placements, place
from desired_state.commands import keys, nodes
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.model.policy import MoveOrder
from desired_state.store.convert import placement_from
from desired_state.store.tables.status import PlacementRow
from desired_state.store.tables.types import DESIRED
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data import rows
from tests.data.datasets import DATASETS, DE1, MONTH, NL1, NL2
from tests.fakes.authorizer import writes_refused
from tests.integration.runtime.fleet import Wanted, open_fleet


@pytest.fixture
async def fleet(store):
    """Three ready nodes, two of them in one country."""
    await DATASETS["fleet without keys"](store)
    return store


async def issue(store, tariff=MONTH, **options):
    async with begin(store, "test") as work:
        return (await keys.issue(work, tariff, **options)).key.id


async def stored(store):
    async with store.reading() as session:
        query = select(PlacementRow).order_by(PlacementRow.key, PlacementRow.node)
        return [placement_from(row) for row in await session.scalars(query)]


async def test_a_new_key_is_placed_and_a_second_pass_is_content(fleet):
    key = await issue(fleet)

    first = await place(fleet, fleet.clock.now())
    second = await place(fleet, fleet.clock.now())

    assert list(first.added) == await stored(fleet)
    assert [key] == [placement.key for placement in first.added]
    assert (True, False) == (first.changed, second.changed)
    assert tuple({p.node for p in first.added}) == first.nodes


async def test_a_content_pass_opens_no_write_transaction(fleet):
    await issue(fleet)
    await place(fleet, fleet.clock.now())

    async with writes_refused(fleet, DESIRED, "status") as refusals:
        await place(fleet, fleet.clock.now())

    assert [] == refusals.statements


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
async def test_a_move_ends_one_placement_and_adds_one_that_waits_for_it(fleet):
    key = await issue(fleet, node=NL1)
    await place(fleet, fleet.clock.now())
    await rows.journal(fleet, key, NL1)
    fleet.clock.advance(seconds=1)
    async with begin(fleet, "test") as work:
        await keys.move(work, key, DE1)

    summary = await place(fleet, fleet.clock.now())

    assert [(DE1, NL1, None), (NL1, None, "moved")] == [
        (p.node, p.replaces, p.leaving) for p in await stored(fleet)
    ]
    assert (DE1, NL1) == summary.nodes
    assert not (await place(fleet, fleet.clock.now())).changed


async def test_a_move_is_made_once(fleet):
    """A key that was moved and then moved back by the scheduler's own choice stays."""
    key = await issue(fleet, node=NL1)
    await place(fleet, fleet.clock.now())
    fleet.clock.advance(seconds=1)
    async with begin(fleet, "test") as work:
        await keys.move(work, key, DE1)
    await place(fleet, fleet.clock.now())
    fleet.clock.advance(seconds=1)
    async with begin(fleet, "test") as work:
        await keys.move(work, key, NL1)
    await place(fleet, fleet.clock.now())

    assert {NL1} == {p.node for p in await stored(fleet) if p.leaving is None}
    assert not (await place(fleet, fleet.clock.now())).changed


async def test_create_first_ends_the_old_placement_when_the_new_one_is_live(fleet):
    key = await issue(fleet, node=NL1)
    await place(fleet, fleet.clock.now())
    fleet.clock.advance(seconds=1)
    async with begin(fleet, "test") as work:
        await keys.move(work, key, DE1, order=MoveOrder.CREATE_FIRST)
    await place(fleet, fleet.clock.now())
    both = {p.node for p in await stored(fleet) if p.leaving is None}
    await rows.journal(fleet, key, DE1, state=JournalState.LIVE)

    await place(fleet, fleet.clock.now())

    assert {DE1, NL1} == both
    assert {DE1} == {p.node for p in await stored(fleet) if p.leaving is None}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
async def test_a_placement_that_left_and_holds_nothing_is_removed(fleet):
    kept, gone = await issue(fleet, node=NL1), await issue(fleet, node=NL1)
    await place(fleet, fleet.clock.now())
    await rows.journal(fleet, kept, NL1)
    for key in (kept, gone):
        async with begin(fleet, "test") as work:
            await keys.revoke(work, key)

    summary = await place(fleet, fleet.clock.now())

    assert 1 == summary.removed
    assert [(kept, "revoked")] == [(p.key, p.leaving) for p in await stored(fleet)]


@pytest.mark.parametrize(
    "trouble", ["Stalled/IdentityChanged", "Unreachable/Timeout", "Blocked/TooManyDeletes"]
)
async def test_a_node_in_trouble_gets_no_new_key(fleet, trouble):
    kind, _, reason = trouble.partition("/")
    now = fleet.clock.now()
    for node in (NL1, NL2):
        await rows.replace_status(fleet, node, rows.condition(kind, reason, now))
    key = await issue(fleet)

    summary = await place(fleet, now)

    assert [key] == [one.key for one in summary.unschedulable]
    assert trouble in summary.unschedulable[0].reason


async def test_a_node_whose_xray_is_down_gets_no_new_key(fleet):
    for node in (NL1, NL2):
        await rows.replace_status(fleet, node, xray="error")
    await issue(fleet)

    summary = await place(fleet, fleet.clock.now())

    assert "Xray" in summary.unschedulable[0].reason


async def test_a_cordoned_node_keeps_its_keys_and_gets_none(fleet):
    first = await issue(fleet, node=NL1)
    await place(fleet, fleet.clock.now())
    for node in (NL1, NL2):
        async with begin(fleet, "test") as work:
            await nodes.cordon(work, node)
    second = await issue(fleet)

    summary = await place(fleet, fleet.clock.now())

    assert [first] == [p.key for p in await stored(fleet)]
    assert [second] == [one.key for one in summary.unschedulable]


async def test_what_a_plan_computes_is_what_a_pass_stores(fleet):
    await issue(fleet)
    async with fleet.reading() as session:
        planned = (await compute_placements(session, fleet.clock.now())).result
    before = await stored(fleet)

    summary = await place(fleet, fleet.clock.now())

    assert [] == before
    assert planned.added == summary.added


@pytest.mark.parametrize("name", DATASETS)
async def test_a_pass_over_any_data_set_writes_no_desired_state(store, name):
    await DATASETS[name](store)

    async with writes_refused(store, DESIRED) as refusals:
        await place(store, store.clock.now())
        again = await place(store, store.clock.now())

    assert [] == refusals.statements
    assert not again.changed


async def test_a_whole_run_writes_no_desired_state(tmp_path, monkeypatch):
    """Issue, reconcile, rotate, move and revoke: the controller's connections are refused all of it."""
    both = {"a": Wanted("2.9.4"), "b": Wanted("3.6.0")}
    async with open_fleet(tmp_path, monkeypatch, **both) as fleet:
        first, second, third = await fleet.issue(3, "a")
        store = fleet.controller.store
        for change in (
            None,
            lambda: fleet.rotate(first),
            lambda: fleet.move(second, "b"),
            lambda: fleet.revoke(third),
        ):
            if change is not None:
                await change()
            async with writes_refused(store, DESIRED) as refusals:
                report = await fleet.reconcile()
            assert [] == refusals.statements
            assert report.in_sync

        assert {NodeName("a"), NodeName("b")} == {node.node for node in report.nodes}


async def test_keys_of_every_node_reach_a_node_that_is_declared_later(store):
    await rows.apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_tariff("world", nodes=make_selector(None)), make_policy()
        ),
    )
    key = await issue(store, "world")
    await place(store, store.clock.now())
    await rows.apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"),
            make_tariff("world", nodes=make_selector(None)), make_policy(),
        ),
    )  # fmt: skip

    summary = await place(store, store.clock.now())

    assert [(key, NL2)] == [(p.key, p.node) for p in summary.added]
