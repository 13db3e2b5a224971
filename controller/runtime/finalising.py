"""What a finalised generation sets free: its counters, its placement, and whoever waited for it.

Callers: `records`, inside the transaction of `Finalise`. Not here: the journal itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.effects import Gone
from controller.runtime.tables import (
    AT_ONCE,
    JOURNAL,
    KEY,
    KEY_USAGE,
    PLACEMENT,
    SUBSCRIPTION,
)
from controller.runtime.usage import Usage, book
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.store.bulk import upsert


async def book_usage(connection: AsyncConnection, gone: Iterable[Gone], now: datetime) -> None:
    """Book the last counters of clients that are gone to their keys."""
    last: dict[str, list[int]] = defaultdict(list)
    node = ""
    for one in gone:
        node = one.row.node
        if one.row.key is not None:
            last[one.row.key].append(one.up_bytes + one.down_bytes)
    keys = sorted(last)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        periods = await _periods(connection, some)
        known = await _usages(connection, node, some)
        for key in some:
            usage = before = known.get(key)
            for counter in last[key]:
                usage = book(usage or Usage(periods.get(key, 1)), periods.get(key, 1), counter)
            if usage is not None and usage != (before or Usage(usage.period)):
                rows.append(_values(key, node, usage, now))
    await upsert(connection, KEY_USAGE, rows)


async def end_placements(connection: AsyncConnection, node: NodeName) -> set[NodeName]:
    """Remove placements that left this node and hold nothing here; free those that replace them.

    Returns:
        Nodes on which a key waited for this one.
    """
    still_here = exists().where(
        JOURNAL.c.node == node,
        JOURNAL.c.key == PLACEMENT.c.key,
        JOURNAL.c.state != JournalState.GONE.value,
    )
    await connection.execute(
        delete(PLACEMENT).where(
            PLACEMENT.c.node == node, PLACEMENT.c.leaving.is_not(None), ~still_here
        )
    )
    freed = await connection.execute(
        update(PLACEMENT)
        .where(PLACEMENT.c.replaces == node, ~still_here)
        .values(replaces=None)
        .returning(PLACEMENT.c.node)
    )
    return {NodeName(name) for name in freed.scalars()}


async def _periods(connection: AsyncConnection, keys: list[str]) -> dict[str, int]:
    query = (
        select(KEY.c.id, SUBSCRIPTION.c.period)
        .join(SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id)
        .where(KEY.c.id.in_(keys))
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def _usages(connection: AsyncConnection, node: str, keys: list[str]) -> dict[str, Usage]:
    query = select(
        KEY_USAGE.c.key, KEY_USAGE.c.period, KEY_USAGE.c.base_bytes,
        KEY_USAGE.c.counter_bytes, KEY_USAGE.c.booked_bytes,
    ).where(KEY_USAGE.c.node == node, KEY_USAGE.c.key.in_(keys))  # fmt: skip
    return {row[0]: Usage(*row[1:]) for row in await connection.execute(query)}


def _values(key: str, node: str, usage: Usage, now: datetime) -> dict[str, Any]:
    return {
        "key": key,
        "node": node,
        "period": usage.period,
        "base_bytes": usage.base_bytes,
        "counter_bytes": usage.counter_bytes,
        "booked_bytes": usage.booked_bytes,
        "changed_at": now,
    }
