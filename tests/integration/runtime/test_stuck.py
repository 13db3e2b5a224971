"""`moves list` says why a key does not get on: whoever asks need not read the log."""

import pytest
from sqlalchemy import select

from controller.jobs.place import place
from desired_state.commands import keys, nodes
from desired_state.queries.moves import list_moves
from desired_state.queries.stuck import StuckKey, explain_moves, list_stuck
from desired_state.store.tables.desired import KeyRow
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import DATASETS, MONTH, NL1, NL2


@pytest.fixture
def backend():
    return "sqlite"


@pytest.fixture
async def fleet(store):
    """Two ready nodes in one country; one key pinned to the first, five keys anywhere."""
    await DATASETS["fleet without keys"](store)
    async with begin(store, "test") as work:
        await keys.issue(work, MONTH, node=NL1)
        for _ in range(5):
            await keys.issue(work, MONTH)
    for one in (await place(store, store.clock.now())).added:
        await rows.journal(store, one.key, one.node)
    store.clock.advance(minutes=1)
    return store


async def stuck(store):
    async with store.reading() as session:
        return await list_stuck(session, store.clock.now())


async def test_a_key_that_cannot_leave_a_drained_node_is_named_with_the_reason(fleet):
    async with begin(fleet, "test") as work:
        await nodes.drain(work, NL1)
    await place(fleet, fleet.clock.now())

    found = await stuck(fleet)

    assert [NL1] == [one.node for one in found]
    assert "pinned" in found[0].reason


async def test_a_move_that_cannot_be_made_is_named_with_the_reason(fleet):
    summary = await place(fleet, fleet.clock.now())
    async with fleet.reading() as session:
        placed = (await list_moves(session, fleet.clock.now())).moves
    async with begin(fleet, "test") as work:
        await nodes.cordon(work, NL2)
    pinned = await _pinned(fleet)
    async with begin(fleet, "test") as work:
        await keys.move(work, pinned, NL2)

    found = await stuck(fleet)

    assert ((), ()) == (placed, summary.added)
    assert (StuckKey(pinned, NL1, f"{NL2} is cordoned"),) == found


async def test_where_nothing_is_to_leave_the_scheduler_is_not_asked(fleet):
    assert () == await stuck(fleet)


async def test_a_key_on_its_way_says_what_its_node_waits_for(fleet):
    async with begin(fleet, "test") as work:
        await nodes.drain(work, NL1)
    await place(fleet, fleet.clock.now())
    await rows.replace_status(
        fleet, NL1, rows.condition("Blocked", "TooManyDeletes", fleet.clock.now())
    )

    async with fleet.reading() as session:
        moves = (await list_moves(session, fleet.clock.now())).moves
        told = await explain_moves(session, moves)

    assert moves
    assert {f"{NL1} is Blocked/TooManyDeletes"} == {
        told[move].partition(":")[0] for move in moves if move.source == NL1
    }


async def _pinned(store):
    async with store.reading() as session:
        return await session.scalar(select(KeyRow.id).where(KeyRow.pinned_node == NL1))
