"""Why a key is not on a node: the first step that failed, in words, over the named data sets."""

import pytest
from sqlalchemy import select, update

from desired_state.commands import nodes
from desired_state.model.ids import NodeName
from desired_state.model.placement import DeleteReason
from desired_state.queries.blocked import list_blocked
from desired_state.queries.explain import Step
from desired_state.queries.fleet import list_nodes
from desired_state.queries.key import show_key
from desired_state.queries.keys import KeyFilter, list_keys
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import DATASETS, DE1, NL1, NL2


@pytest.fixture
def backend():
    return "sqlite"


async def explain(store, name, number=0):
    """Build a data set and explain one of its keys; by node."""
    scene = await DATASETS[name](store)
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[number], store.clock.now())
    return {explanation.node: explanation for explanation in detail.nodes}


async def test_a_revoked_key_is_not_declared(store):
    found = await explain(store, "revoked")

    assert {Step.DECLARED} == {one.failed for one in found.values()}
    assert "" == found[NL1].next_try


async def test_a_key_that_no_node_fits_says_which_label_is_missing(store):
    found = await explain(store, "unschedulable")

    assert Step.ELIGIBLE is found[NL1].failed
    assert "nl-1 does not carry country=fr" == found[NL1].why


async def test_a_pinned_key_says_that_its_node_is_cordoned(store):
    found = await explain(store, "unschedulable", 1)

    assert "cordoned" in " ".join(one.why for one in found.values())


async def test_a_moving_key_waits_for_the_node_that_it_leaves(store):
    found = await explain(store, "half-moved")

    waiting = [one for one in found.values() if one.failed is Step.JOURNALLED]
    assert [True] == ["moves from" in one.why for one in waiting]
    leaving = [one for one in found.values() if one.leaving]
    assert 1 == len(leaving)


async def test_a_rotated_key_waits_for_its_older_generation(store):
    found = await explain(store, "rotated")

    (waiting,) = [one for one in found.values() if one.failed is Step.JOURNALLED]
    assert f"generation 1 is not proved gone from {waiting.node} yet" == waiting.why
    assert 1 == len(waiting.leaving)


async def test_a_key_on_a_node_that_was_never_visited_waits_for_the_controller(store):
    scene = await DATASETS["declared, never looked at"](store)
    await rows.place(store, scene.keys[0], NL1)
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[0], store.clock.now())

    (found,) = [one for one in detail.nodes if one.node == NL1]

    assert Step.JOURNALLED is found.failed
    assert "the controller has not been at nl-1 since" == found.why
    assert (Step.DECLARED, Step.ELIGIBLE, Step.PLACED) == found.done


@pytest.mark.parametrize(
    ("condition", "next_try"),
    [
        (("Stalled", "CredentialsRefused"), "after a person acts"),
        (("Unreachable", "Timeout"), "at the next reconcile"),
    ],
    ids=["stalled", "unreachable"],
)
async def test_the_nodes_own_trouble_is_named_with_the_next_try(store, condition, next_try):
    scene = await DATASETS["declared, never looked at"](store)
    await rows.place(store, scene.keys[0], NL1)
    trouble = rows.condition(*condition, store.clock.now(), "said so")
    await rows.set_status(store, NL1, trouble)
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[0], store.clock.now())

    (found,) = [one for one in detail.nodes if one.node == NL1]

    assert f"nl-1 is {condition[0]}/{condition[1]}: said so" == found.why
    assert next_try == found.next_try


async def test_a_paused_node_is_the_reason(store):
    scene = await DATASETS["declared, never looked at"](store)
    await rows.place(store, scene.keys[0], NL1)
    async with begin(store, "test") as work:
        await nodes.pause(work, NL1)
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[0], store.clock.now())

    (found,) = [one for one in detail.nodes if one.node == NL1]

    assert ("nl-1 is paused", "after a person acts") == (found.why, found.next_try)


async def test_what_is_over_quota_says_so_in_the_list(store):
    scene = await DATASETS["over quota"](store)
    async with store.reading() as session:
        keys = await list_keys(session, store.clock.now())

    (found,) = [key for key in keys if key.key.id == scene.keys[0]]

    assert "over-quota" == found.ended
    assert found.subscription.used_bytes >= found.subscription.quota_bytes


async def test_the_list_counts_where_a_key_is_live(store):
    scene = await DATASETS["key on all nodes"](store)
    async with store.reading() as session:
        (found,) = await list_keys(session, store.clock.now())
        on_nl1 = await list_keys(session, store.clock.now(), KeyFilter(node=NL1))
        nowhere = await list_keys(session, store.clock.now(), KeyFilter(node=NodeName("x")))

    assert ((DE1, NL1, NL2), 2) == (found.nodes, found.live)
    assert [scene.keys[0]] == [key.key.id for key in on_nl1]
    assert () == nowhere


async def test_a_node_that_a_key_leaves_does_not_count_among_those_where_it_is_live(store):
    """Else a key that a dead node still owes would be live on two nodes of one."""
    await DATASETS["key on all nodes"](store)
    async with store.recording() as session:
        placed = await session.scalars(
            select(PlacementRow).where(PlacementRow.node.in_((NL1, NL2)))
        )
        for row in placed:
            row.leaving, row.leaving_at = DeleteReason.FAILED_OVER.value, store.clock.now()
    async with store.reading() as session:
        (found,) = await list_keys(session, store.clock.now())

    assert ((DE1,), (NL1, NL2)) == (found.nodes, found.leaving)
    assert found.live <= len(found.nodes)


@pytest.mark.parametrize(
    "trouble",
    [("Blocked", "ShrunkObservation"), ("Stalled", "IdentityChanged"), ("Stalled", "StaleDesired")],
)
async def test_nothing_is_verified_on_a_node_whose_list_is_not_believed(store, trouble):
    scene = await DATASETS["key on all nodes"](store)
    told = rows.condition(*trouble, store.clock.now(), "said so")
    await rows.replace_status(store, NL1, told)
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[0], store.clock.now())
        (listed,) = await list_keys(session, store.clock.now())

    (found,) = [one for one in detail.nodes if one.node == NL1]

    assert (Step.VERIFIED, False) == (found.failed, found.is_live)
    assert f"nl-1 is {trouble[0]}/{trouble[1]}: said so" == found.why
    assert 1 == listed.live


async def test_a_key_that_the_last_look_did_not_show_is_not_verified(store):
    scene = await DATASETS["key on all nodes"](store)
    async with store.recording() as session:
        await session.execute(
            update(RemoteGenerationRow).where(RemoteGenerationRow.node == NL1).values(projection="")
        )
    async with store.reading() as session:
        detail = await show_key(session, scene.keys[0], store.clock.now())
        (listed,) = await list_keys(session, store.clock.now())

    (found,) = [one for one in detail.nodes if one.node == NL1]

    assert Step.VERIFIED is found.failed
    assert "the last look did not show it as it should be" == found.why
    assert 1 == listed.live


async def test_blocked_sets_are_listed_with_what_they_would_delete(store):
    await DATASETS["blocked"](store)
    async with store.reading() as session:
        blocked = await list_blocked(session)
        fleet = await list_nodes(session)

    assert 1 == len(blocked)
    assert blocked[0].emails
    assert None is blocked[0].approved_at
    (node,) = [one for one in fleet if one.name == blocked[0].node]
    assert "Blocked" == node.worst.type
    assert not node.ready
