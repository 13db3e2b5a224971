"""What a finalised generation sets free: its counters, its placement, and whoever waited for it.

Callers: `records`, inside the transaction of `Finalise`. Not here: the journal itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, exists, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.effects import Gone
from controller.core.usage import Counter, Usage, bury
from controller.runtime.tables import JOURNAL, PLACEMENT
from controller.runtime.usage_rows import read_periods, read_usages, store_usages
from desired_state.model.ids import KeyId, NodeName
from desired_state.store.journal_states import may_exist


async def book_usage(connection: AsyncConnection, gone: Sequence[Gone], now: datetime) -> None:
    """Book the last counters of clients that are gone to their keys."""
    last: dict[KeyId, list[Gone]] = defaultdict(list)
    for one in gone:
        if one.row.key is not None:
            last[one.row.key].append(one)
    if not last:
        return
    node, keys = gone[0].row.node, sorted(last)
    periods = await read_periods(connection, keys)
    known = await read_usages(connection, node, keys)
    booked: dict[KeyId, Usage] = {}
    for key in keys:
        period = periods.get(key, 1)
        before = known.get(key, Usage(period))
        usage = before.in_period(period)
        for one in last[key]:
            usage = bury(usage, one.row.email.lower(), Counter(one.up_bytes, one.down_bytes))
        if usage != before:
            booked[key] = usage
    await store_usages(connection, node, booked, now)


async def end_placements(connection: AsyncConnection, node: NodeName) -> set[NodeName]:
    """Remove placements that left this node and hold nothing here; free those that replace them.

    Returns:
        Nodes on which a key waited for this one.
    """
    still_here = exists().where(
        JOURNAL.c.node == node,
        JOURNAL.c.key == PLACEMENT.c.key,
        may_exist(JOURNAL.c.state),
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
