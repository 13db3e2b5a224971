"""`key_usage` as values and back, and what of the database a sample needs beside it.

Callers: the sampler, the booking of what is finalised. Not here: the rule (`controller.core.usage`),
transactions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.usage import Counter, Mark, Usage
from controller.runtime.tables import AT_ONCE, KEY, KEY_USAGE, PLACEMENT, SUBSCRIPTION
from desired_state.model.ids import KeyId, NodeName
from desired_state.store.bulk import upsert

MANY = 2_000
USED_BYTES = case(
    (
        KEY_USAGE.c.counter_bytes > KEY_USAGE.c.base_bytes,
        KEY_USAGE.c.booked_bytes + KEY_USAGE.c.counter_bytes - KEY_USAGE.c.base_bytes,
    ),
    else_=KEY_USAGE.c.booked_bytes,
)
"""What a row of `key_usage` says was used; see its table."""


async def read_usages(
    connection: AsyncConnection, node: NodeName, keys: Sequence[str]
) -> dict[str, Usage]:
    """Read what keys used on a node; one that was never sampled there is left out."""
    found: dict[str, Usage] = {}
    here = select(
        KEY_USAGE.c.key, KEY_USAGE.c.period, KEY_USAGE.c.base_bytes, KEY_USAGE.c.counter_bytes,
        KEY_USAGE.c.booked_bytes, KEY_USAGE.c.up_bytes, KEY_USAGE.c.down_bytes, KEY_USAGE.c.marks,
    ).where(KEY_USAGE.c.node == node)  # fmt: skip
    # Many by name cost more than all of the node.
    every = len(keys) > MANY
    for query in (here,) if every else (here.where(KEY_USAGE.c.key.in_(s)) for s in chunks(keys)):
        for key, period, base, counter, booked, up, down, marks in await connection.execute(query):
            found[key] = Usage(period, base, counter, booked, up, down, _marks_from(marks))
    return found


async def read_periods(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, int]:
    """Read in which paid period the subscriptions of keys are; a key without a row is left out."""
    found: dict[str, int] = {}
    for some in chunks(keys):
        query = (
            select(KEY.c.id, SUBSCRIPTION.c.period)
            .join(SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id)
            .where(KEY.c.id.in_(some))
        )
        found |= {row[0]: row[1] for row in await connection.execute(query)}
    return found


async def store_usages(
    connection: AsyncConnection, node: NodeName, usages: Mapping[KeyId, Usage], now: datetime
) -> None:
    """Store what keys used on a node."""
    rows = [_values(key, node, usage, now) for key, usage in usages.items()]
    await upsert(connection, KEY_USAGE, rows)


async def used_up(
    connection: AsyncConnection, grown: Mapping[KeyId, int]
) -> tuple[dict[str, str], frozenset[NodeName]]:
    """Find the subscriptions that have just used their quota up.

    Args:
        connection: in the transaction that stored the growth.
        grown: bytes by key, of this sample.

    Returns:
        By key that grew what is told of it, and every node that a key of such a subscription is
        placed on.
    """
    owners = await _limited(connection, [key for key, size in grown.items() if size > 0])
    growth: dict[str, int] = {}
    for key, (owner, _) in owners.items():
        growth[owner] = growth.get(owner, 0) + grown[KeyId(key)]
    quotas = dict(owners.values())
    sums = await _sums(connection, sorted(growth))
    over = {owner for owner, used in sums.items() if used - growth[owner] < quotas[owner] <= used}
    told = {
        key: f"{sums[owner]} of {quota} bytes"
        for key, (owner, quota) in owners.items()
        if owner in over
    }
    return told, await _nodes_of(connection, sorted(over))


def chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut values into lists that a statement may hold."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


async def _limited(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Subscription and quota of the keys that have one."""
    found: dict[str, tuple[str, int]] = {}
    for some in chunks(keys):
        query = (
            select(KEY.c.id, SUBSCRIPTION.c.id, SUBSCRIPTION.c.quota_bytes)
            .join(SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id)
            .where(KEY.c.id.in_(some), SUBSCRIPTION.c.quota_bytes.is_not(None))
        )
        found |= {row[0]: (row[1], row[2]) for row in await connection.execute(query)}
    return found


async def _sums(connection: AsyncConnection, owners: Sequence[str]) -> dict[str, int]:
    """What subscriptions used on all nodes in their present periods."""
    found: dict[str, int] = {}
    for some in chunks(owners):
        query = (
            select(KEY.c.subscription_id, func.sum(USED_BYTES))
            .select_from(
                KEY_USAGE.join(KEY, KEY.c.id == KEY_USAGE.c.key).join(
                    SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id
                )
            )
            .where(KEY.c.subscription_id.in_(some), KEY_USAGE.c.period == SUBSCRIPTION.c.period)
            .group_by(KEY.c.subscription_id)
        )
        found |= {owner: int(used) for owner, used in await connection.execute(query)}
    return found


async def _nodes_of(connection: AsyncConnection, owners: Sequence[str]) -> frozenset[NodeName]:
    nodes: set[NodeName] = set()
    for some in chunks(owners):
        query = (
            select(PLACEMENT.c.node)
            .join(KEY, KEY.c.id == PLACEMENT.c.key)
            .where(KEY.c.subscription_id.in_(some))
            .distinct()
        )
        nodes |= {NodeName(node) for node in (await connection.execute(query)).scalars()}
    return frozenset(nodes)


def _values(key: str, node: str, usage: Usage, now: datetime) -> dict[str, Any]:
    return {
        "key": key,
        "node": node,
        "period": usage.period,
        "base_bytes": usage.base_bytes,
        "counter_bytes": usage.counter_bytes,
        "booked_bytes": usage.booked_bytes,
        "up_bytes": usage.up_bytes,
        "down_bytes": usage.down_bytes,
        "marks": _marks_text(usage.marks),
        "changed_at": now,
    }


def _marks_from(text: str) -> dict[str, Mark]:
    if not text:
        return {}
    return {
        email: Mark(Counter(*numbers[:3]), Counter(*numbers[3:]) if numbers[3:] else None)
        for email, numbers in from_json(text).items()
    }


def _marks_text(marks: Mapping[str, Mark]) -> str:
    if not marks:
        return ""
    known = {email: list(_numbers(mark)) for email, mark in sorted(marks.items())}
    return to_json(known).decode()


def _numbers(mark: Mark) -> Iterable[int]:
    for counter in (mark.at, mark.fell):
        if counter is not None:
            yield from (counter.up_bytes, counter.down_bytes, counter.row)
