"""Keys as a list: what each is, whether it is in force, and on how many nodes it lives.

Callers: entrances. Not here: why a key is not on a node (`queries.key`), credentials.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName, SubscriptionId, TariffName
from desired_state.model.key import Key
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.queries.explain import DISTRUSTED
from desired_state.queries.views import conditions_from
from desired_state.store.convert import key_from, subscription_from
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.status import (
    KeyUsageRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)

MOST = 1_000


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys: every given field must fit. `wanted` None: revoked ones too."""

    node: NodeName | None = None
    tariff: TariffName | None = None
    subscription: SubscriptionId | None = None
    subscriptions: tuple[SubscriptionId, ...] | None = None
    wanted: bool | None = None
    limit: int = MOST


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One line of the list.

    `nodes`: where it is placed, without those that it is `leaving`. `live`: on how many of `nodes` the
    last look showed its present generation as it should be, where that look could be trusted.
    `held`: clients of any generation that are not proved gone, everywhere.
    """

    key: Key
    subscription: Subscription
    ended: EndedBy | None
    nodes: tuple[NodeName, ...]
    leaving: tuple[NodeName, ...]
    live: int
    held: int
    created_at: datetime


async def list_keys(
    session: AsyncSession, now: datetime, chosen: KeyFilter | None = None
) -> tuple[KeySummary, ...]:
    """Read keys, the newest first.

    Args:
        session: any transaction.
        now: decides whether a subscription is in force.
        chosen: which ones; None for all, up to the limit.
    """
    chosen = chosen or KeyFilter()
    query = _choose(chosen).order_by(KeyRow.created_at.desc(), KeyRow.id).limit(chosen.limit)
    rows = (await session.execute(query)).all()
    names = [key.id for key, _ in rows]
    places = await _places(session, names)
    counts = await _counts(session, names)
    used = await used_bytes(session, sorted({owner.id for _, owner in rows}))
    summaries = []
    for row, owner in rows:
        subscription = subscription_from(owner, used.get(owner.id, 0))
        here, leaving = places.get(row.id, ((), ()))
        live, held = counts.get(row.id, (frozenset(), 0))
        summaries.append(
            KeySummary(
                key=key_from(row),
                subscription=subscription,
                ended=subscription.ended_by(now),
                nodes=here,
                leaving=leaving,
                live=len(live.intersection(here)),
                held=held,
                created_at=row.created_at,
            )
        )
    return tuple(summaries)


async def used_bytes(
    session: AsyncSession, subscriptions: list[str] | None = None
) -> dict[str, int]:
    """Sum what subscriptions used on all nodes since their paid periods began; None: all of them."""
    above = case(
        (
            KeyUsageRow.counter_bytes > KeyUsageRow.base_bytes,
            KeyUsageRow.counter_bytes - KeyUsageRow.base_bytes,
        ),
        else_=0,
    )
    query = (
        select(KeyRow.subscription_id, func.sum(KeyUsageRow.booked_bytes + above))
        .join(KeyRow, KeyRow.id == KeyUsageRow.key)
        .join(SubscriptionRow, SubscriptionRow.id == KeyRow.subscription_id)
        .where(KeyUsageRow.period == SubscriptionRow.period)
        .group_by(KeyRow.subscription_id)
    )
    if subscriptions is not None:
        query = query.where(KeyRow.subscription_id.in_(subscriptions))
    return {owner: int(used) for owner, used in await session.execute(query)}


def _choose(chosen: KeyFilter) -> Select[KeyRow, SubscriptionRow]:
    query = select(KeyRow, SubscriptionRow).join(
        SubscriptionRow, SubscriptionRow.id == KeyRow.subscription_id
    )
    if chosen.node is not None:
        query = query.where(
            exists().where(PlacementRow.key == KeyRow.id, PlacementRow.node == chosen.node)
        )
    if chosen.tariff is not None:
        query = query.where(SubscriptionRow.tariff_name == chosen.tariff)
    if chosen.subscription is not None:
        query = query.where(KeyRow.subscription_id == chosen.subscription)
    if chosen.subscriptions is not None:
        query = query.where(KeyRow.subscription_id.in_(chosen.subscriptions))
    if chosen.wanted is not None:
        gone = KeyRow.deleted_at.is_not(None)
        query = query.where(~gone if chosen.wanted else gone)
    return query


async def _places(
    session: AsyncSession, keys: list[str]
) -> dict[str, tuple[tuple[NodeName, ...], tuple[NodeName, ...]]]:
    query = (
        select(PlacementRow.key, PlacementRow.node, PlacementRow.leaving)
        .where(PlacementRow.key.in_(keys))
        .order_by(PlacementRow.node)
    )
    found: dict[str, tuple[tuple[NodeName, ...], tuple[NodeName, ...]]] = {}
    for key, node, leaving in await session.execute(query):
        here, going = found.get(key, ((), ()))
        if leaving is None:
            found[key] = (*here, NodeName(node)), going
        else:
            found[key] = here, (*going, NodeName(node))
    return found


async def _counts(
    session: AsyncSession, keys: list[str]
) -> dict[str, tuple[frozenset[NodeName], int]]:
    """On which nodes keys are proved live, leaving or not, and how many clients they hold in all."""
    row: Any = RemoteGenerationRow
    is_present = (row.generation == KeyRow.generation) & row.node.not_in(await _distrusted(session))
    is_proved = (row.state == JournalState.LIVE.value) & (row.projection != "")
    query = (
        select(
            row.key,
            row.node,
            func.sum(case((is_present, 1), else_=0)),
            func.sum(case((is_present & is_proved, 1), else_=0)),
            func.count(),
        )
        .join(KeyRow, KeyRow.id == row.key)
        .where(row.key.in_(keys), may_exist(row.state))
        .group_by(row.key, row.node)
    )
    found: dict[str, tuple[frozenset[NodeName], int]] = {}
    for key, node, present, proved, held in await session.execute(query):
        live, before = found.get(key, (frozenset(), 0))
        # A node of the 2.x family has a row for each inbound: all of them count, or none.
        proof = {NodeName(node)} if 0 < present == proved else set()
        found[key] = live | proof, before + int(held)
    return found


async def _distrusted(session: AsyncSession) -> list[str]:
    """Name the nodes whose list of clients is not believed at present."""
    rows = await session.execute(select(NodeStatusRow.node, NodeStatusRow.conditions))
    return [
        node
        for node, stored in rows
        if any(c.status and c.reason in DISTRUSTED for c in conditions_from(stored))
    ]
