"""The named data sets are what they say, on both databases, and commands never wrote status."""

import pytest
from sqlalchemy import select

from controller.core.conditions import Condition, ConditionType, NodeStatus, check_conditions
from desired_state.model.credentials import SEED_BYTES
from desired_state.model.ids import Revision
from desired_state.model.subscription import EndedBy
from desired_state.store.convert import (
    journal_from,
    key_from,
    move_from,
    node_from,
    placement_from,
    policy_from,
    seed_place,
    subscription_from,
    tariff_from,
    used_bytes_of,
)
from desired_state.store.engine import Store
from desired_state.store.tables.desired import (
    KeyGenerationRow,
    KeyRow,
    MoveRow,
    NodeRow,
    PolicyRow,
    RevisionCounterRow,
    SubscriptionRow,
    TariffRow,
)
from desired_state.store.tables.status import (
    KeyUsageRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)
from tests.data.datasets import DATASETS

ASKED_FOR = {
    "trial", "expired", "over quota", "banned", "key on all nodes", "half-moved", "unschedulable",
    "debt on a dead node", "orphaned payment", "adopted and foreign clients", "frozen", "refunded",
}  # fmt: skip


def test_every_data_set_that_later_parts_rely_on_is_there() -> None:
    assert set(DATASETS) >= ASKED_FOR


@pytest.mark.parametrize("name", DATASETS)
async def test_a_data_set_is_valid(store: Store, name: str) -> None:
    """Every row reads back as a value; names agree; seeds open; statuses contradict nothing."""
    scene = await DATASETS[name](store)

    async with store.reading() as session:
        revision = (await session.get_one(RevisionCounterRow, 1)).value
        declared = {n.name for n in map(node_from, await session.scalars(select(NodeRow)))}
        known = {k.id: k for k in map(key_from, await session.scalars(select(KeyRow)))}
        sold = {
            s.id for s in map(subscription_from, await session.scalars(select(SubscriptionRow)))
        }
        tariffs = {t.name for t in map(tariff_from, await session.scalars(select(TariffRow)))}
        placements = [placement_from(row) for row in await session.scalars(select(PlacementRow))]
        journal = [journal_from(row) for row in await session.scalars(select(RemoteGenerationRow))]
        moves = [move_from(row) for row in await session.scalars(select(MoveRow))]
        seeds = [
            store.vault.open(row.seed, seed_place(row.key_id, row.generation))
            for row in await session.scalars(select(KeyGenerationRow))
        ]
        owners = set(await session.scalars(select(SubscriptionRow.tariff_name)))
        statuses = (await session.scalars(select(NodeStatusRow))).all()
        [policy_from(row) for row in await session.scalars(select(PolicyRow))]

    assert set(scene.keys) <= set(known)
    assert set(scene.nodes) <= declared
    assert {key.subscription for key in known.values()} <= sold
    assert owners <= tariffs
    assert {p.key for p in placements} <= set(known)
    assert {p.node for p in placements} <= declared
    assert {row.node for row in journal} <= declared
    assert {row.key for row in journal} - {None} <= set(known)
    assert all(row.generation <= known[row.key].generation for row in journal if row.key)
    assert {move.key for move in moves} <= set(known)
    assert sum(key.generation for key in known.values()) == len(seeds)
    assert all(len(seed) == SEED_BYTES for seed in seeds)
    for status in statuses:
        assert () == check_conditions(status_from(status), Revision(revision))


def status_from(row: NodeStatusRow) -> NodeStatus:
    """The part of a stored status that the controller's checker looks at."""
    conditions = tuple(
        Condition(ConditionType(c["type"]), c["reason"], c["message"], c["status"])
        for c in row.conditions
    )
    return NodeStatus(conditions, observed_revision=Revision(row.observed_revision))


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("trial", None),
        ("expired", EndedBy.EXPIRY),
        ("over quota", EndedBy.QUOTA),
        ("banned", EndedBy.PERSON),
        ("frozen", EndedBy.PERSON),
        ("half-moved", None),
    ],
)
async def test_a_data_set_ends_its_subscription_as_it_says(
    store: Store, name: str, ended: EndedBy | None
) -> None:
    await DATASETS[name](store)

    async with store.reading() as session:
        row = (await session.scalars(select(SubscriptionRow))).one()
        used = sum(used_bytes_of(u, row.period) for u in await session.scalars(select(KeyUsageRow)))
    assert ended == subscription_from(row, used).ended_by(store.clock.now())
