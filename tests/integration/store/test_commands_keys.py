"""Commands of keys: issue, rotate, move, revoke."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import select

from desired_state.commands import keys, nodes, subscriptions
from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.keys import Issued
from desired_state.model.credentials import SEED_BYTES
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.node import Mode
from desired_state.model.policy import MoveOrder
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.result import Move
from desired_state.store.convert import move_from, seed_place
from desired_state.store.engine import Store
from desired_state.store.errors import SecretUnreadable
from desired_state.store.secrets import Vault, make_key
from desired_state.store.tables.desired import KeyGenerationRow, KeyRow, MoveRow, SubscriptionRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data.rows import apply, journal, place, wakes_since
from tests.stores import KEY

MONTH = TariffName("month-nl")
NL1, NL2, DE1 = NodeName("nl-1"), NodeName("nl-2"), NodeName("de-1")


@pytest.fixture
async def fleet(sqlite_store: Store) -> Store:
    """Three nodes and three tariffs."""
    await apply(
        sqlite_store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(), make_tariff("all", nodes=make_selector(None)), make_tariff("other"),
        ),
    )  # fmt: skip
    return sqlite_store


async def issue(fleet: Store, tariff: str = "month-nl", **options: object) -> Issued:
    async with begin(fleet, "test") as work:
        return await keys.issue(work, TariffName(tariff), **options)


async def seeds(fleet: Store) -> dict[tuple[str, int], bytes]:
    async with fleet.reading() as session:
        return {
            (row.key_id, row.generation): fleet.vault.open(
                row.seed, seed_place(row.key_id, row.generation)
            )
            for row in await session.scalars(select(KeyGenerationRow))
        }


async def moves(fleet: Store) -> list[Move]:
    async with fleet.reading() as session:
        return [move_from(row) for row in await session.scalars(select(MoveRow))]


# -- issue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["issue", "rotate"])
async def test_nothing_is_sealed_with_keys_that_do_not_open_this_database(
    fleet: Store, command: str
) -> None:
    """What the wrong keys sealed could never be opened once the right ones are back."""
    issued = await issue(fleet)
    before = await seeds(fleet)
    wrong = replace(fleet, vault=Vault([make_key()]))

    async def run() -> None:
        async with begin(wrong, "test") as work:
            if command == "issue":
                await keys.issue(work, MONTH)
            else:
                await keys.rotate(work, issued.key.id)

    with pytest.raises(SecretUnreadable, match="installation_secret/1/value"):
        await run()

    assert before == await seeds(fleet)
    async with fleet.reading() as session:
        assert [issued.key.id] == list(await session.scalars(select(KeyRow.id)))


async def test_a_new_key_before_the_old_one_seals_and_opens(fleet: Store) -> None:
    """The first step of a rotation of keys."""
    newer = replace(fleet, vault=Vault([make_key(), KEY]))

    issued = await issue(newer)

    assert {(issued.key.id, 1)} == (await seeds(newer)).keys()


async def test_a_key_is_issued_with_a_subscription_of_its_own(fleet: Store) -> None:
    issued = await issue(fleet)

    assert re.fullmatch("[a-z2-7]{10}", issued.key.id)
    assert (MONTH, 200 * 2**30, 3) == (
        issued.subscription.tariff, issued.subscription.quota_bytes, issued.subscription.devices,
    )  # fmt: skip
    assert issued.key.subscription == issued.subscription.id
    assert make_selector(country="nl") == issued.key.nodes
    assert (Generation(1), None) == (issued.key.generation, issued.key.pinned)
    assert issued.subscription.valid_until is not None
    assert 30 == (issued.subscription.valid_until - fleet.clock.now()).days


async def test_the_seed_of_a_key_is_stored_sealed(fleet: Store) -> None:
    first, second = await issue(fleet), await issue(fleet)

    found = await seeds(fleet)
    assert {(first.key.id, 1), (second.key.id, 1)} == set(found)
    assert {SEED_BYTES} == {len(seed) for seed in found.values()}
    assert 2 == len(set(found.values()))


async def test_an_issue_wakes_the_scheduler_alone(fleet: Store) -> None:
    issued = await issue(fleet)

    assert {None} == await wakes_since(fleet, issued.key.revision)


async def test_a_pinned_key_names_its_node(fleet: Store) -> None:
    issued = await issue(fleet, node=DE1)

    assert DE1 == issued.key.pinned


async def test_a_second_key_of_one_subscription(fleet: Store) -> None:
    first = await issue(fleet)

    second = await issue(fleet, subscription=first.subscription.id)

    assert first.subscription == second.subscription
    assert first.key.id != second.key.id


async def test_issuing_twice_under_one_token_issues_once(fleet: Store) -> None:
    first = await issue(fleet, token="order-1")
    again = await issue(fleet, token="order-1")

    assert (first.key, first.subscription, True) == (again.key, again.subscription, again.repeated)
    async with fleet.reading() as session:
        assert 1 == len((await session.scalars(select(SubscriptionRow))).all())


@pytest.mark.parametrize(
    "options",
    [{"tariff": "other"}, {"node": NL1}, {"subscription": SubscriptionId("elsewhere")}],
    ids=["tariff", "node", "subscription"],
)
async def test_a_token_stands_for_one_key_alone(fleet: Store, options: dict[str, object]) -> None:
    await issue(fleet, token="order-1")

    with pytest.raises(Conflict, match="issued otherwise"):
        await issue(fleet, token="order-1", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tariff": "year"}, "no tariff year"),
        ({"node": NodeName("fr-1")}, "no node fr-1"),
        ({"subscription": SubscriptionId("none")}, "no subscription none"),
    ],
    ids=["tariff", "node", "subscription"],
)
async def test_what_is_not_there_is_named(
    fleet: Store, options: dict[str, object], message: str
) -> None:
    with pytest.raises(NotFound, match=message):
        await issue(fleet, **options)

    assert {} == await seeds(fleet)


async def test_no_key_is_issued_of_a_withdrawn_tariff(fleet: Store) -> None:
    await apply(fleet, make_bundle(make_tariff("other"), revision="r2"))

    with pytest.raises(Conflict, match="month-nl is withdrawn"):
        await issue(fleet)


async def test_no_key_is_pinned_to_an_orphaned_node(fleet: Store) -> None:
    await apply(fleet, make_bundle(make_tariff(), revision="r2"))

    with pytest.raises(Conflict, match="nl-1 is orphaned"):
        await issue(fleet, node=NL1)


async def test_a_subscription_of_another_tariff_is_refused(fleet: Store) -> None:
    issued = await issue(fleet)

    with pytest.raises(Conflict, match="is of tariff month-nl"):
        await issue(fleet, "other", subscription=issued.subscription.id)


# -- rotate ----------------------------------------------------------------------------------------


async def test_a_rotated_key_keeps_its_old_seed_for_the_delete(fleet: Store) -> None:
    key = (await issue(fleet)).key
    before = await seeds(fleet)

    async with begin(fleet, "test") as work:
        changed = await keys.rotate(work, key.id)

    after = await seeds(fleet)
    assert (Generation(2), True) == (changed.key.generation, changed.changed)
    assert before == {place: seed for place, seed in after.items() if place == (key.id, 1)}
    assert after[key.id, 1] != after[key.id, 2]


async def test_a_rotation_wakes_the_nodes_that_hold_the_key(fleet: Store) -> None:
    """By placement, and by a journal row that outlived its placement."""
    key = (await issue(fleet)).key
    await place(fleet, key.id, NL1)
    await journal(fleet, key.id, NL2)
    await journal(fleet, key.id, DE1, state=JournalState.GONE)

    async with begin(fleet, "test") as work:
        changed = await keys.rotate(work, key.id)

    assert {None, NL1, NL2} == await wakes_since(fleet, changed.key.revision)


async def test_a_doubled_click_rotates_once(fleet: Store) -> None:
    key = (await issue(fleet)).key

    async with begin(fleet, "test") as work:
        first = await keys.rotate(work, key.id, expected=Generation(1))
    async with begin(fleet, "test") as work:
        second = await keys.rotate(work, key.id, expected=Generation(1))

    assert (True, False) == (first.changed, second.changed)
    assert first.key == second.key


async def test_a_rotation_expected_of_the_future_is_refused(fleet: Store) -> None:
    key = (await issue(fleet)).key

    async with begin(fleet, "test") as work:
        with pytest.raises(Conflict, match="is at generation 1, not 2"):
            await keys.rotate(work, key.id, expected=Generation(2))


# -- revoke ----------------------------------------------------------------------------------------


async def test_a_revoked_key_stays_until_it_is_finalised(fleet: Store) -> None:
    key = (await issue(fleet)).key
    await place(fleet, key.id, NL1)

    async with begin(fleet, "test") as work:
        changed = await keys.revoke(work, key.id, reason="stolen")

    assert not changed.key.is_wanted
    assert (fleet.clock.now(), "stolen") == (changed.key.deleted_at, changed.key.reason)
    assert {(key.id, 1)} == set(await seeds(fleet))
    assert {None, NL1} == await wakes_since(fleet, changed.key.revision)


async def test_revoking_twice_changes_nothing_more(fleet: Store) -> None:
    key = (await issue(fleet)).key
    async with begin(fleet, "test") as work:
        first = await keys.revoke(work, key.id)

    async with begin(fleet, "test") as work:
        second = await keys.revoke(work, key.id, reason="again")

    assert (first.key, False) == (second.key, second.changed)


async def test_a_revoked_key_is_neither_rotated_nor_moved(fleet: Store) -> None:
    key = (await issue(fleet)).key
    async with begin(fleet, "test") as work:
        await keys.revoke(work, key.id)

    async with begin(fleet, "test") as work:
        with pytest.raises(Conflict, match="is revoked"):
            await keys.rotate(work, key.id)
        with pytest.raises(Conflict, match="is revoked"):
            await keys.move(work, key.id, NL2)


async def test_an_unknown_key_is_named(fleet: Store) -> None:
    async with begin(fleet, "test") as work:
        for call in (keys.rotate, keys.revoke):
            with pytest.raises(NotFound, match="no key nosuchkey2"):
                await call(work, KeyId("nosuchkey2"))


# -- move ------------------------------------------------------------------------------------------


async def move(fleet: Store, key: KeyId, to: NodeName | NodeSelector, **options: object) -> object:
    async with begin(fleet, "test") as work:
        return (await keys.move(work, key, to, **options)).key


async def test_a_move_names_the_node_that_is_left(fleet: Store) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1)

    moved = await move(fleet, issued.key.id, NL2)

    expected = Move(issued.key.id, NL1, NL2, None, moved.revision)
    assert [expected] == await moves(fleet)
    assert moved.pinned is None
    assert {None, NL1} == await wakes_since(fleet, moved.revision)


async def test_a_pinned_key_is_pinned_to_where_it_goes(fleet: Store) -> None:
    issued = await issue(fleet, node=NL1)
    await place(fleet, issued.key.id, NL1)

    moved = await move(fleet, issued.key.id, DE1, order=MoveOrder.CREATE_FIRST)

    assert DE1 == moved.pinned
    assert [MoveOrder.CREATE_FIRST] == [m.order for m in await moves(fleet)]


async def test_a_move_by_selector_leaves_what_fits_no_more(fleet: Store) -> None:
    issued = await issue(fleet, "all")
    for node in (NL1, NL2, DE1):
        await place(fleet, issued.key.id, node)

    moved = await move(fleet, issued.key.id, make_selector(None, country="de"))

    assert make_selector(None, country="de") == moved.nodes
    assert [(NL1, None), (NL2, None)] == [(m.from_node, m.to_node) for m in await moves(fleet)]


async def test_a_selector_that_fits_everything_leaves_nothing(fleet: Store) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1)

    moved = await move(fleet, issued.key.id, make_selector(2, country="nl"))

    assert make_selector(2, country="nl") == moved.nodes
    assert [] == await moves(fleet)


async def test_a_key_that_lives_nowhere_is_told_where_to_go(fleet: Store) -> None:
    issued = await issue(fleet)

    moved = await move(fleet, issued.key.id, NL2)

    assert [Move(issued.key.id, None, NL2, None, moved.revision)] == await moves(fleet)


async def test_of_several_nodes_the_one_that_is_left_is_named(fleet: Store) -> None:
    issued = await issue(fleet, "all")
    await place(fleet, issued.key.id, NL1)
    await place(fleet, issued.key.id, NL2)

    with pytest.raises(Conflict, match="lives on several nodes: nl-1, nl-2"):
        await move(fleet, issued.key.id, DE1)
    await move(fleet, issued.key.id, DE1, from_node=NL2)

    assert [(NL2, DE1)] == [(m.from_node, m.to_node) for m in await moves(fleet)]


@pytest.mark.parametrize("mode", [Mode.UPSERT_ONLY, Mode.OBSERVE, Mode.PAUSED])
async def test_delete_first_is_refused_where_deletes_are_forbidden(
    fleet: Store, mode: Mode
) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1)
    async with begin(fleet, "test") as work:
        await nodes.set_mode(work, NL1, mode)

    with pytest.raises(Conflict, match=f"its mode {mode.value} forbids deletes.*create-first"):
        await move(fleet, issued.key.id, NL2)
    assert [] == await moves(fleet)

    await move(fleet, issued.key.id, NL2, order=MoveOrder.CREATE_FIRST)
    assert 1 == len(await moves(fleet))


async def test_the_policy_of_the_node_that_is_left_decides_the_order(fleet: Store) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1)
    async with begin(fleet, "test") as work:
        await nodes.set_mode(work, NL1, Mode.UPSERT_ONLY)
    overlap = make_policy("nl", selector=(("country", "nl"),), move_order=MoveOrder.CREATE_FIRST)
    await apply(fleet, make_bundle(overlap, revision="p", source="policies"))

    await move(fleet, issued.key.id, NL2)

    assert [None] == [m.order for m in await moves(fleet)]


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        (NL1, {}, "lives on nl-1 already"),
        (NL2, {"from_node": DE1}, "does not live on de-1"),
    ],
    ids=["where it is", "from where it is not"],
)
async def test_a_move_that_contradicts_what_is_is_refused(
    fleet: Store, to: NodeName, options: dict[str, object], message: str
) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1)

    with pytest.raises(Conflict, match=message):
        await move(fleet, issued.key.id, to, **options)


async def test_a_move_to_an_unknown_or_orphaned_node_is_refused(fleet: Store) -> None:
    issued = await issue(fleet)
    with pytest.raises(NotFound, match="no node fr-1"):
        await move(fleet, issued.key.id, NodeName("fr-1"))
    await apply(fleet, make_bundle(make_tariff(), revision="r2"))

    with pytest.raises(Conflict, match="nl-2 is orphaned"):
        await move(fleet, issued.key.id, NL2)


async def test_a_leaving_placement_is_not_left_twice(fleet: Store) -> None:
    issued = await issue(fleet)
    await place(fleet, issued.key.id, NL1, leaving="moved")
    await place(fleet, issued.key.id, NL2, replaces=NL1)

    await move(fleet, issued.key.id, DE1)

    assert [(NL2, DE1)] == [(m.from_node, m.to_node) for m in await moves(fleet)]


async def test_one_thousand_keys_are_issued_in_one_transaction(fleet: Store) -> None:
    """A unit of work may hold many commands: they share a revision and are all or nothing."""
    async with begin(fleet, "test") as work:
        subscription = await subscriptions.create(work, MONTH)
        issued = [await keys.issue(work, MONTH, subscription=subscription.id) for _ in range(1000)]

    assert 1 == len({key.key.revision for key in issued})
    assert 1000 == len({key.key.id for key in issued})
