"""What the scheduler's pass decides on: keys, nodes with their conditions, placements, moves.

Callers: the controller's pass, `queries.key` (to explain). Not here: choosing (`scheduling.place`), what
there is to even out (`queries.balance`).
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, and_, cast, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, KeyId, NodeName, Revision, SubscriptionId
from desired_state.model.key import Key
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder, Policy, policy_for
from desired_state.model.tariff import NodeSelector
from desired_state.queries.balance import read_balance
from desired_state.scheduling.balance import Balance, is_overlap
from desired_state.scheduling.eligible import NodeState
from desired_state.scheduling.result import Move
from desired_state.store.forgotten import pending_write_offs
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies
from desired_state.store.tables.adoption import AdoptionRow
from desired_state.store.tables.desired import KeyRow, MoveRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow


@dataclass(frozen=True, slots=True)
class PlacementInputs:
    """The arguments of `place_keys`, as of one moment."""

    keys: tuple[Key, ...]
    nodes: tuple[NodeState, ...]
    placements: tuple[Placement, ...]
    policies: tuple[Policy, ...]
    moves: tuple[Move, ...]
    live: frozenset[tuple[KeyId, NodeName]]
    balance: Balance
    adopted: Mapping[KeyId, tuple[NodeName, ...]]


async def read_placement_inputs(session: AsyncSession, now: datetime) -> PlacementInputs:
    """Read everything that placing keys depends on as of `now`, in one transaction."""
    placements, placed_at = await _placements(session, await pending_write_offs(session))
    moves = await _moves(session, placed_at)
    nodes = await read_node_states(session)
    policies = await read_policies(session)
    keys = await _keys(session)
    asked = {move.key for move in moves} | _waits_for_proof(nodes, policies, placements)
    asked |= _crowded(keys, placements)
    return PlacementInputs(
        keys=keys,
        nodes=nodes,
        placements=placements,
        policies=policies,
        moves=moves,
        live=await live_on(session, asked),
        balance=await read_balance(session, policies, placements, now),
        adopted=await _adopted(session),
    )


def _waits_for_proof(
    nodes: tuple[NodeState, ...],
    policies: tuple[Policy, ...],
    placements: tuple[Placement, ...],
) -> set[KeyId]:
    """Keys that leave a node only once they are proved to live elsewhere."""
    slow = {
        state.node.name
        for state in nodes
        if state.node.is_draining
        and policy_for(policies, state.node.spec.labels).move_order is MoveOrder.CREATE_FIRST
    }
    return {p.key for p in placements if p.leaving is None and (p.node in slow or is_overlap(p))}


def _crowded(keys: tuple[Key, ...], placements: tuple[Placement, ...]) -> set[KeyId]:
    """Keys that live on more nodes than they are owed: which ones stay depends on where they are live."""
    lives = Counter(p.key for p in placements if p.leaving is None)
    several = {name for name, number in lives.items() if number > 1}
    return {
        key.id
        for key in keys
        if key.id in several and key.nodes.count is not None and lives[key.id] > key.nodes.count
    }


async def _keys(session: AsyncSession) -> tuple[Key, ...]:
    query = select(
        KeyRow.id, KeyRow.subscription_id, KeyRow.generation, cast(KeyRow.selector_labels, Text),
        KeyRow.selector_count, KeyRow.pinned_node, KeyRow.deleted_at, KeyRow.reason,
        KeyRow.revision,
    ).order_by(KeyRow.id)  # fmt: skip
    # Few selectors differ: each is parsed once, and keys share it.
    selectors: dict[tuple[str, int | None], NodeSelector] = {}
    keys = []
    for row in await session.execute(query):
        selector = selectors.get((row[3], row[4]))
        if selector is None:
            labels = tuple(sorted(json.loads(row[3]).items()))
            selector = selectors[row[3], row[4]] = NodeSelector(labels, row[4])
        keys.append(
            Key(
                KeyId(row[0]),
                SubscriptionId(row[1]),
                Generation(row[2]),
                selector,
                None if row[5] is None else NodeName(row[5]),
                row[6],
                row[7],
                Revision(row[8]),
            )
        )
    return tuple(keys)


async def _placements(
    session: AsyncSession, forgotten: Collection[NodeName]
) -> tuple[tuple[Placement, ...], dict[tuple[str, str], datetime]]:
    query = select(
        PlacementRow.key, PlacementRow.node, PlacementRow.reason, PlacementRow.replaces,
        PlacementRow.leaving, PlacementRow.at,
    ).order_by(PlacementRow.key, PlacementRow.node)  # fmt: skip
    placements = []
    placed_at: dict[tuple[str, str], datetime] = {}
    for key, node, reason, replaces, leaving, at in await session.execute(query):
        if node in forgotten:
            continue  # The node is no more, and nobody waits for it.
        placements.append(
            Placement(
                KeyId(key),
                NodeName(node),
                reason,
                None if replaces is None or replaces in forgotten else NodeName(replaces),
                None if leaving is None else DeleteReason(leaving),
            )
        )
        placed_at[key, node] = at
    return tuple(placements), placed_at


async def _moves(
    session: AsyncSession, placed_at: dict[tuple[str, str], datetime]
) -> tuple[Move, ...]:
    """Read what persons asked for last and what is not older than the placement that it would end."""
    newest = (
        select(MoveRow.key_id, func.max(MoveRow.revision).label("revision"))
        .group_by(MoveRow.key_id)
        .subquery()
    )
    query = (
        select(MoveRow)
        .join(
            newest,
            and_(MoveRow.key_id == newest.c.key_id, MoveRow.revision == newest.c.revision),
        )
        .order_by(MoveRow.id)
    )
    youngest: dict[str, datetime] = {}
    for (key, _), at in placed_at.items():
        youngest[key] = max(at, youngest.get(key, at))
    moves = []
    for row in await session.scalars(query):
        ends = (
            youngest.get(row.key_id, row.at)
            if row.from_node is None
            else placed_at.get((row.key_id, row.from_node))
        )
        if ends is None or ends > row.at:
            continue
        moves.append(
            Move(
                key=KeyId(row.key_id),
                from_node=None if row.from_node is None else NodeName(row.from_node),
                to_node=None if row.to_node is None else NodeName(row.to_node),
                order=None if row.move_order is None else MoveOrder(row.move_order),
                revision=Revision(row.revision),
            )
        )
    return tuple(moves)


async def _adopted(session: AsyncSession) -> dict[KeyId, tuple[NodeName, ...]]:
    """Read where keys were adopted, as long as the journal has heard of none of it."""
    journalled = exists().where(
        RemoteGenerationRow.node == AdoptionRow.node,
        RemoteGenerationRow.email == AdoptionRow.email,
    )
    query = (
        select(AdoptionRow.key_id, AdoptionRow.node)
        .join(KeyRow, KeyRow.id == AdoptionRow.key_id)
        .where(
            AdoptionRow.released_at.is_(None),
            KeyRow.deleted_at.is_(None),
            KeyRow.generation == AdoptionRow.generation,
            ~journalled,
        )
        .order_by(AdoptionRow.key_id, AdoptionRow.node)
    )
    nodes: dict[KeyId, tuple[NodeName, ...]] = {}
    for key, node in await session.execute(query):
        nodes[KeyId(key)] = (*nodes.get(KeyId(key), ()), NodeName(node))
    return nodes


async def live_on(session: AsyncSession, keys: set[KeyId]) -> frozenset[tuple[KeyId, NodeName]]:
    """Read where these keys are proved to exist in their present generation."""
    if not keys:
        return frozenset()
    query = (
        select(RemoteGenerationRow.key, RemoteGenerationRow.node)
        .join(KeyRow, KeyRow.id == RemoteGenerationRow.key)
        .where(
            RemoteGenerationRow.state == JournalState.LIVE.value,
            RemoteGenerationRow.generation == KeyRow.generation,
        )
    )
    rows = await session.execute(query)
    return frozenset((KeyId(key), NodeName(node)) for key, node in rows if key in keys)
