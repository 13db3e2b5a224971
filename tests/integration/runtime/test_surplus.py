"""A smaller tariff: the key leaves what it is not owed any more, once what stays is proved live."""

import pytest
from sqlalchemy import select

from controller.jobs.place import place
from desired_state.commands import keys, tariffs
from desired_state.queries.tariff_change import preview_tariff
from desired_state.store.convert import placement_from
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.status import PlacementRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data import rows
from tests.data.datasets import NL1, NL2

DE1 = "de-1"


@pytest.fixture
def backend():
    return "sqlite"


@pytest.fixture
async def shop(store):
    """Three nodes in two countries, and a key of a tariff for all three, live everywhere."""
    await rows.apply(
        store,
        make_bundle(
            make_node_spec(NL1), make_node_spec(NL2), make_node_spec(DE1), make_policy(),
            make_tariff("wide", nodes=make_selector(3)),
            make_tariff("one", nodes=make_selector(1)),
            make_tariff("dutch", nodes=make_selector(1, country="nl")),
            make_tariff("german", nodes=make_selector(1, country="de")),
        ),
    )  # fmt: skip
    async with begin(store, "test") as work:
        key = (await keys.issue(work, "wide")).key.id
    for one in (await place(store, store.clock.now())).added:
        await rows.journal(store, one.key, one.node)
    return store, key


async def change(store, key, tariff):
    """Ask what it would do, and do it."""
    async with store.reading() as session:
        owner = (await session.get_one(KeyRow, key)).subscription_id
        shown = await preview_tariff(session, owner, tariff, store.clock.now())
    async with begin(store, "test") as work:
        await tariffs.change(work, owner, tariff)
    return shown


async def homes(store):
    """Where the key stays, and where it leaves, with the reason."""
    async with store.reading() as session:
        found = [placement_from(row) for row in await session.scalars(select(PlacementRow))]
    stays = sorted(p.node for p in found if p.leaving is None)
    return stays, {p.node: p.leaving.value for p in found if p.leaving is not None}


@pytest.mark.parametrize(
    ("tariff", "choice"), [("one", {NL1, NL2, DE1}), ("dutch", {NL1, NL2}), ("german", {DE1})]
)
async def test_of_three_nodes_one_stays_and_the_answer_was_told_before(shop, tariff, choice):
    """No further node is found for it in between: it lives on one that it lived on."""
    store, key = shop

    shown = await change(store, key, tariff)
    summary = await place(store, store.clock.now())
    again = await place(store, store.clock.now())
    stays, leaves = await homes(store)

    assert () == summary.added
    assert not again.changed
    assert 1 == len(stays)
    assert set(stays) <= choice
    assert {NL1, NL2, DE1} == {*stays, *leaves}
    (told,) = shown.keys
    assert (key, tuple(stays), tuple(sorted(leaves)), ()) == (
        told.key,
        told.stays,
        told.leaves,
        told.gets,
    )


async def test_nothing_is_left_while_what_would_stay_is_not_proved_live(shop):
    store, key = shop
    async with store.recording() as session:
        for row in await session.scalars(select(rows.RemoteGenerationRow)):
            row.state = "intended"

    await change(store, key, "one")
    summary = await place(store, store.clock.now())

    assert () == summary.ended
    assert summary.waits
    assert not summary.settled


async def test_a_larger_tariff_only_adds(shop):
    store, key = shop
    await change(store, key, "german")
    await place(store, store.clock.now())

    shown = await change(store, key, "wide")
    async with store.reading() as session:
        gone = PlacementRow.leaving.is_not(None)
        leaving = await session.scalars(select(PlacementRow.node).where(gone))
        leaving = list(leaving)

    assert [] == list(shown.keys[0].leaves)
    assert {NL1, NL2} == set(leaving)
