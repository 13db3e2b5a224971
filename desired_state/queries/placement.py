"""What the scheduler's pass decides on: keys, nodes with their conditions, placements, moves.

Callers: the controller's pass, `queries.key` (to explain). Not here: choosing (`scheduling.place`), what
there is to even out (`queries.balance`).
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast as typed

from sqlalchemy import Select, Table, Text, and_, cast, exists, func, select
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

ROWS_AT_ONCE = 1_000
_KEY = typed("Table", KeyRow.__table__)
_PLACEMENT = typed("Table", PlacementRow.__table__)


@dataclass(frozen=True, slots=True)
class PlacementInputs:
    """The arguments of `place_keys`, as of one moment; `live`: with the moment of the last record."""

    keys: tuple[Key, ...]
    nodes: tuple[NodeState, ...]
    placements: tuple[Placement, ...]
    policies: tuple[Policy, ...]
    moves: tuple[Move, ...]
    live: Mapping[tuple[KeyId, NodeName], datetime]
    balance: Balance
    adopted: Mapping[KeyId, tuple[NodeName, ...]]


async def read_placement_inputs(session: AsyncSession, now: datetime) -> PlacementInputs:
    """Read everything that placing keys depends on as of `now`, in one transaction."""
    forgotten = await pending_write_offs(session)
    placements = await _placements(session, forgotten)
    asked_for = await _asked_for(session)
    moved = {row.key_id for row in asked_for}
    moves = _moves(asked_for, await _placed_at(session, moved, forgotten))
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
        _KEY.c.id, _KEY.c.subscription_id, _KEY.c.generation, cast(_KEY.c.selector_labels, Text),
        _KEY.c.selector_count, _KEY.c.pinned_node, _KEY.c.deleted_at, _KEY.c.reason,
        _KEY.c.revision,
    ).order_by(_KEY.c.id)  # fmt: skip
    # Few selectors differ: each is parsed once, and keys share it.
    selectors = _Selectors()
    texts = _Texts()
    keys: list[Key] = []
    async for portion in _portions(session, query):
        keys += [_key(row, selectors, texts) for row in portion]
    return tuple(keys)


class _Selectors(dict[tuple[str, int | None], NodeSelector]):
    """Selectors by the JSON of their labels and their count."""

    def __missing__(self, written: tuple[str, int | None]) -> NodeSelector:
        labels = tuple(sorted(json.loads(written[0]).items()))
        made = self[written] = NodeSelector(labels, written[1])
        return made


def _key(row: Sequence[Any], selectors: _Selectors, texts: "_Texts") -> Key:
    return Key(
        KeyId(row[0]),
        SubscriptionId(row[1]),
        Generation(row[2]),
        selectors[row[3], row[4]],
        None if row[5] is None else NodeName(texts[row[5]]),
        row[6],
        texts[row[7]],
        Revision(row[8]),
    )


async def _placements(
    session: AsyncSession, forgotten: Collection[NodeName]
) -> tuple[Placement, ...]:
    query = select(
        _PLACEMENT.c.key, _PLACEMENT.c.node, _PLACEMENT.c.reason, _PLACEMENT.c.replaces,
        _PLACEMENT.c.leaving,
    ).order_by(_PLACEMENT.c.key, _PLACEMENT.c.node)  # fmt: skip
    texts = _Texts()
    placements: list[Placement] = []
    async for portion in _portions(session, query):
        placements += [
            Placement(
                KeyId(key),
                NodeName(texts[node]),
                texts[reason],
                None if replaces is None or replaces in forgotten else NodeName(replaces),
                None if leaving is None else DeleteReason(leaving),
            )
            for key, node, reason, replaces, leaving in portion
            # A node that is no more holds nothing, and nobody waits for it.
            if node not in forgotten
        ]
    return tuple(placements)


async def _placed_at(
    session: AsyncSession, keys: Collection[str], forgotten: Collection[NodeName]
) -> dict[tuple[str, str], datetime]:
    """Read since when these keys, which somebody moved, have their placements."""
    connection = await session.connection()
    found: dict[tuple[str, str], datetime] = {}
    names = sorted(keys)
    for start in range(0, len(names), ROWS_AT_ONCE):
        query = select(_PLACEMENT.c.key, _PLACEMENT.c.node, _PLACEMENT.c.at).where(
            _PLACEMENT.c.key.in_(names[start : start + ROWS_AT_ONCE])
        )
        rows = await connection.execute(query)
        found |= {(key, node): at for key, node, at in rows if node not in forgotten}
    return found


class _Texts(dict[str, str]):
    """Texts that many rows have in common, each held once."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text


async def _portions(session: AsyncSession, query: Select[Any]) -> AsyncIterator[Sequence[Any]]:
    """Read rows by portions: 100,000 at once would hold turns up for seconds, and memory twice over."""
    connection = await session.connection()
    async with connection.stream(query, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        async for portion in rows.partitions():
            yield portion


async def _asked_for(session: AsyncSession) -> list[MoveRow]:
    """Read what persons asked for last, of each key."""
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
    return list(await session.scalars(query))


def _moves(
    asked_for: Iterable[MoveRow], placed_at: Mapping[tuple[str, str], datetime]
) -> tuple[Move, ...]:
    """Keep what is not older than the placement that it would end."""
    youngest: dict[str, datetime] = {}
    for (key, _), at in placed_at.items():
        youngest[key] = max(at, youngest.get(key, at))
    moves = []
    for row in asked_for:
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


async def live_on(
    session: AsyncSession, keys: set[KeyId]
) -> dict[tuple[KeyId, NodeName], datetime]:
    """Read where these keys are proved to exist in their present generation, and when it was recorded."""
    if not keys:
        return {}
    query = (
        select(RemoteGenerationRow.key, RemoteGenerationRow.node, RemoteGenerationRow.changed_at)
        .join(KeyRow, KeyRow.id == RemoteGenerationRow.key)
        .where(
            RemoteGenerationRow.state == JournalState.LIVE.value,
            RemoteGenerationRow.generation == KeyRow.generation,
        )
        # Of several clients of one key the last one counts.
        .order_by(RemoteGenerationRow.changed_at)
    )
    rows = await session.execute(query)
    return {(KeyId(key), NodeName(node)): at for key, node, at in rows if key in keys}
