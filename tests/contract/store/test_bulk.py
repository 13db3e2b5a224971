"""Rows in bulk: the same as the expression language would store, on both databases."""

from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import pytest
from sqlalchemy import Table, select

from desired_state.store.bulk import insert, insert_missing, upsert
from desired_state.store.engine import Store
from desired_state.store.errors import ConcurrentUpdate
from desired_state.store.tables.status import HealRow, NodeStatusRow, PlacementRow

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
HEAL = cast("Table", HealRow.__table__)
NODE_STATUS = cast("Table", NodeStatusRow.__table__)
PLACEMENT = cast("Table", PlacementRow.__table__)


def placement(key: str, **changes: object) -> dict[str, object]:
    return {
        "key": key, "node": "a", "reason": "new", "replaces": None, "leaving": None, "at": AT,
        **changes,
    }  # fmt: skip


async def test_rows_come_back_as_they_went_in(store: Store) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=3)))
    async with store.recording() as session:
        connection = await session.connection()
        await insert(connection, PLACEMENT, [placement("k1"), placement("k2", at=elsewhere)])
        await insert(connection, HEAL, [{"node": "a", "email": "e", "times": ["x", {"y": None}]}])

    async with store.reading() as session:
        placed = (await session.scalars(select(PlacementRow).order_by(PlacementRow.key))).all()
        [heal] = (await session.scalars(select(HealRow))).all()
    assert [("k1", AT, None), ("k2", AT, None)] == [(p.key, p.at, p.leaving) for p in placed]
    assert ["x", {"y": None}] == heal.times


async def test_a_row_that_is_there_is_refused_overwritten_or_left(store: Store) -> None:
    async with store.recording() as session:
        await insert(await session.connection(), PLACEMENT, [placement("k1")])

    with pytest.raises(ConcurrentUpdate):
        async with store.recording() as session:
            await insert(await session.connection(), PLACEMENT, [placement("k1", reason="other")])
    async with store.recording() as session:
        connection = await session.connection()
        await insert_missing(connection, PLACEMENT, [placement("k1", reason="late")])
        before = await session.scalar(select(PlacementRow.reason))
        await upsert(connection, PLACEMENT, [placement("k1", reason="better"), placement("k2")])
        after = (await session.scalars(select(PlacementRow.reason).order_by(PLACEMENT.c.key))).all()

    assert "new" == before
    assert ["better", "new"] == [*after]


async def test_columns_that_are_not_given_get_the_models_defaults(store: Store) -> None:
    async with store.recording() as session:
        connection = await session.connection()
        await insert_missing(connection, NODE_STATUS, [{"node": "a", "changed_at": AT}])
        await upsert(connection, NODE_STATUS, [{"node": "b", "version": "3.6.0", "changed_at": AT}])
        rows = (await session.scalars(select(NodeStatusRow).order_by(NodeStatusRow.node))).all()

    assert [("a", "", [], {}), ("b", "3.6.0", [], {})] == [
        (row.node, row.version, row.conditions, row.counts) for row in rows
    ]


async def test_an_overwriting_row_leaves_columns_alone_that_it_does_not_give(store: Store) -> None:
    async with store.recording() as session:
        connection = await session.connection()
        await upsert(connection, NODE_STATUS, [{"node": "a", "version": "3.6.0", "changed_at": AT}])
        await upsert(connection, NODE_STATUS, [{"node": "a", "family": "v3", "changed_at": AT}])
        row = await session.get_one(NodeStatusRow, "a")

    assert ("3.6.0", "v3") == (row.version, row.family)


async def test_no_rows_are_no_statement(store: Store) -> None:
    async with store.recording() as session:
        connection = await session.connection()
        for write in (insert, insert_missing, upsert):
            await write(connection, PLACEMENT, [])

        assert [] == [*(await session.scalars(select(PlacementRow)))]
