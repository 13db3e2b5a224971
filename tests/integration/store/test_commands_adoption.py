"""Commands of adoption: what is written when clients are taken over, and when they are given back."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from desired_state.commands import adoption, keys, people
from desired_state.commands.adoption_facts import AdoptionWish
from desired_state.commands.errors import Conflict, NotFound, PlanStale
from desired_state.model.adoption import FoundClient
from desired_state.model.adoption_plan import AdoptionPlan, MapEntry
from desired_state.model.credentials import ClientSecrets, read_secrets
from desired_state.model.ids import Email, InboundId, KeyId, NodeName, TariffName
from desired_state.queries.adoption import adopted_clients
from desired_state.queries.placement import read_placement_inputs
from desired_state.scheduling.place import place_keys
from desired_state.store.adoption_rows import adopted_from, found_from, found_values
from desired_state.store.convert import seed_place
from desired_state.store.engine import Store
from desired_state.store.tables.adoption import AdoptionRow, FoundClientRow
from desired_state.store.tables.desired import KeyGenerationRow, KeyRow, PersonRow, SubscriptionRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_selector, make_tariff
from tests.data.rows import apply, wakes_since

NL1, NL2 = NodeName("nl-1"), NodeName("nl-2")
WISH = AdoptionWish(tariff=TariffName("all"))


@pytest.fixture
async def fleet(sqlite_store: Store) -> Store:
    """Two nodes, and a tariff of every node."""
    tariff = make_tariff("all", nodes=make_selector(None))
    await apply(sqlite_store, make_bundle(make_node_spec("nl-1"), make_node_spec("nl-2"), tariff))
    return sqlite_store


def found(email: str = "Ivan", uuid: str = "u-1", **changes: Any) -> FoundClient:
    values: dict[str, Any] = {
        "inbound_ids": (InboundId(1),),
        "matched_ids": (InboundId(1),),
        "secrets": ClientSecrets(uuid, "p-1", ""),
        "needs": ("uuid",),
        "sub_id": f"s-{email}",
        "tg_id": 700001,
    }
    return FoundClient(email=Email(email), **values | changes)


async def show(fleet: Store, node: NodeName, *clients: FoundClient) -> None:
    """Have an inventory of a node."""
    async with fleet.recording() as session:
        for row in await session.scalars(select(FoundClientRow).where(FoundClientRow.node == node)):
            await session.delete(row)
        await session.flush()
        session.add_all(
            FoundClientRow(
                **found_values(client, node, number, fleet.vault), found_at=fleet.clock.now()
            )
            for number, client in enumerate(clients)
        )


async def plan(fleet: Store, node: NodeName = NL1, wish: AdoptionWish = WISH) -> AdoptionPlan:
    async with begin(fleet, "test") as work:
        return await adoption.plan(work, node, wish)


async def adopt(fleet: Store, node: NodeName = NL1, wish: AdoptionWish = WISH) -> AdoptionPlan:
    shown = await plan(fleet, node, wish)
    async with begin(fleet, "test") as work:
        return (await adoption.adopt(work, node, wish, shown.digest)).plan


async def one_key(fleet: Store) -> KeyId:
    async with fleet.reading() as session:
        (row,) = (await session.scalars(select(KeyRow).where(KeyRow.deleted_at.is_(None)))).all()
        return KeyId(row.id)


async def test_adopting_writes_a_person_a_subscription_a_key_and_what_was_found(fleet):
    until = fleet.clock.now() + timedelta(days=9)
    client = found(expiry_ms=int(until.timestamp() * 1000), total_bytes=77, limit_ip=2)
    await show(fleet, NL1, client)

    await adopt(fleet)

    async with fleet.reading() as session:
        (person,) = (await session.scalars(select(PersonRow))).all()
        (owner,) = (await session.scalars(select(SubscriptionRow))).all()
        (key,) = (await session.scalars(select(KeyRow))).all()
        (row,) = (await session.scalars(select(AdoptionRow))).all()
        seed = await session.get_one(KeyGenerationRow, (key.id, 1))
    assert (700001, person.id) == (person.telegram_id, owner.person_id)
    assert (until, 77, 2, False) == (
        owner.valid_until, owner.quota_bytes, owner.devices, owner.suspended,
    )  # fmt: skip
    assert (owner.id, 1, None) == (key.subscription_id, key.selector_count, key.pinned_node)
    assert ("Ivan", "s-Ivan", 77, 77) == (
        row.email, row.sub_id, adopted_from(row).total_bytes, adopted_from(row).quota_bytes,
    )  # fmt: skip
    secrets = read_secrets(fleet.vault.open(seed.seed, seed_place(key.id, 1)))
    assert ("u-1", "p-1") == (secrets.uuid, secrets.password)


async def test_showing_writes_nothing_and_wakes_nobody(fleet):
    await show(fleet, NL1, found())

    shown = await plan(fleet)

    assert 1 == shown.clients
    assert set() == await wakes_since(fleet, 3)


async def test_adopting_wakes_the_node_and_the_scheduler(fleet):
    await show(fleet, NL1, found())

    await adopt(fleet)

    assert {NL1, None} == await wakes_since(fleet, 3)


async def test_an_adopted_key_is_placed_where_it_was_found_and_nowhere_else(fleet):
    await show(fleet, NL1, found())
    await adopt(fleet)

    async with fleet.reading() as session:
        inputs = await read_placement_inputs(session, fleet.clock.now())
    decided = place_keys(inputs.keys, inputs.nodes, inputs.placements, adopted=inputs.adopted)

    assert [(NL1, "adopted there")] == [(p.node, p.reason) for p in decided.added]


async def test_the_same_credentials_on_another_node_join_the_key(fleet):
    await show(fleet, NL1, found())
    await adopt(fleet)
    key = await one_key(fleet)
    await show(
        fleet,
        NL2,
        found("Ivan-de", secrets=ClientSecrets("u-1", "p-2", ""), needs=("uuid", "password")),
    )

    joined = await adopt(fleet, NL2)

    async with fleet.reading() as session:
        views = await adopted_clients(session, key)
        row = await session.get_one(KeyRow, key)
        seed = await session.get_one(KeyGenerationRow, (key, 1))
    assert [key] == [one.key for one in joined.keys]
    assert [(NL1, "Ivan"), (NL2, "Ivan-de")] == [(v.node, v.email) for v in views]
    assert 2 == row.selector_count
    # What a protocol logs in with counts more than what the first panel happened to hold.
    assert "p-2" == read_secrets(fleet.vault.open(seed.seed, seed_place(key, 1))).password


async def test_a_digest_of_something_else_adopts_nothing(fleet):
    await show(fleet, NL1, found())
    shown = await plan(fleet)
    await show(fleet, NL1, found(limit_ip=9))

    async with begin(fleet, "test") as work:
        with pytest.raises(PlanStale):
            await adoption.adopt(work, NL1, WISH, shown.digest)

    async with fleet.reading() as session:
        assert [] == (await session.scalars(select(KeyRow))).all()


async def test_the_same_digest_again_is_a_repetition(fleet):
    await show(fleet, NL1, found())
    shown = await plan(fleet)
    async with begin(fleet, "test") as work:
        first = await adoption.adopt(work, NL1, WISH, shown.digest[:12])
    async with begin(fleet, "test") as work:
        again = await adoption.adopt(work, NL1, WISH, shown.digest[:12])

    assert (False, True) == (first.repeated, again.repeated)
    assert await one_key(fleet)


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (AdoptionWish(tariff=TariffName("none")), NotFound),
        (AdoptionWish(mapping=(MapEntry(email="ivan", tariff=TariffName("none")),)), NotFound),
    ],
    ids=["by default", "by the map"],
)
async def test_a_tariff_that_nobody_declares_is_refused_before_anything(fleet, wish, error):
    await show(fleet, NL1, found())

    async with begin(fleet, "test") as work:
        with pytest.raises(error):
            await adoption.plan(work, NL1, wish)


async def test_a_client_of_a_banned_person_is_shown_to_be_switched_off(fleet):
    async with begin(fleet, "test") as work:
        met = await people.meet(work, telegram_id=700001)
        await people.ban(work, met.person.id)
    await show(fleet, NL1, found())

    made = await adopt(fleet)

    assert ("switch on -> off",) == made.keys[0].clients[0].changes
    async with fleet.reading() as session:
        (owner,) = (await session.scalars(select(SubscriptionRow))).all()
    assert owner.banned


async def test_releasing_gives_clients_back_and_ends_the_key(fleet):
    await show(fleet, NL1, found())
    await adopt(fleet)
    key = await one_key(fleet)

    async with begin(fleet, "test") as work:
        released = await adoption.release(work, key)
    async with begin(fleet, "test") as work:
        again = await adoption.release(work, key)

    assert (True, False) == (released.changed, again.changed)
    assert ((NL1, "Ivan"),) == released.clients
    async with fleet.reading() as session:
        row = await session.get_one(KeyRow, key)
        (view,) = await adopted_clients(session, key)
    assert ("released", True) == (row.reason, view.released_at is not None)
    assert 1 == (await plan(fleet)).clients


@pytest.mark.parametrize("ended", ["rotated", "revoked"])
async def test_a_key_whose_adopted_client_is_to_go_is_not_released(fleet, ended):
    await show(fleet, NL1, found())
    await adopt(fleet)
    key = await one_key(fleet)
    async with begin(fleet, "test") as work:
        await (keys.rotate if ended == "rotated" else keys.revoke)(work, key)

    async with begin(fleet, "test") as work:
        with pytest.raises(Conflict):
            await adoption.release(work, key)


async def test_a_key_of_our_own_making_cannot_be_released(fleet):
    async with begin(fleet, "test") as work:
        issued = await keys.issue(work, TariffName("all"))

    async with begin(fleet, "test") as work:
        with pytest.raises(Conflict):
            await adoption.release(work, issued.key.id)


async def test_an_inventory_comes_back_as_it_was_kept(fleet):
    client = found(comment="заметка", expiry_ms=-5, used_bytes=3)
    await show(fleet, NL1, client)

    async with fleet.reading() as session:
        (row,) = (await session.scalars(select(FoundClientRow))).all()

    assert "u-1" not in str(row.facts) + row.secrets.token
    assert client == found_from(row, fleet.vault)
