"""All mappers are configured, and every relationship loads from real rows, absent ones included."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import RelationshipProperty, configure_mappers, selectinload

from desired_state.store.convert import seed_place, spec_to_json
from desired_state.store.engine import Store
from desired_state.store.errors import ConcurrentUpdate, StoreError
from desired_state.store.tables.desired import (
    KeyGenerationRow,
    KeyRow,
    MoveRow,
    NodeRow,
    PersonRow,
    SubscriptionRow,
    TariffRow,
)
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow
from desired_state.store.tables.types import DESIRED, STATUS, Base, SealedText
from desired_state.store.unit_of_work import begin
from tests.builders import make_node_spec, make_tariff
from tests.stores import START

ELSEWHERE = timezone(timedelta(hours=3))


def relationships() -> Iterator[tuple[type[Base], RelationshipProperty[object]]]:
    configure_mappers()
    for mapper in sorted(Base.registry.mappers, key=lambda m: m.class_.__name__):
        for relationship in mapper.relationships:
            yield mapper.class_, relationship


async def write_family(store: Store) -> None:
    """A person with all there is, one with nothing, and a subscription of nobody without a key."""
    async with begin(store, "test") as work:
        revision = await work.revise()
        work.audit("rows_made", "test/rows")
        work.session.add_all([
            TariffRow(name="t", spec=spec_to_json(make_tariff("t")), revision=revision),
            NodeRow(
                name="n", spec=spec_to_json(make_node_spec("n")), created_at=START,
                changed_at=START, revision=revision,
            ),
            PersonRow(id=1, telegram_id=7, created_at=START),
            PersonRow(id=2, created_at=START),
        ])  # fmt: skip
        await work.session.flush()
        work.session.add_all(
            [
                make_subscription("with-all", 1, revision),
                make_subscription("of-nobody", None, revision),
            ]
        )
        await work.session.flush()
        work.session.add_all(
            [make_key("with-all", "n", revision), make_key("bare", None, revision)]
        )
        await work.session.flush()
        seed = work.vault.seal(b"s" * 32, seed_place("with-all", 1))
        work.session.add_all(
            [
                KeyGenerationRow(key_id="with-all", generation=1, seed=seed, created_at=START),
                MoveRow(key_id="with-all", from_node="n", at=START, revision=revision),
                make_purchase("given", "with-all", revision),
                make_purchase("unpaid", None, revision),
            ]
        )
        await work.session.flush()
        work.session.add_all(
            [make_payment("1", "given", revision), make_payment("2", None, revision)]
        )


def make_purchase(name: str, subscription: str | None, revision: int) -> PurchaseRow:
    return PurchaseRow(
        id=name, kind="new", person_id=1, tariff_name="t", sold={}, amount_minor=1, currency="RUB",
        subscription_id=subscription, created_at=START, revision=revision,
    )  # fmt: skip


def make_payment(charge: str, purchase: str | None, revision: int) -> PaymentRow:
    return PaymentRow(
        provider="manual", charge=charge, purchase_id=purchase, currency="RUB", recorded_at=START,
        revision=revision,
    )  # fmt: skip


def make_subscription(name: str, person: int | None, revision: int) -> SubscriptionRow:
    return SubscriptionRow(
        id=name, person_id=person, tariff_name="t", period_started_at=START, created_at=START,
        revision=revision,
    )  # fmt: skip


def make_key(name: str, node: str | None, revision: int) -> KeyRow:
    return KeyRow(
        id=name, subscription_id="with-all", selector_labels={}, pinned_node=node,
        created_at=START, revision=revision,
    )  # fmt: skip


def test_names_of_tables_are_unique_over_both_groups() -> None:
    """SQLite keeps both in one flat namespace."""
    names = [table.name for table in Base.metadata.tables.values()]

    assert sorted(set(names)) == sorted(names)
    assert {DESIRED, STATUS} == {table.schema for table in Base.metadata.tables.values()}


@pytest.mark.parametrize(
    ("owner", "relationship"),
    list(relationships()),
    ids=lambda value: value.key if isinstance(value, RelationshipProperty) else value.__name__,
)
async def test_every_relationship_loads_present_and_absent(
    store: Store, owner: type[Base], relationship: RelationshipProperty[object]
) -> None:
    """The rows hold at least one of each end; an optional one is absent somewhere too."""
    await write_family(store)
    attribute = getattr(owner, relationship.key)

    async with store.reading() as session:
        rows = (await session.scalars(select(owner).options(selectinload(attribute)))).all()
        loaded = [getattr(row, relationship.key) for row in rows]

    optional = relationship.uselist or any(column.nullable for column in relationship.local_columns)
    assert any(loaded), "no row has it"
    assert optional == (not all(loaded))


async def test_a_relationship_never_loads_by_itself(store: Store) -> None:
    """A forgotten option is an error at once, not a hidden query outside of its transaction."""
    await write_family(store)

    async with store.reading() as session:
        row = await session.get_one(KeyRow, "with-all")
        with pytest.raises(InvalidRequestError, match="raise"):
            _ = row.subscription


def test_every_table_has_a_row_of_its_own_class() -> None:
    mapped = {mapper.local_table.fullname for mapper in Base.registry.mappers}

    assert set(Base.metadata.tables) == mapped


async def test_a_moment_comes_back_aware_and_in_utc(store: Store) -> None:
    moment = datetime(2026, 11, 2, 15, 4, 5, 123456, tzinfo=ELSEWHERE)
    async with store.recording() as session:
        session.add(NodeStatusRow(node="n", changed_at=moment))

    async with store.reading() as session:
        found = (await session.get_one(NodeStatusRow, "n")).changed_at
    assert moment == found
    assert UTC == found.tzinfo


async def test_a_naive_moment_is_refused(store: Store) -> None:
    naive = datetime(2026, 11, 2, 15, 0)  # noqa: DTZ001 (what is refused)

    with pytest.raises(Exception, match="without a time zone"):
        async with store.recording() as session:
            session.add(NodeStatusRow(node="n", changed_at=naive))


async def test_moments_are_compared_in_sql_as_they_are(store: Store) -> None:
    async with store.recording() as session:
        for name, hours in (("early", 1), ("late", 3)):
            moment = START + timedelta(hours=hours)
            session.add(NodeStatusRow(node=name, changed_at=moment))

    async with store.reading() as session:
        limit = (START + timedelta(hours=2)).astimezone(ELSEWHERE)
        query = select(NodeStatusRow.node).where(NodeStatusRow.changed_at < limit)
        assert ["early"] == list(await session.scalars(query))


async def test_a_missing_parent_is_refused_by_the_database(store: Store) -> None:
    async def write_orphan() -> None:
        async with begin(store, "test") as work:
            work.session.add(make_key("k", None, await work.revise()))
            work.audit("key_issued", "key/k")

    with pytest.raises(ConcurrentUpdate):
        await write_orphan()


async def test_a_second_row_of_one_name_is_refused(store: Store) -> None:
    row = {"key": "k", "node": "n", "reason": "", "at": START}
    async with store.recording() as session:
        session.add(PlacementRow(**row))

    with pytest.raises(ConcurrentUpdate, match="changed or appeared"):
        async with store.recording() as session:
            session.add(PlacementRow(**row))


async def test_a_reading_transaction_cannot_write(store: Store) -> None:
    async def write() -> None:
        async with store.reading() as session:
            session.add(PlacementRow(key="k", node="n", reason="", at=START))
            await session.flush()

    with pytest.raises(StoreError):
        await write()

    async with store.recording() as session:
        session.add(PlacementRow(key="k", node="n", reason="", at=START))


async def test_a_reading_transaction_is_one_snapshot(store: Store) -> None:
    """What another writer commits in between is not half seen."""
    async with store.reading() as session:
        before = (await session.scalars(select(PlacementRow.key))).all()
        async with store.recording() as writer:
            writer.add(PlacementRow(key="k", node="n", reason="", at=START))
        after = (await session.scalars(select(PlacementRow.key))).all()

    assert [] == before == after


async def test_large_sizes_fit(store: Store) -> None:
    """Traffic counters pass 2^31 within a day."""
    async with store.recording() as session:
        session.add(NodeStatusRow(node="n", owned_seen=2**53, changed_at=START))

    async with store.reading() as session:
        assert 2**53 == (await session.get_one(NodeStatusRow, "n")).owned_seen


async def test_a_statement_that_fails_shows_no_value(store: Store) -> None:
    """Parameters may be secrets: neither our error nor the one behind it repeats them."""
    with pytest.raises(StoreError) as caught:
        async with store.recording() as session:
            await session.execute(text("SELECT :secret FROM nowhere"), {"secret": "hunter2"})

    assert caught.value.__cause__ is not None
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_columns_that_hold_a_secret_are_named_here() -> None:
    """A new sealed column needs a place of its own and joins the rotation."""
    sealed = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, SealedText)
    }

    assert {
        "found_client.secrets",
        "inbound.settings",
        "inbound.stream",
        "installation_secret.value",
        "key_generation.seed",
    } == sealed
    assert inspect(KeyGenerationRow).primary_key
