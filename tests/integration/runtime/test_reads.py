"""What a turn reads: every kind of key that concerns a node, and nothing of other nodes."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from controller.core.desired import KeyOnNode
from controller.runtime.keys_here import NOTHING_MORE, Overlay
from controller.runtime.lease import NOT_HELD, SoleLease
from controller.runtime.reads import Reader
from controller.runtime.versions import StatusVersions
from desired_state.commands import keys, nodes, subscriptions
from desired_state.model.errors import ConfigError
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId
from desired_state.model.node import AuthRefs, Mode, SecretRef, Tls, TlsKind
from desired_state.model.placement import DeleteReason, Placement
from desired_state.queries.node import TargetUnresolved, node_target
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import KeyGenerationRow, NodeRow
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_tariff
from tests.data import rows
from tests.data.datasets import DATASETS, DE1, MONTH, NL1, NL2


@pytest.fixture
def read(store):
    """Read a node as a turn does."""

    async def read(node=NL1, overlay=NOTHING_MORE):
        reader = Reader(store, StatusVersions(), SoleLease())
        return await reader.desired(node, store.clock.now(), overlay)

    return read


@pytest.fixture
async def issued(store):
    """Three nodes and a key of a quota, placed nowhere."""
    await rows.apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(), make_policy(),
        ),
    )  # fmt: skip
    async with begin(store, "test") as work:
        return await keys.issue(work, MONTH)


async def test_a_placed_key_is_read_with_its_subscription(store, read, issued):
    await rows.place(store, issued.key.id, NL1)

    (found,) = (await read()).keys

    assert KeyOnNode(issued.key.id, Generation(1), issued.subscription) == found
    assert () == (await read(NL2)).keys


async def test_a_leaving_key_says_why(store, read, issued):
    await rows.place(store, issued.key.id, NL1, leaving="moved")

    (found,) = (await read()).keys

    assert (False, DeleteReason.MOVED) == (found.placed, found.leaving)


async def test_a_revoked_key_leaves_before_the_scheduler_has_said_so(store, read, issued):
    await rows.place(store, issued.key.id, NL1)
    async with begin(store, "test") as work:
        await keys.revoke(work, issued.key.id)

    (found,) = (await read()).keys

    assert (False, DeleteReason.REVOKED) == (found.placed, found.leaving)


async def test_a_key_that_only_the_journal_holds_is_read(store, read, issued):
    """Its placement is gone, its client may not be."""
    await rows.journal(store, issued.key.id, NL1)

    desired = await read()

    assert [(issued.key.id, False, None)] == [(k.key, k.placed, k.leaving) for k in desired.keys]
    assert {issued.key.id: Generation(1)} == dict(desired.generations)


async def test_a_row_of_a_key_that_no_table_knows_stands_alone(store, read, issued):
    await rows.journal(store, KeyId("aaaaaaaaaa"), NL1)

    desired = await read()

    assert (1, ()) == (len(desired.journal), desired.keys)


async def test_what_is_used_counts_over_all_nodes_and_generations(store, read, issued):
    await rows.place(store, issued.key.id, NL1)
    await rows.use(store, issued.key.id, NL1, 3 * GIB, base_bytes=GIB, booked_bytes=GIB)
    await rows.use(store, issued.key.id, DE1, 2 * GIB)

    (found,) = (await read()).keys

    assert (5 * GIB, GIB) == (found.subscription.used_bytes, found.counter_base_bytes)


async def test_a_new_period_begins_with_the_counter_as_last_seen(store, read, issued):
    await rows.place(store, issued.key.id, NL1)
    await rows.use(store, issued.key.id, NL1, 3 * GIB, booked_bytes=GIB)
    async with begin(store, "test") as work:
        await subscriptions.extend(work, issued.subscription.id, 30, new_period=True)

    (found,) = (await read()).keys

    assert (0, 3 * GIB) == (found.subscription.used_bytes, found.counter_base_bytes)


async def test_two_keys_of_a_subscription_share_what_was_used(store, read, issued):
    async with begin(store, "test") as work:
        second = (await keys.issue(work, MONTH, subscription=issued.subscription.id)).key.id
    for key in (issued.key.id, second):
        await rows.place(store, key, NL1)
        await rows.use(store, key, NL1, GIB)

    assert [2 * GIB, 2 * GIB] == [k.subscription.used_bytes for k in (await read()).keys]


@pytest.mark.parametrize(
    ("state", "held"),
    [(JournalState.LIVE, NL2), (JournalState.INTENDED, NL2), (JournalState.GONE, None)],
)
async def test_a_moved_key_is_held_while_a_generation_is_journalled_there(
    store, read, issued, state, held
):
    await rows.place(store, issued.key.id, NL2, leaving="moved")
    await rows.journal(store, issued.key.id, NL2, state=state)
    await rows.place(store, issued.key.id, NL1, replaces=NL2)

    (found,) = (await read()).keys

    assert held == found.held_by


async def test_the_operators_stricter_mode_wins(store, read, issued):
    async with begin(store, "test") as work:
        await nodes.set_mode(work, NL1, Mode.OBSERVE)

    assert [Mode.OBSERVE, Mode.ENFORCE] == [(await read()).mode, (await read(NL2)).mode]


async def test_a_drain_is_read(store, read, issued):
    async with begin(store, "test") as work:
        await nodes.drain(work, NL1)

    assert [True, False] == [(await read()).draining, (await read(NL2)).draining]


async def test_who_holds_nothing_reads_an_epoch_that_no_record_is_written_with(read, issued):
    assert NOT_HELD == (await read()).epoch


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("backend", ["sqlite"])
async def test_every_named_data_set_can_be_read(store, read, name):
    scene = await DATASETS[name](store)

    found = [await read(node) for node in scene.nodes]

    assert list(scene.nodes) == [desired.node for desired in found]


# -- placements that a plan takes for stored -------------------------------------------------------


async def test_a_placement_that_is_not_stored_is_read_as_if_it_were(store, read, issued):
    overlay = Overlay(added=(Placement(issued.key.id, NL1, "best"),))

    planned = (await read(NL1, overlay)).keys
    await rows.place(store, issued.key.id, NL1)

    assert planned == (await read()).keys
    assert () == (await read(NL2, overlay)).keys


async def test_an_end_that_is_not_stored_is_read_as_if_it_were(store, read, issued):
    await rows.place(store, issued.key.id, NL1)
    ended = Placement(issued.key.id, NL1, "best", leaving=DeleteReason.MOVED)

    (found,) = (await read(NL1, Overlay(ended=(ended,)))).keys

    assert (False, DeleteReason.MOVED) == (found.placed, found.leaving)


async def test_a_move_that_is_not_stored_waits_like_a_stored_one(store, read, issued):
    await rows.place(store, issued.key.id, NL2)
    await rows.journal(store, issued.key.id, NL2)
    overlay = Overlay(
        added=(Placement(issued.key.id, NL1, "moved", replaces=NL2),),
        ended=(Placement(issued.key.id, NL2, "best", leaving=DeleteReason.MOVED),),
    )

    (found,) = (await read(NL1, overlay)).keys

    assert NL2 == found.held_by


# -- generations and seeds -------------------------------------------------------------------------


async def test_generations_leave_out_keys_without_a_row(store, issued):
    reader = Reader(store, StatusVersions(), SoleLease())
    async with begin(store, "test") as work:
        await keys.rotate(work, issued.key.id)

    found = await reader.generations((issued.key.id, KeyId("aaaaaaaaaa")))

    assert {issued.key.id: Generation(2)} == dict(found)


async def test_seeds_are_opened_for_exactly_what_is_wanted(store, issued):
    reader = Reader(store, StatusVersions(), SoleLease())
    async with begin(store, "test") as work:
        await keys.rotate(work, issued.key.id)
    second, unknown = (issued.key.id, Generation(2)), (KeyId("aaaaaaaaaa"), Generation(1))

    found = await reader.seeds((second, unknown))

    assert [second] == list(found)
    assert 32 == len(found[second])
    assert found[second] != (await reader.seeds(((issued.key.id, Generation(1)),))).popitem()[1]


async def test_a_seed_that_does_not_open_is_left_out_and_its_neighbours_are_read(store, issued):
    """As after a time with another encryption key; here it was sealed for another place."""
    async with begin(store, "test") as work:
        other = await keys.issue(work, MONTH)
        foreign = select(KeyGenerationRow.seed).where(KeyGenerationRow.key_id == other.key.id)
        await work.session.execute(
            update(KeyGenerationRow)
            .where(KeyGenerationRow.key_id == issued.key.id)
            .values(seed=foreign.scalar_subquery())
        )
    wanted = ((issued.key.id, Generation(1)), (other.key.id, Generation(1)))

    found = await Reader(store, StatusVersions(), SoleLease()).seeds(wanted)

    assert [wanted[1]] == list(found)


# -- the connection --------------------------------------------------------------------------------


async def target(store, spec):
    await rows.apply(store, make_bundle(spec, make_tariff()))
    async with store.reading() as session:
        return await node_target(session, spec.name, store.vault)


async def test_a_target_carries_everything_that_reaches_a_panel(store, monkeypatch):
    monkeypatch.setenv("PANEL_NAME", "admin")
    monkeypatch.setenv("PANEL_WORD", "very secret")
    spec = make_node_spec(
        "nl-1",
        url="https://nl1.example.net:2053/path/",
        auth=AuthRefs(
            username=SecretRef("env", "PANEL_NAME"), password=SecretRef("env", "PANEL_WORD")
        ),
        tls=Tls(TlsKind.PIN, "ab" * 32),
        mode=Mode.UPSERT_ONLY,
    )

    found = await target(store, spec)

    assert (spec.url, spec.tls, Mode.UPSERT_ONLY) == (found.url, found.tls, found.mode)
    assert ("admin", "very secret") == (found.credentials.username, found.credentials.password)
    assert "very secret" not in repr(found)


async def test_a_fingerprint_tells_changed_credentials_and_shows_none(store, monkeypatch):
    monkeypatch.setenv("PANEL_TOKEN", "first")
    auth = AuthRefs(token=SecretRef("env", "PANEL_TOKEN"))
    spec = make_node_spec("nl-1", auth=auth)
    first, same = await target(store, spec), await target(store, spec)
    monkeypatch.setenv("PANEL_TOKEN", "second")
    second = await target(store, spec)

    assert first.fingerprint == same.fingerprint != second.fingerprint
    assert "first" not in first.fingerprint


async def test_another_address_is_another_fingerprint(store, monkeypatch):
    """What one panel refused, another one may accept."""
    monkeypatch.setenv("PANEL_TOKEN", "first")
    auth = AuthRefs(token=SecretRef("env", "PANEL_TOKEN"))
    one = await target(store, make_node_spec("nl-1", auth=auth))
    other = await target(
        store, make_node_spec("nl-1", auth=auth, url="https://nl9.example.net:2053/path/")
    )

    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("auth", "named"),
    [
        (AuthRefs(token=SecretRef("env", "NOT_SET")), ("auth.token", "NOT_SET")),
        (
            AuthRefs(username=SecretRef("env", "NOT_SET"), password=SecretRef("file", "/nowhere")),
            ("auth.username", "NOT_SET"),
        ),
        (AuthRefs(token=SecretRef("file", "/nowhere")), ("auth.token", "/nowhere")),
        (AuthRefs(token=SecretRef("ciphertext", "gAAAA")), ("nl-1", "encryption keys")),
    ],
    ids=["variable", "the first of two", "file", "ciphertext of other keys"],
)
async def test_a_missing_secret_names_its_node_its_field_and_its_place(store, auth, named):
    with pytest.raises(TargetUnresolved) as refused:
        await target(store, make_node_spec("nl-1", auth=auth))

    assert [] == [part for part in ("nl-1", *named) if part not in str(refused.value)]
    assert NL1 == refused.value.target.node


async def test_an_undeclared_node_has_no_target(store):
    async with store.reading() as session:
        with pytest.raises(ConfigError, match="no node nobody"):
            await node_target(session, NodeName("nobody"), store.vault)


async def test_an_orphaned_node_is_read_like_any_other(store, read, issued):
    async with begin(store, "test") as work:
        await nodes.orphan(work, NL1)

    async with store.reading() as session:
        node = node_from(await session.get_one(NodeRow, NL1))
    assert node.orphaned
    assert NL1 == (await read()).node


async def test_a_subscription_that_has_no_end_is_in_force(store, read):
    """Tariffs without quota and devices leave those fields open."""
    await rows.apply(
        store,
        make_bundle(make_node_spec("nl-1"), make_tariff(traffic_bytes=None, devices=None)),
    )
    async with begin(store, "test") as work:
        issued = await keys.issue(work, MONTH)
    await rows.place(store, issued.key.id, NL1)

    (found,) = (await read()).keys

    later = store.clock.now() + timedelta(days=1)
    assert (None, None) == (found.subscription.quota_bytes, found.subscription.devices)
    assert None is found.subscription.ended_by(later)
    assert SubscriptionId(issued.subscription.id) == found.subscription.id
