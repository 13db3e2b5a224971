"""One key: what it is, where it lives, and for each node why it is there or is not.

Callers: entrances (`keys show`). Not here: credentials and links, the list (`queries.keys`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import ENDED, JournalRow
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.placement import Placement
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.queries.adoption import AdoptedView, adopted_clients
from desired_state.queries.events import complete_events, conditions_told, list_events
from desired_state.queries.explain import Explanation, Facts, explain_node
from desired_state.queries.keys import used_bytes
from desired_state.queries.retry import Retry, read_leases
from desired_state.queries.usage import NodeUsage, usage_by_node
from desired_state.queries.views import ConditionView, EventView, conditions_from
from desired_state.queries.waiting import Waiting, list_waiting
from desired_state.scheduling.eligible import NodeState, explain_key
from desired_state.store.convert import (
    journal_from,
    key_from,
    placement_from,
    subscription_from,
)
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow


@dataclass(frozen=True, slots=True)
class KeyDetail:
    """A key in full.

    `nodes`: the explanation of every declared node, by name. `events`: the newest first.
    `orphaned_rows`: journalled on nodes that are not declared. `usage`: of the present period, by node.
    `adopted`: clients that it took over. `waiting`: why it stays on nodes that it is to leave.
    """

    key: Key
    subscription: Subscription
    ended: EndedBy | None
    created_at: datetime
    placements: tuple[Placement, ...]
    nodes: tuple[Explanation, ...]
    events: tuple[EventView, ...]
    orphaned_rows: tuple[JournalRow, ...] = ()
    usage: tuple[NodeUsage, ...] = ()
    adopted: tuple[AdoptedView, ...] = ()
    waiting: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True)
class _Status:
    """What is stored of a node, as far as explaining needs it."""

    conditions: tuple[ConditionView, ...] = ()
    retry: Retry = Retry()


async def show_key(session: AsyncSession, name: KeyId, now: datetime) -> KeyDetail | None:
    """Read one key and explain it; None when there is none of that id.

    Args:
        session: any transaction.
        name: the key's id.
        now: decides whether its subscription is in force.
    """
    row = await session.get(KeyRow, name)
    if row is None:
        return None
    owner = await session.get_one(SubscriptionRow, row.subscription_id)
    used = await used_bytes(session, [owner.id])
    subscription = subscription_from(owner, used.get(owner.id, 0))
    rows = (
        await session.scalars(
            select(RemoteGenerationRow)
            .where(RemoteGenerationRow.key == name)
            .order_by(RemoteGenerationRow.node, RemoteGenerationRow.email)
        )
    ).all()
    journal = tuple([journal_from(one) for one in rows if one.state not in ENDED])
    places = (
        await session.scalars(
            select(PlacementRow).where(PlacementRow.key == name).order_by(PlacementRow.node)
        )
    ).all()
    states = await read_node_states(session)
    events = complete_events(await list_events(session, key=name), rows)
    key, ended = key_from(row), subscription.ended_by(now)
    facts = await _facts(session, key, ended, states, list(places), now=now)
    declared = {state.node.name for state in states}
    return KeyDetail(
        key=key,
        subscription=subscription,
        ended=ended,
        created_at=row.created_at,
        placements=tuple([placement_from(place) for place in places]),
        nodes=tuple([explain_node(_with(one, journal, events)) for one in facts]),
        events=events,
        orphaned_rows=tuple([one for one in journal if one.node not in declared]),
        usage=await usage_by_node(session, name, owner.period),
        adopted=await adopted_clients(session, name),
        waiting=tuple((await list_waiting(session, [name], now)).values()),
    )


async def _facts(
    session: AsyncSession,
    key: Key,
    ended: EndedBy | None,
    states: tuple[NodeState, ...],
    places: list[PlacementRow],
    *,
    now: datetime,
) -> list[dict[str, Any]]:
    """Everything but the journal and the history, node by node."""
    policies = await read_policies(session)
    own = {place.node: place for place in places}
    verdicts = explain_key(
        key, states, [placement_from(p) for p in places], policies, await _counts(session)
    )
    statuses, leases = await _statuses(session), await read_leases(session, now)
    held = {
        f"{one.type}/{one.reason}"
        for status in statuses.values()
        for one in status.conditions
        if one.holds
    }
    told = await conditions_told(session, held)
    by_name = {state.node.name: state for state in states}
    facts: list[dict[str, Any]] = []
    for verdict in verdicts:
        place = own.get(verdict.node)
        status = statuses.get(verdict.node, _Status())
        facts.append(
            {
                "key": key,
                "ended": ended,
                "node": by_name[verdict.node].node,
                "verdict": verdict,
                "conditions": status.conditions,
                "now": now,
                "retry": status.retry,
                "lease": leases.get(verdict.node),
                "told": told.get(verdict.node, {}),
                "placement": None if place is None else placement_from(place),
                "placed_at": None if place is None else place.at,
            }
        )
    return facts


def _with(
    facts: dict[str, Any], journal: tuple[JournalRow, ...], events: tuple[EventView, ...]
) -> Facts:
    node = facts["node"].name
    placement: Placement | None = facts["placement"]
    replaced = None if placement is None else placement.replaces
    return Facts(
        **facts,
        held_by=replaced if any(row.node == replaced for row in journal) else None,
        rows=tuple([row for row in journal if row.node == node]),
        events=tuple([event for event in events if event.node == node]),
    )


async def _counts(session: AsyncSession) -> dict[NodeName, int]:
    query = (
        select(PlacementRow.node, func.count())
        .where(PlacementRow.leaving.is_(None))
        .group_by(PlacementRow.node)
    )
    return {NodeName(node): int(count) for node, count in await session.execute(query)}


async def _statuses(session: AsyncSession) -> dict[str, _Status]:
    query = select(
        NodeStatusRow.node,
        NodeStatusRow.conditions,
        NodeStatusRow.failures,
        NodeStatusRow.next_look_at,
    )
    rows = await session.execute(query)
    return {
        node: _Status(conditions_from(stored), Retry(failures, at))
        for node, stored, failures, at in rows
    }
