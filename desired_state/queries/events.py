"""The history: what happened on nodes and to keys, newest first.

Callers: entrances, `queries.node`, `queries.key`. Not here: what people did (the audit).
"""

from collections.abc import Collection, Iterable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.model.ids import KeyId, NodeName
from desired_state.queries.views import EventView
from desired_state.store.tables.status import EventRow, RemoteGenerationRow

MOST = 100
_CAME = "condition_came"
_NAMES = {
    JournalState.INTENDED: "generation_journalled",
    JournalState.LIVE: "generation_live",
    JournalState.GONE: "generation_finalised",
    JournalState.WRITTEN_OFF: "generation_written_off",
}
"""What the last change of a journal row was."""


async def list_events(
    session: AsyncSession,
    *,
    node: NodeName | None = None,
    key: KeyId | None = None,
    limit: int = MOST,
) -> tuple[EventView, ...]:
    """Read the newest events, of one node or key where one is named."""
    query = select(EventRow).order_by(EventRow.last_at.desc(), EventRow.id.desc()).limit(limit)
    if node is not None:
        query = query.where(EventRow.node == node)
    if key is not None:
        query = query.where(EventRow.key == key)
    return tuple([_view(row) for row in await session.scalars(query)])


async def conditions_told(
    session: AsyncSession, conditions: Collection[str]
) -> dict[NodeName, dict[str, EventView]]:
    """Read, by node, the newest line that told of each of these conditions (`Type/Reason`)."""
    if not conditions:
        return {}
    newest = (
        select(EventRow.node, EventRow.after, func.max(EventRow.id).label("id"))
        .where(EventRow.name == _CAME, EventRow.after.in_(conditions))
        .group_by(EventRow.node, EventRow.after)
        .subquery()
    )
    found: dict[NodeName, dict[str, EventView]] = {}
    for row in await session.scalars(select(EventRow).join(newest, newest.c.id == EventRow.id)):
        found.setdefault(NodeName(row.node), {})[row.after] = _view(row)
    return found


def _view(row: EventRow) -> EventView:
    return EventView(
        at=row.at,
        node=NodeName(row.node),
        name=row.name,
        key=row.key,
        email=row.email,
        detail=row.detail,
        cycle_id=row.cycle_id,
        before=row.before,
        after=row.after,
        outcome=row.outcome,
        plan_digest=row.plan_digest,
        epoch=row.epoch,
        times=row.times,
        last_at=row.last_at,
    )


def complete_events(
    events: tuple[EventView, ...], rows: Iterable[RemoteGenerationRow]
) -> tuple[EventView, ...]:
    """Add the last change of each journal row that has no line of its own.

    A turn that creates thousands of clients leaves one line for all of them; each row tells when.
    """
    told = {(event.node, event.email, event.name) for event in events}
    added = []
    for row in rows:
        name = _NAMES[JournalState(row.state)]
        if (row.node, row.email, name) not in told:
            added.append(
                EventView(
                    at=row.gone_at or row.changed_at,
                    node=NodeName(row.node),
                    name=name,
                    key=row.key or "",
                    email=row.email,
                    detail=row.delete_reason or "",
                )
            )
    return tuple(
        sorted((*events, *added), key=lambda event: event.last_at or event.at, reverse=True)
    )
