"""A node that is gone for good: what it owes is written off by a person's word, and by nothing else."""

from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update

from controller.jobs.place import place
from controller.jobs.retention import Retention
from controller.jobs.write_off import write_off
from controller.settings import RetentionSettings
from desired_state.commands import keys, manifests, nodes
from desired_state.commands.errors import Conflict
from desired_state.commands.forgetting import Forgotten, forget
from desired_state.commands.removal import remove_finished
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.queries.events import list_events
from desired_state.queries.forgotten import list_forgotten
from desired_state.queries.moves import list_moves
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.inbounds import ManagedInboundRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow
from desired_state.store.tables.types import DESIRED
from desired_state.store.unit_of_work import begin
from simulator import by_hand
from tests.builders import make_bundle, make_node_spec, make_policy, make_tariff
from tests.data import rows
from tests.data.datasets import DATASETS, MONTH, NL1, NL2
from tests.fakes.authorizer import writes_refused
from tests.integration.runtime.fleet import Wanted, open_fleet
from tests.integration.runtime.fleet import journal_of as rows_of


@pytest.fixture
async def fleet(store):
    """Two ready nodes in one country with six keys, half of them live on each."""
    await DATASETS["fleet without keys"](store)
    for _ in range(6):
        async with begin(store, "test") as work:
            await keys.issue(work, MONTH)
    for one in (await place(store, store.clock.now())).added:
        await rows.journal(store, one.key, one.node)
    store.clock.advance(minutes=1)
    return store


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")


BOTH = pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


async def fall(store, node):
    """Let a node be out of reach, looked at in vain often enough, and not given up yet."""
    await rows.replace_status(
        store, node, rows.condition("Unreachable", "Timeout", store.clock.now()), failures=5
    )


async def vanish(store, node):
    """Take a node out of its manifests."""
    async with begin(store, "test") as work:
        await nodes.orphan(work, node)


async def say_gone(store, node, *, gone=True):
    async with begin(store, "cli") as work:
        return await forget(work, node, panel_is_gone=gone, reason="the hoster is bankrupt")


async def journal_of(store, node):
    async with store.reading() as session:
        query = select(RemoteGenerationRow).where(RemoteGenerationRow.node == node)
        return {row.key: row for row in await session.scalars(query)}


async def homes(store):
    async with store.reading() as session:
        query = select(PlacementRow.key, PlacementRow.node, PlacementRow.replaces).where(
            PlacementRow.leaving.is_(None)
        )
        return {key: (node, replaces) for key, node, replaces in await session.execute(query)}


@BOTH
async def test_what_a_forgotten_node_owes_is_written_off_and_never_called_finalised(fleet):
    owed = await journal_of(fleet, NL1)
    await fall(fleet, NL1)
    await vanish(fleet, NL1)

    answer = await say_gone(fleet, NL1)
    (done,) = await write_off(fleet, fleet.clock.now())
    again = await write_off(fleet, fleet.clock.now())
    after = await journal_of(fleet, NL1)
    async with fleet.reading() as session:
        told = [e for e in await list_events(session, node=NL1) if "written_off" in e.name]
        (shown,) = await list_forgotten(session)

    assert Forgotten(NL1, 3, 3, 3) == answer
    assert (NL1, 3, 3) == (done.node, done.clients, done.keys)
    assert () == again
    assert {JournalState.WRITTEN_OFF.value} == {row.state for row in after.values()}
    assert {*owed} == {*after}
    assert ["debts_written_off"] + 3 * ["generation_written_off"] == sorted(e.name for e in told)
    assert (3, 3, 3, "the hoster is bankrupt") == (
        shown.clients,
        shown.keys,
        shown.unseen,
        shown.reason,
    )


@BOTH
async def test_keys_of_a_forgotten_node_live_elsewhere_and_wait_for_nothing(fleet):
    """Delete-first waits for a proof; where nobody can bring one, a person's word ends the wait."""
    await fall(fleet, NL1)
    async with begin(fleet, "test") as work:
        await nodes.drain(work, NL1)
    await place(fleet, fleet.clock.now())
    waiting = {key for key, (_, replaces) in (await homes(fleet)).items() if replaces == NL1}
    await vanish(fleet, NL1)

    await say_gone(fleet, NL1)
    (done,) = await write_off(fleet, fleet.clock.now())
    await place(fleet, fleet.clock.now())
    async with fleet.reading() as session:
        moves = await list_moves(session, fleet.clock.now())

    assert 3 == len(waiting)
    assert (NL2,) == done.freed
    assert {(NL2, None)} == set((await homes(fleet)).values())
    assert set() == {move.source for move in moves.moves} - {NL1, NL2}
    assert [] == [move for move in moves.moves if move.stage == "deleting"]


async def test_keys_that_had_not_left_yet_are_placed_elsewhere(fleet):
    async with fleet.recording() as session:
        now = fleet.clock.now()
        session.add(ManagedInboundRow(node=NL1, name="front", state="live", changed_at=now))
    await fall(fleet, NL1)
    await vanish(fleet, NL1)

    await say_gone(fleet, NL1)
    await write_off(fleet, fleet.clock.now())
    await place(fleet, fleet.clock.now())

    assert {(NL2, None)} == set((await homes(fleet)).values())
    async with fleet.reading() as session:
        assert await session.get(NodeRow, NL1) is None
        assert await session.get(NodeStatusRow, NL1) is None
        assert await session.get(ManagedInboundRow, (NL1, "front")) is None


async def test_a_turn_in_hand_that_records_something_afterwards_is_written_off_too(fleet):
    await fall(fleet, NL1)
    await vanish(fleet, NL1)
    await say_gone(fleet, NL1)
    await write_off(fleet, fleet.clock.now())
    (key, *_) = await journal_of(fleet, NL2)
    await rows.journal(fleet, key, NL1)

    (done,) = await write_off(fleet, fleet.clock.now())

    assert 1 == done.clients
    assert JournalState.WRITTEN_OFF.value == (await journal_of(fleet, NL1))[key].state


async def test_nobody_forgets_a_node_whose_panel_answers(fleet):
    """What it holds would live on, and nobody would ever look again."""
    await vanish(fleet, NL1)

    with pytest.raises(Conflict, match="answered when it was last looked at"):
        await say_gone(fleet, NL1)


async def test_nothing_is_written_off_without_being_said(fleet):
    await fall(fleet, NL1)
    await vanish(fleet, NL1)

    with pytest.raises(Conflict, match="still owes the deletion of 3 clients"):
        await say_gone(fleet, NL1, gone=False)

    assert () == await write_off(fleet, fleet.clock.now())


async def test_a_node_that_manifests_declare_is_not_forgotten(fleet):
    await fall(fleet, NL1)

    with pytest.raises(Conflict, match="is declared by the manifests"):
        await say_gone(fleet, NL1)


async def test_a_node_that_keys_are_pinned_to_is_not_forgotten_before_they_go(fleet):
    async with begin(fleet, "test") as work:
        pinned = (await keys.issue(work, MONTH, node=NL1)).key.id
    await fall(fleet, NL1)
    await vanish(fleet, NL1)
    with pytest.raises(Conflict, match=pinned):
        await say_gone(fleet, NL1)

    async with begin(fleet, "test") as work:
        await keys.revoke(work, pinned)
    await say_gone(fleet, NL1)

    async with fleet.reading() as session:
        assert await session.get(NodeRow, NL1) is None


async def test_an_orphan_that_holds_nothing_goes_without_any_word_about_its_panel(store):
    async with begin(store, "test") as work:
        await manifests.apply_bundle(
            work, make_bundle(nodes=(make_node_spec(name=NL1),), tariffs=(make_tariff(),))
        )
    await vanish(store, NL1)

    answer = await say_gone(store, NL1, gone=False)

    assert Forgotten(NL1, 0, 0, 0) == answer


# -- the panel comes back --------------------------------------------------------------------------


@pytest.mark.promise("S3")
@pytest.mark.parametrize(("version", "name"), [("2.9.4", "a"), ("3.6.0", "other")])
async def test_a_panel_that_comes_back_is_relieved_of_what_was_written_off(
    tmp_path, monkeypatch, version, name
):
    """Under its old name or another one; its node's share does not hold it up, no stranger is touched."""
    panels = {"a": Wanted(version), "b": Wanted("3.6.0")}
    policy = make_policy(fleet_delete_share=1.0)
    async with open_fleet(tmp_path, monkeypatch, policies=(policy,), **panels) as fleet:
        keys_of_all = await fleet.issue(16)
        await fleet.reconcile()
        left = set(fleet["a"].ours())
        by_hand.add_client(fleet["a"].panel, 1, {"email": "by-hand"})
        await fall(fleet.controller.store, NodeName("a"))
        await fleet.run(lambda work: nodes.orphan(work, NodeName("a")))
        await fleet.run(lambda work: forget(work, NodeName("a"), panel_is_gone=True))
        alone = await fleet.reconcile()
        held = set(fleet["a"].ours())

        spec = replace(fleet["a"].spec, name=NodeName(name), schedulable=False)
        await fleet.run(lambda work: nodes.declare(work, spec, source="test"))
        back = await fleet.reconcile()
        journal = {row.email: row.state for row in await rows_of(fleet, name)}

    assert 8 == len(left) == len(held)
    assert alone.in_sync
    assert back.in_sync, back
    assert {} == fleet["a"].ours()
    assert "by-hand" in fleet["a"].clients()
    assert 16 == len(keys_of_all) == len(fleet["b"].ours())
    assert {JournalState.GONE} == {journal[email] for email in left}


async def test_a_panel_that_comes_back_keeps_the_clients_that_are_placed_there_again(
    tmp_path, monkeypatch
):
    """What a tariff wants on every node is recognised with its credentials, not made anew."""
    panels = {"a": Wanted("3.6.0"), "b": Wanted("3.6.0")}
    async with open_fleet(tmp_path, monkeypatch, count=None, **panels) as fleet:
        await fleet.issue(4)
        await fleet.reconcile()
        before = fleet["a"].ours()
        await fall(fleet.controller.store, NodeName("a"))
        await fleet.run(lambda work: nodes.orphan(work, NodeName("a")))
        await fleet.run(lambda work: forget(work, NodeName("a"), panel_is_gone=True))
        await fleet.reconcile()
        fleet.forget_requests()

        await fleet.declare("a")
        back = await fleet.reconcile()

    assert back.in_sync, back
    assert 0 == back.totals["created"]
    assert before == fleet["a"].ours()


# -- nodes that end with nothing owed --------------------------------------------------------------


async def test_a_drained_orphan_goes_once_it_holds_nothing_and_not_before(fleet):
    """The loop is closed: whoever vanished while it was full is removed when it is empty."""
    async with begin(fleet, "test") as work:
        await nodes.drain(work, NL1)
        await nodes.orphan(work, NL1)
    await place(fleet, fleet.clock.now())
    early = await remove_finished(fleet)
    async with fleet.recording() as session:
        gone = {"state": JournalState.GONE.value, "gone_at": fleet.clock.now()}
        await session.execute(
            update(RemoteGenerationRow).where(RemoteGenerationRow.node == NL1).values(**gone)
        )
        await session.execute(delete(PlacementRow).where(PlacementRow.node == NL1))

    removed = await remove_finished(fleet)
    async with writes_refused(fleet, DESIRED) as refusals:
        again = await remove_finished(fleet)

    assert ((), (NL1,), ()) == (early, removed, again)
    assert [] == refusals.statements


async def test_an_orphan_that_was_never_to_be_drained_stays(fleet):
    await vanish(fleet, NL1)

    assert () == await remove_finished(fleet)


async def test_what_was_written_off_is_recognised_for_a_year(fleet):
    await fall(fleet, NL1)
    await vanish(fleet, NL1)
    await say_gone(fleet, NL1)
    await write_off(fleet, fleet.clock.now())

    fleet.clock.advance(days=300)
    await Retention(fleet, RetentionSettings(), fleet.clock).run()
    kept = await journal_of(fleet, NL1)
    fleet.clock.advance(days=100)
    await Retention(fleet, RetentionSettings(), fleet.clock).run()

    assert (3, 0) == (len(kept), len(await journal_of(fleet, NL1)))
