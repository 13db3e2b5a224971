"""Adopted clients in the database: what a turn reads of them, and how their journal begins and ends.

Callers: `reads`, `records`, each inside its own transaction. Not here: which clients (`core.adopted`),
what a person decides (`desired_state.commands.adoption`).
"""

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core import effects as fx
from controller.runtime.finalising import end_placements
from controller.runtime.history import EventLog, journal_lines
from controller.runtime.tables import ADOPTION, AT_ONCE, JOURNAL, KEY, KEY_USAGE, SUBSCRIPTION
from controller.telemetry import events
from desired_state.model.adoption import AdoptedClient
from desired_state.model.ids import NodeName
from desired_state.store.adoption_rows import adopted_from
from desired_state.store.bulk import insert_missing, upsert
from desired_state.store.convert import journal_values
from desired_state.store.journal_states import may_exist


async def read_adopted(
    connection: AsyncConnection, node: NodeName
) -> tuple[tuple[AdoptedClient, ...], frozenset[str]]:
    """Read what was taken over here, and lower-cased emails that were given back and are not struck out."""
    held = await connection.execute(
        select(ADOPTION)
        .where(ADOPTION.c.node == node, ADOPTION.c.released_at.is_(None))
        .order_by(ADOPTION.c.email)
    )
    adopted = tuple([adopted_from(dict(row)) for row in held.mappings()])
    struck = await connection.execute(
        select(ADOPTION.c.email)
        .join(
            JOURNAL,
            and_(
                JOURNAL.c.node == ADOPTION.c.node,
                JOURNAL.c.email == ADOPTION.c.email,
                JOURNAL.c.key == ADOPTION.c.key_id,
            ),
        )
        .where(
            ADOPTION.c.node == node,
            ADOPTION.c.released_at.is_not(None),
            may_exist(JOURNAL.c.state),
        )
    )
    return adopted, frozenset(email.lower() for email in struck.scalars())


async def record_adoption(
    connection: AsyncConnection, effect: fx.TakeOver | fx.GiveBack, now: datetime, log: EventLog
) -> set[NodeName]:
    """Begin or strike out rows; returns nodes on which a key waited for what was struck out."""
    if isinstance(effect, fx.TakeOver):
        await _take_over(connection, effect, now, log)
        return set()
    return await _give_back(connection, effect, log)


async def _take_over(
    connection: AsyncConnection, effect: fx.TakeOver, now: datetime, log: EventLog
) -> None:
    """Store rows of adopted clients, and their counters as used in their subscription's first period."""
    rows = [taken.row for taken in effect.taken]
    values = [{**journal_values(row), "gone_at": None, "changed_at": now} for row in rows]
    await upsert(connection, JOURNAL, values)
    used: dict[str, int] = defaultdict(int)
    for taken in effect.taken:
        if taken.row.key is not None:
            used[taken.row.key] += taken.used_bytes
    periods = await _periods(connection, sorted(used))
    # Only where nothing was counted yet: a client that came back was counted before.
    await insert_missing(
        connection, KEY_USAGE, [_usage(effect.node, key, used[key], periods, now) for key in used]
    )
    await log.append(events.CLIENT_ADOPTED, journal_lines(rows, after="live"))


async def _give_back(
    connection: AsyncConnection, effect: fx.GiveBack, log: EventLog
) -> set[NodeName]:
    emails = [row.email for row in effect.rows]
    for start in range(0, len(emails), AT_ONCE):
        await connection.execute(
            delete(JOURNAL).where(
                JOURNAL.c.node == effect.node, JOURNAL.c.email.in_(emails[start : start + AT_ONCE])
            )
        )
    await log.append(events.CLIENT_RELEASED, journal_lines(effect.rows, before="live"))
    return await end_placements(connection, effect.node)


async def _periods(connection: AsyncConnection, keys: list[str]) -> dict[str, int]:
    periods: dict[str, int] = {}
    for start in range(0, len(keys), AT_ONCE):
        query = (
            select(KEY.c.id, SUBSCRIPTION.c.period)
            .join(SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id)
            .where(KEY.c.id.in_(keys[start : start + AT_ONCE]))
        )
        periods |= {row[0]: row[1] for row in await connection.execute(query)}
    return periods


def _usage(
    node: str, key: str, used_bytes: int, periods: dict[str, int], now: datetime
) -> dict[str, Any]:
    return {
        "key": key,
        "node": node,
        "period": periods.get(key, 1),
        "base_bytes": 0,
        "counter_bytes": used_bytes,
        "booked_bytes": 0,
        "changed_at": now,
    }
