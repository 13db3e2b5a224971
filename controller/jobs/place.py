"""The scheduler's pass: desired state and status in, placements out, in one transaction.

The choice is `scheduling.place`, which is pure. Callers: the service, before the first round and after
each that changed something; `plan` computes and stores nothing. Not here: choosing, turns of nodes.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast

import structlog
from sqlalchemy import Table, bindparam, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from controller.jobs.moved import tell_moves
from controller.telemetry import events
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.placement import DeleteReason, Placement
from desired_state.queries.placement import read_placement_inputs
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.proofs import SeenAt
from desired_state.scheduling.result import (
    BalanceStep,
    PlacementResult,
    RefusedMove,
    Stuck,
    Unschedulable,
)
from desired_state.store.bulk import insert, upsert
from desired_state.store.engine import Store
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import RevisionCounterRow
from desired_state.store.tables.status import (
    PlacementRow,
    RebalanceStepRow,
    RemoteGenerationRow,
)

log = structlog.get_logger(__name__)

_REVISION = select(RevisionCounterRow.value).where(RevisionCounterRow.id == 1)
_TABLE = cast("Table", PlacementRow.__table__)
_JOURNAL = cast("Table", RemoteGenerationRow.__table__)
_STEP = cast("Table", RebalanceStepRow.__table__)
_HOLDS_SOMETHING = exists().where(
    _JOURNAL.c.node == _TABLE.c.node,
    _JOURNAL.c.key == _TABLE.c.key,
    may_exist(_JOURNAL.c.state),
)
_HAS_LEFT = _TABLE.c.leaving.is_not(None) & ~_HOLDS_SOMETHING


@dataclass(frozen=True, slots=True)
class PlacementSummary:
    """What a pass decided. `removed`: placements that had left and hold nothing any more.

    `nodes`: whose placements changed; sorted. `settled`: another pass would decide the same, whatever
    nodes do meanwhile: every key has its nodes, and no move is on its way. `waits`: another pass may
    decide otherwise by and by, even if nothing is written meanwhile. `stuck`: keys that cannot leave.
    `looks`: nodes on whose word keys may leave others as soon as they were looked at.
    """

    added: tuple[Placement, ...] = ()
    ended: tuple[Placement, ...] = ()
    removed: int = 0
    unschedulable: tuple[Unschedulable, ...] = ()
    refused_moves: tuple[RefusedMove, ...] = ()
    freed: tuple[Placement, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    balanced: tuple[BalanceStep, ...] = ()
    waits: bool = False
    looks: tuple[NodeName, ...] = ()
    nodes: tuple[NodeName, ...] = ()
    settled: bool = True

    @property
    def changed(self) -> bool:
        """Whether anything was written, or would be."""
        return bool(self.added or self.ended or self.freed or self.removed)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pass decides. `moving`: somebody's move is not done with."""

    result: PlacementResult
    moving: bool


async def compute_placements(
    session: AsyncSession, now: datetime, looks: "Seeing | None" = None
) -> Decision:
    """Decide where every key is to live, as of `now`, and store nothing.

    Without `looks` what was recorded is believed, as if every node had just been seen well.
    """
    inputs = await read_placement_inputs(session, now)
    seen_at = None if looks is None else await looks.within(session)
    # In a thread: 100,000 keys take seconds, and turns go on meanwhile.
    result = await asyncio.to_thread(
        place_keys,
        inputs.keys,
        inputs.nodes,
        inputs.placements,
        policies=inputs.policies,
        moves=inputs.moves,
        live=inputs.live,
        doubted=frozenset() if seen_at is None else _doubted(inputs.live, seen_at, now),
        now=now,
        balance=inputs.balance,
        adopted=inputs.adopted,
    )
    return Decision(result, bool(inputs.moves))


def _doubted(
    live: Mapping[tuple[KeyId, NodeName], datetime], seen_at: SeenAt, now: datetime
) -> frozenset[tuple[KeyId, NodeName]]:
    """Find what was recorded as live, and no look since then shows.

    A record of the future was left by a clock that ran ahead: any look is later.
    """
    seen = {node: seen_at(node) for node in {node for _, node in live}}
    return frozenset(
        place
        for place, at in live.items()
        if (sight := seen[place[1]]) is None or sight < at <= now
    )


class Leading(Protocol):
    """The right to run what runs once an installation; see `controller.runtime.lease`."""

    async def check_leads(self, connection: AsyncConnection) -> None:
        """Refuse, inside the transaction and first in it, what another controller runs."""

    async def wake(self, connection: AsyncConnection, nodes: Iterable[NodeName]) -> None:
        """Tell whoever holds these nodes to look, as the last act of the transaction."""


class Seeing(Protocol):
    """How fresh looks at nodes are; see `controller.runtime.looks`."""

    async def within(self, session: AsyncSession) -> SeenAt:
        """Tell, as of a reading, until when recent looks confirm what is recorded of nodes."""
        ...


async def place(
    store: Store,
    now: datetime,
    lease: Leading | None = None,
    looks: Seeing | None = None,
) -> PlacementSummary:
    """Decide and store; a pass that decides nothing writes nothing.

    Args:
        store: the database.
        now: the moment that placements get.
        lease: what the pass is conditional on, where there are several controllers.
        looks: tell how fresh looks at nodes are, see `compute_placements`.

    Raises:
        ConcurrentUpdate: somebody else placed the same key meanwhile.
        LeaseLost: another controller leads.
        StoreError: nothing was written.
    """
    async with store.reading() as session:
        revision = await session.scalar(_REVISION)
        decision = await compute_placements(session, now, looks)
        leftovers = await session.scalar(select(_TABLE.c.key).where(_HAS_LEFT).limit(1))
        steps = await _steps(session, decision.result, now)
    result = decision.result
    if not (result.added or result.ended or result.freed or leftovers or steps):
        return summarise(decision)
    async with store.recording() as session:
        if lease is not None:
            await lease.check_leads(await session.connection())
        if await session.scalar(_REVISION) != revision:
            # A key may have been revoked in between; status is written by nobody else.
            decision = await compute_placements(session, now, looks)
        removed = await _store(session, decision.result, now)
        summary = summarise(decision, removed)
        if lease is not None:
            await lease.wake(await session.connection(), summary.nodes)
    return summary


def summarise(decision: Decision, removed: int = 0) -> PlacementSummary:
    """Make the summary of a pass."""
    result = decision.result
    touched = {p.node for p in (*result.added, *result.ended, *result.freed)}
    return PlacementSummary(
        added=result.added,
        ended=result.ended,
        removed=removed,
        unschedulable=result.unschedulable,
        refused_moves=result.refused_moves,
        freed=result.freed,
        stuck=result.stuck,
        balanced=result.balanced,
        waits=result.waits,
        looks=result.looks,
        nodes=tuple(sorted(touched)),
        settled=not (
            result.unschedulable
            or result.refused_moves
            or result.stuck
            or result.waits
            or decision.moving
        ),
    )


async def _store(session: AsyncSession, result: PlacementResult, now: datetime) -> int:
    connection = await session.connection()
    if result.added:
        rows = [
            {
                "key": p.key, "node": p.node, "reason": p.reason, "replaces": p.replaces,
                "leaving": None, "at": now,
            }
            for p in result.added
        ]  # fmt: skip
        await insert(connection, _TABLE, rows)
        await tell_moves(connection, result.added, now)
    here = _TABLE.c.key == bindparam("at_key"), _TABLE.c.node == bindparam("at_node")
    ended = [
        {"at_key": p.key, "at_node": p.node, "why": None if p.leaving is None else p.leaving.value}
        for p in result.ended
    ]
    if ended:
        left = update(_TABLE).where(*here).values(leaving=bindparam("why"), leaving_at=now)
        await connection.execute(left, ended)
    freed = [{"at_key": p.key, "at_node": p.node} for p in result.freed]
    if freed:
        await connection.execute(update(_TABLE).where(*here).values(replaces=None), freed)
    await upsert(connection, _STEP, await _steps(session, result, now))
    return (await connection.execute(delete(_TABLE).where(_HAS_LEFT))).rowcount


async def _steps(
    session: AsyncSession, result: PlacementResult, now: datetime
) -> list[dict[str, Any]]:
    """Make the rows of wishes to rebalance that this pass brings further."""
    steps = {step.wish: step for step in result.balanced if step.wish is not None}
    if not steps:
        return []
    query = select(RebalanceStepRow).where(RebalanceStepRow.rebalance_id.in_(steps))
    known = {row.rebalance_id: row for row in await session.scalars(query)}
    rows: list[dict[str, Any]] = []
    for number, step in sorted(steps.items()):
        row = known.get(number)
        made = step.made + (0 if row is None else row.made)
        is_done = not (step.made or step.left or step.going)
        if row is not None and (row.made, row.waiting) == (made, step.left) and not is_done:
            continue
        rows.append(
            {
                "rebalance_id": number,
                "made": made,
                "waiting": step.left,
                "begun_at": now if row is None else row.begun_at,
                "done_at": now if is_done else None,
            }
        )
    return rows


def tell_of_nodes(summary: PlacementSummary) -> None:
    """Log which nodes were given up, and where keys are stuck."""
    lost = Counter(p.node for p in summary.ended if p.leaving is DeleteReason.FAILED_OVER)
    for node, keys in sorted(lost.items()):
        log.warning(events.NODE_GIVEN_UP, node=node, keys=keys)
    stuck = Counter((one.node, one.reason) for one in summary.stuck)
    for (node, reason), keys in sorted(stuck.items()):
        log.warning(events.KEYS_STUCK, node=node, keys=keys, reason=reason)
