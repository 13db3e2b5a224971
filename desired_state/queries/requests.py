"""Requests to the controller and its answers: following one, and what is still open.

Callers: entrances that asked for something. Not here: asking (`commands.requests`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind
from desired_state.store.tables.desired import NodeRow, RequestRow
from desired_state.store.tables.status import RequestAnswerRow, RequestProgressRow


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What one node answered. `outcome`: the reason of its readiness after the turn."""

    node: NodeName
    outcome: str
    detail: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far one node is that has not answered yet. `detail`: `stage`, and counts of a run."""

    node: NodeName
    detail: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request; `waiting`: nodes that have not answered yet, sorted; `progress`: of some of them.

    A request to the installation as a whole has "" where others have nodes' names.
    """

    token: str
    kind: RequestKind
    node: NodeName | None
    actor: str
    at: datetime
    answers: tuple[AnswerView, ...]
    waiting: tuple[NodeName, ...]
    progress: tuple[ProgressView, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether every node that was asked has answered."""
        return not self.waiting


async def follow_request(session: AsyncSession, token: str) -> RequestView | None:
    """Read a request with its answers; None when there is none of that token."""
    row = await session.get(RequestRow, token)
    return None if row is None else await _view(session, row)


async def open_requests(
    session: AsyncSession, *, node: NodeName | None = None
) -> tuple[RequestView, ...]:
    """Read requests that some node has not answered, oldest first."""
    query = select(RequestRow).order_by(RequestRow.revision, RequestRow.token)
    if node is not None:
        query = query.where(RequestRow.node.is_(None) | (RequestRow.node == node))
    views = [await _view(session, row) for row in await session.scalars(query)]
    return tuple(
        [view for view in views if view.waiting and (node is None or node in view.waiting)]
    )


async def _view(session: AsyncSession, row: RequestRow) -> RequestView:
    given = await session.scalars(
        select(RequestAnswerRow)
        .where(RequestAnswerRow.token == row.token)
        .order_by(RequestAnswerRow.node)
    )
    answers = tuple(
        [AnswerView(NodeName(one.node), one.outcome, one.detail, one.at) for one in given]
    )
    if row.node is None:
        asked = list(await session.scalars(select(NodeRow.name).order_by(NodeRow.name)))
    else:
        asked = [row.node]
    answered = {answer.node for answer in answers}
    begun = await session.scalars(
        select(RequestProgressRow)
        .where(RequestProgressRow.token == row.token)
        .order_by(RequestProgressRow.node)
    )
    return RequestView(
        token=row.token,
        kind=RequestKind(row.kind),
        node=None if row.node is None else NodeName(row.node),
        actor=row.actor,
        at=row.at,
        answers=answers,
        waiting=tuple([NodeName(name) for name in asked if name not in answered]),
        progress=tuple(
            [
                ProgressView(NodeName(one.node), one.detail, one.at)
                for one in begun
                if one.node not in answered
            ]
        ),
    )
