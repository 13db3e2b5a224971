"""Keys on their way between nodes, how far each node is with them, and how long it will take.

Callers: entrances (`moves list`, `nodes show`). Figures come from placements and the journal, so they hold
whatever process asks. Not here: which keys move (`scheduling`), the estimate itself (`queries.estimate`).
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from desired_state.model.generation import JournalState
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.placement import DeleteReason
from desired_state.queries.estimate import RECENTLY_S, Pace, estimate_s
from desired_state.queries.pace import read_pace
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import (
    EventRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)

_OUT_OF_REACH = frozenset({"Unreachable", "Stalled", "Paused"})
_ON_THE_WAY = tuple(f"{word} from " for word in ("moved", "drained", "failed over", "rebalanced"))


@dataclass(frozen=True, slots=True)
class MoveView:
    """One key on its way.

    `to` None: it only leaves. `stage`: `deleting` (it is to go from `source`), `proving` (it goes once it is
    proved to live elsewhere), `creating` (gone there, not live here yet) or `owed` (it lives elsewhere, and
    `source` cannot be reached). `since`: None where only the target knows of it.
    """

    key: KeyId
    source: NodeName
    to: NodeName | None
    reason: str
    stage: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far a node is with what leaves it, or with what comes.

    `what`: a delete's reason, or `filling`. `left`, `done`: keys; done in the last day.
    `left_s`: estimate, None where nothing tells.
    """

    node: NodeName
    what: str
    left: int
    done: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class Debt:
    """Clients that a node owes the deletion of while it cannot be reached; `since`: of the oldest."""

    keys: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Moves:
    """Everything that is on its way; keys sorted by source and key, nodes by name."""

    moves: tuple[MoveView, ...]
    nodes: tuple[NodeProgress, ...]


async def list_moves(session: AsyncSession, now: datetime, *, limit: int = 100) -> Moves:
    """Read keys on their way, `limit` of them at most, and every node's progress."""
    lost = await _out_of_reach(session)
    views = await _leaving(session, lost)
    known = {(view.key, view.source) for view in views}
    views += [v for v in await _coming(session) if (v.key, v.source) not in known]
    pace = await read_pace(session, now)
    nodes = await _left_behind(session, now, pace) + await _filling(session, now)
    ordered = sorted(views, key=lambda view: (view.source, view.key))
    return Moves(tuple(ordered[:limit]), tuple(sorted(nodes, key=lambda one: (one.node, one.what))))


async def node_progress(
    session: AsyncSession, node: NodeName, now: datetime
) -> tuple[NodeProgress, ...]:
    """Read one node's progress."""
    pace = await read_pace(session, now)
    found = await _left_behind(session, now, pace) + await _filling(session, now)
    return tuple(sorted((one for one in found if one.node == node), key=lambda one: one.what))


async def node_debt(session: AsyncSession, node: NodeName) -> Debt:
    """Read what a node owes that cannot be reached; nothing while it can."""
    if node not in await _out_of_reach(session):
        return Debt(0, None)
    query = select(func.count(), func.min(PlacementRow.leaving_at)).where(
        PlacementRow.node == node, PlacementRow.leaving.is_not(None)
    )
    keys, since = (await session.execute(query)).one()
    return Debt(int(keys), since)


async def _out_of_reach(session: AsyncSession) -> frozenset[str]:
    rows = await session.execute(select(NodeStatusRow.node, NodeStatusRow.conditions))
    return frozenset(
        node
        for node, conditions in rows
        if any(one["status"] and one["type"] in _OUT_OF_REACH for one in conditions)
    )


async def _leaving(session: AsyncSession, lost: frozenset[str]) -> list[MoveView]:
    rows = (
        await session.execute(
            select(
                PlacementRow.key, PlacementRow.node, PlacementRow.leaving, PlacementRow.leaving_at
            ).where(PlacementRow.leaving.is_not(None))
        )
    ).all()
    targets = await _targets(session, {key for key, *_ in rows})
    return [
        MoveView(
            key=KeyId(key),
            source=NodeName(node),
            to=targets.get((key, node)),
            reason=str(leaving),
            stage="owed" if node in lost else "deleting",
            since=since,
        )
        for key, node, leaving, since in rows
    ]


async def _left_behind(session: AsyncSession, now: datetime, pace: Pace) -> list[NodeProgress]:
    """Nodes that keys leave: what is left, by reason, and what went in the last day."""
    left = Counter(
        (node, str(leaving))
        for node, leaving in await session.execute(
            select(PlacementRow.node, PlacementRow.leaving).where(PlacementRow.leaving.is_not(None))
        )
    )
    left.update(await _yet_to_begin(session))
    done = await _gone(session, now - timedelta(days=1))
    lately = await _gone(session, now - timedelta(seconds=RECENTLY_S))
    return [
        NodeProgress(
            node=NodeName(node),
            what=reason,
            left=number,
            done=done[node, reason],
            left_s=estimate_s(number, lately[node, reason], pace),
        )
        for (node, reason), number in left.items()
    ]


async def _yet_to_begin(session: AsyncSession) -> Counter[tuple[str, str]]:
    """Keys on draining nodes that wait for a place elsewhere, or for a proof."""
    draining = {
        row.name for row in await session.scalars(select(NodeRow)) if node_from(row).is_draining
    }
    if not draining:
        return Counter()
    query = select(PlacementRow.node).where(
        PlacementRow.leaving.is_(None), PlacementRow.node.in_(draining)
    )
    drained = DeleteReason.DRAINED.value
    return Counter((node, drained) for node in await session.scalars(query))


async def _gone(session: AsyncSession, since: datetime) -> Counter[tuple[str, str]]:
    """Count keys that were proved gone since then, by node and reason."""
    key = func.count(func.distinct(RemoteGenerationRow.key))
    query = (
        select(RemoteGenerationRow.node, RemoteGenerationRow.delete_reason, key)
        .where(
            RemoteGenerationRow.state == JournalState.GONE.value,
            RemoteGenerationRow.gone_at > since,
            RemoteGenerationRow.delete_reason.is_not(None),
        )
        .group_by(RemoteGenerationRow.node, RemoteGenerationRow.delete_reason)
    )
    return Counter(
        {(n, str(reason)): int(number) for n, reason, number in await session.execute(query)}
    )


async def _filling(session: AsyncSession, now: datetime) -> list[NodeProgress]:
    """Nodes that hold fewer keys than are placed there."""
    live = (
        select(
            RemoteGenerationRow.node,
            func.count(func.distinct(RemoteGenerationRow.key)).label("live"),
        )
        .join(
            PlacementRow,
            (PlacementRow.node == RemoteGenerationRow.node)
            & (PlacementRow.key == RemoteGenerationRow.key)
            & PlacementRow.leaving.is_(None),
        )
        .where(RemoteGenerationRow.state == JournalState.LIVE.value)
        .group_by(RemoteGenerationRow.node)
    )
    placed = (
        select(PlacementRow.node, func.count())
        .where(PlacementRow.leaving.is_(None))
        .group_by(PlacementRow.node)
    )
    found = {node: int(number) for node, number in await session.execute(live)}
    lately = await _born(session, now - timedelta(seconds=RECENTLY_S))
    return [
        NodeProgress(
            node=NodeName(node),
            what="filling",
            left=number - found.get(node, 0),
            done=found.get(node, 0),
            left_s=estimate_s(number - found.get(node, 0), lately[node]),
        )
        for node, number in await session.execute(placed)
        if number > found.get(node, 0)
    ]


async def _born(session: AsyncSession, since: datetime) -> Counter[str]:
    query = (
        select(EventRow.node, func.count(func.distinct(EventRow.key)))
        .where(EventRow.name == "generation_live", EventRow.last_at > since)
        .group_by(EventRow.node)
    )
    return Counter({node: int(number) for node, number in await session.execute(query)})


async def _targets(session: AsyncSession, keys: set[str]) -> dict[tuple[str, str], NodeName]:
    """Where keys go that leave a node, by key and node."""
    query = select(
        PlacementRow.key, PlacementRow.node, PlacementRow.replaces, PlacementRow.reason
    ).where(PlacementRow.leaving.is_(None), _moved())
    return {
        (key, replaces or source_of(reason)): NodeName(node)
        for key, node, replaces, reason in await session.execute(query)
        if key in keys
    }


async def _coming(session: AsyncSession) -> list[MoveView]:
    """Keys whose new placement is not proved live, or whose old one stands until it serves."""
    live = (
        select(RemoteGenerationRow.email)
        .where(
            RemoteGenerationRow.key == PlacementRow.key,
            RemoteGenerationRow.node == PlacementRow.node,
            RemoteGenerationRow.state == JournalState.LIVE.value,
        )
        .exists()
    )
    old = aliased(PlacementRow)
    stands = (
        select(old.key)
        .where(
            old.key == PlacementRow.key,
            old.leaving.is_(None),
            old.at < PlacementRow.at,
            PlacementRow.reason.endswith(" from " + old.node),
        )
        .exists()
    )
    query = select(PlacementRow.key, PlacementRow.node, PlacementRow.reason, PlacementRow.at).where(
        PlacementRow.leaving.is_(None),
        PlacementRow.replaces.is_(None),
        _moved(),
        or_(~live, stands),
    )
    rows = (await session.execute(query)).all()
    here = {
        (key, node)
        for key, node in await session.execute(
            select(PlacementRow.key, PlacementRow.node).where(
                PlacementRow.leaving.is_(None),
                PlacementRow.key.in_({key for key, *_ in rows}),
            )
        )
    }
    return [
        MoveView(
            key=KeyId(key),
            source=source_of(reason),
            to=NodeName(node),
            reason=reason.rpartition(" from ")[0],
            stage="proving" if (key, source_of(reason)) in here else "creating",
            since=at,
        )
        for key, node, reason, at in rows
    ]


def source_of(reason: str) -> NodeName:
    """Return the node that a placement's reason names."""
    return NodeName(reason.rpartition(" from ")[2])


def _moved() -> ColumnElement[bool]:
    return or_(*(PlacementRow.reason.startswith(words) for words in _ON_THE_WAY))
