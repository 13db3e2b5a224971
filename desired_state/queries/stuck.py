"""Why keys do not get on: those that cannot begin to leave, and what holds up those on their way.

The first is the scheduler's own answer, asked only where something is to leave; the second is what the nodes
concerned say of themselves. Callers: entrances (`moves list`). Not here: progress (`queries.moves`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import KeyId, NodeName
from desired_state.queries.moves import MoveView
from desired_state.queries.placement import PlacementInputs, read_placement_inputs
from desired_state.queries.views import conditions_from, find_condition
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import MoveRow, NodeRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow

_HOLDS_UP = ("Unreachable", "Stalled", "Blocked", "Paused", "Drifted")
_WAITS = {"Paced", "TakenOver"}


@dataclass(frozen=True, slots=True)
class StuckKey:
    """A key that is to leave `node` and cannot begin; it stays until `reason` is gone."""

    key: KeyId
    node: NodeName | None
    reason: str


async def list_stuck(
    session: AsyncSession, now: datetime, *, limit: int = 100
) -> tuple[StuckKey, ...]:
    """Ask the scheduler which keys cannot leave as they should; sorted by node and key."""
    if not await _is_anything_to_leave(session):
        return ()
    inputs = await read_placement_inputs(session, now)
    result = _place(inputs, now)
    found = [StuckKey(one.key, one.node, one.reason) for one in result.stuck]
    found += [
        StuckKey(one.move.key, one.move.from_node, one.reason) for one in result.refused_moves
    ]
    return tuple(sorted(found, key=lambda one: (one.node or "", one.key))[:limit])


async def explain_moves(session: AsyncSession, moves: Iterable[MoveView]) -> dict[MoveView, str]:
    """Tell what holds up each key, as the node says that is to act next; "" where nothing does."""
    rows = await session.execute(select(NodeStatusRow.node, NodeStatusRow.conditions))
    troubles = {node: _trouble(conditions) for node, conditions in rows}
    told = {}
    for move in moves:
        acts = move.source if move.stage in ("deleting", "owed") else move.to
        trouble = troubles.get(acts or "", "")
        told[move] = f"{acts} is {trouble}" if trouble else ""
    return told


async def _is_anything_to_leave(session: AsyncSession) -> bool:
    """Whether a person's move, or a drain, waits for its beginning; what was made stays as history."""
    here = exists().where(
        PlacementRow.key == MoveRow.key_id,
        PlacementRow.node == MoveRow.from_node,
        PlacementRow.leaving.is_(None),
        PlacementRow.at <= MoveRow.at,
    )
    nowhere = MoveRow.from_node.is_(None) & ~exists().where(PlacementRow.key == MoveRow.key_id)
    if await session.scalar(select(MoveRow.id).where(or_(here, nowhere)).limit(1)) is not None:
        return True
    nodes = [
        row.name for row in await session.scalars(select(NodeRow)) if node_from(row).is_draining
    ]
    stays = select(PlacementRow.key).where(
        PlacementRow.node.in_(nodes), PlacementRow.leaving.is_(None)
    )
    return await session.scalar(stays.limit(1)) is not None


def _place(inputs: PlacementInputs, now: datetime) -> PlacementResult:
    return place_keys(
        inputs.keys,
        inputs.nodes,
        inputs.placements,
        policies=inputs.policies,
        moves=inputs.moves,
        live=inputs.live,
        now=now,
        balance=inputs.balance,
        adopted=inputs.adopted,
    )


def _trouble(stored: list[object] | None) -> str:
    conditions = conditions_from(stored)
    found = find_condition(conditions, *_HOLDS_UP)
    waiting = find_condition(conditions, "Reconciling")
    if found is None and waiting is not None and waiting.reason in _WAITS:
        found = waiting
    return "" if found is None else f"{found.type}/{found.reason}: {found.message}".rstrip(": ")
