"""What people asked of nodes, and its answers: reconcile, probe and connection test.

A request to reconcile is answered when its node's turns have done what they can: nothing goes on, and
nothing waits for another node that was asked along with it. Requests that are open are kept in
memory, read anew whenever a wake-up tells that there are some. Callers: turns, the service. Not here:
rematch, rebind and resume, which the turn itself answers with what it binds (`core.reconcile`).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import and_, func, or_, select

from controller.runtime.documents import answer_document
from controller.runtime.report import NodeReport
from controller.runtime.tables import REQUEST, REQUEST_ANSWER, REQUEST_PROGRESS
from controller.runtime.worker import Clock, TurnReport
from controller.telemetry import events
from desired_state.model.ids import NodeName, Revision
from desired_state.model.request import RequestKind
from desired_state.store.bulk import upsert
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.tables.desired import NodeRow

log = structlog.get_logger(__name__)

_RUNS = frozenset({RequestKind.RECONCILE, RequestKind.REBUILD})
"""Answered when the node's turns have done what they can."""
Look = Callable[[NodeName], Awaitable[dict[str, Any]]]
"""Looks at a node for a request and gives the answer's detail, `outcome` among it."""


@dataclass(frozen=True, slots=True)
class Open:
    """One request at one node that waits for its answer."""

    token: str
    kind: RequestKind
    node: NodeName


@dataclass(slots=True)
class _Asked:
    """A request to reconcile: nodes at work, and reports of those that only wait for others."""

    at_work: set[NodeName] = field(default_factory=set)
    waiting: dict[NodeName, NodeReport] = field(default_factory=dict)
    reports: dict[NodeName, NodeReport] = field(default_factory=dict)


class Requests:
    """Open requests of this process's nodes.

    Args:
        store: the database.
        clock: for answers.
        looks: how to answer the kinds that look and write nothing.
    """

    def __init__(self, store: Store, clock: Clock, looks: Mapping[RequestKind, Look]) -> None:
        self._store = store
        self._clock = clock
        self._looks = looks
        self._open: dict[NodeName, tuple[Open, ...]] = {}
        self._asked: dict[str, _Asked] = {}
        self._unplaced: set[str] = set()
        self._begun: dict[NodeName, tuple[Open, ...]] = {}

    async def refresh(self) -> frozenset[NodeName]:
        """Read what is open; returns its nodes.

        Raises:
            StoreError: what was known stays.
        """
        found = await _read(self._store)
        self._open = {}
        for one in found:
            self._open[one.node] = (*self._open.get(one.node, ()), one)
            if one.kind in _RUNS:
                if one.token not in self._asked:
                    self._unplaced.add(one.token)
                asked = self._asked.setdefault(one.token, _Asked())
                if one.node not in asked.waiting:
                    asked.at_work.add(one.node)
        return frozenset(self._open)

    async def pressing(self, node: NodeName) -> Revision:
        """Read the revision since which a node is declared, or asked for, as it is now.

        Raises:
            StoreError: it cannot be told.
        """
        async with self._store.reading() as session:
            connection = await session.connection()
            declared = await session.scalar(select(NodeRow.revision).where(NodeRow.name == node))
            asked = await connection.scalar(
                select(func.max(REQUEST.c.revision))
                .select_from(REQUEST.outerjoin(REQUEST_ANSWER, _answered_by(node)))
                .where(
                    or_(REQUEST.c.node == node, REQUEST.c.node.is_(None)),
                    REQUEST_ANSWER.c.token.is_(None),
                )
            )
        return Revision(max(declared or 0, asked or 0))

    async def before(self, node: NodeName) -> None:
        """Tell those who wait that it begins, and answer what only wants a look."""
        found = tuple([one for one in self._open.get(node, ()) if one.token not in self._unplaced])
        # What comes from here on is for the next turn: this one looks too early for it.
        self._begun[node] = found
        if not found:
            return
        try:
            await self._progress(found, node, {"stage": "looking"})
            for one in found:
                look = self._looks.get(one.kind)
                if look is not None:
                    detail = await look(node)
                    await self._answer((one.token,), one.kind, node, detail)
        except StoreError as error:
            # It stays open, and the next turn tries again.
            log.warning(events.CYCLE_BROKEN_OFF, node=node, error=type(error).__name__)

    async def after(self, turn: TurnReport, *, more: bool) -> None:
        """Take a turn into account: answer, or tell how far it is."""
        found = self._begun.pop(turn.node, ())
        if not found:
            return
        try:
            if any(one.kind not in self._looks for one in found):
                for one in found:
                    if one.kind in _RUNS:
                        await self._count(one, turn, more=more)
                await self._forget_answered(turn.node)
        except StoreError as error:
            log.warning(events.CYCLE_BROKEN_OFF, node=turn.node, error=type(error).__name__)

    def waits_for_place(self, node: NodeName) -> bool:
        """Whether all that is asked of a node waits until keys were placed."""
        found = self._open.get(node, ())
        return bool(found) and all(one.token in self._unplaced for one in found)

    def placed(self) -> frozenset[NodeName]:
        """Keys were placed after requests came: from here on turns count; returns their nodes."""
        tokens, self._unplaced = self._unplaced, set()
        found = (one for some in self._open.values() for one in some)
        return frozenset(one.node for one in found if one.token in tokens)

    def reopen(self, nodes: Iterable[NodeName]) -> None:
        """Nodes have work again: what they waited for has happened."""
        for asked in self._asked.values():
            for node in nodes:
                if asked.waiting.pop(node, None) is not None:
                    asked.at_work.add(node)

    # -- reconcile ---------------------------------------------------------------------------------

    async def _count(self, one: Open, turn: TurnReport, *, more: bool) -> None:
        asked = self._asked.setdefault(one.token, _Asked({turn.node}))
        report = asked.reports.get(turn.node, NodeReport(turn.node)).plus(turn)
        asked.reports[turn.node] = report
        if more:
            await self._progress((one,), turn.node, _done_so_far(report))
            return
        asked.at_work.discard(turn.node)
        if report.waiting and asked.at_work:
            asked.waiting[turn.node] = report
            await self._progress((one,), turn.node, _done_so_far(report) | {"stage": "waiting"})
            return
        await self._conclude(one.token, asked, report)

    async def _conclude(self, token: str, asked: _Asked, report: NodeReport) -> None:
        ready = [report]
        if not asked.at_work:
            # Nobody is left that could free what they wait for.
            ready += asked.waiting.values()
        for one in ready:
            await self._answer((token,), RequestKind.RECONCILE, one.node, answer_document(one))
            asked.waiting.pop(one.node, None)
            asked.reports.pop(one.node, None)
        if not asked.at_work and not asked.waiting:
            self._asked.pop(token, None)

    # -- the database ------------------------------------------------------------------------------

    async def _progress(
        self, found: Iterable[Open], node: NodeName, detail: dict[str, Any]
    ) -> None:
        now = self._clock.now()
        rows = [{"token": one.token, "node": node, "detail": detail, "at": now} for one in found]
        async with self._store.recording() as session:
            await upsert(await session.connection(), REQUEST_PROGRESS, rows)

    async def _answer(
        self, tokens: tuple[str, ...], kind: RequestKind, node: NodeName, detail: dict[str, Any]
    ) -> None:
        now, outcome = self._clock.now(), str(detail.get("state", ""))
        rows = [
            {"token": token, "node": node, "outcome": outcome, "detail": detail, "at": now}
            for token in tokens
        ]
        async with self._store.recording() as session:
            await upsert(await session.connection(), REQUEST_ANSWER, rows)
        self._drop(node, tokens)
        log.info(events.REQUEST_ANSWERED, node=node, kind=kind.value, outcome=outcome)

    async def _forget_answered(self, node: NodeName) -> None:
        """Forget what the turn itself answered: rematch, rebind, resume."""
        left = tuple(one.token for one in self._open.get(node, ()))
        if not left:
            return
        async with self._store.reading() as session:
            answered = await (await session.connection()).execute(
                select(REQUEST_ANSWER.c.token).where(
                    REQUEST_ANSWER.c.node == node, REQUEST_ANSWER.c.token.in_(left)
                )
            )
            tokens = tuple(answered.scalars())
        self._drop(node, tokens)

    def _drop(self, node: NodeName, tokens: tuple[str, ...]) -> None:
        left = tuple(one for one in self._open.get(node, ()) if one.token not in tokens)
        if left:
            self._open[node] = left
        else:
            self._open.pop(node, None)


async def answer_one(store: Store, now: datetime, token: str, document: dict[str, Any]) -> None:
    """Answer one request at one node, named in the document.

    Raises:
        StoreError: it was not answered.
    """
    row = {
        "token": token, "node": document["node"], "outcome": str(document["state"]),
        "detail": document, "at": now,
    }  # fmt: skip
    async with store.recording() as session:
        await upsert(await session.connection(), REQUEST_ANSWER, [row])


async def answer_run(store: Store, now: datetime, reports: Iterable[NodeReport]) -> None:
    """Answer what was open at the nodes of a one-shot run, which did all that could be asked for.

    Raises:
        StoreError: nothing was answered.
    """
    documents = {report.node: answer_document(report) for report in reports}
    kinds = (*_RUNS, RequestKind.PROBE, RequestKind.TEST)
    found = [one for one in await _read(store) if one.node in documents and one.kind in kinds]
    rows = [
        {
            "token": one.token, "node": one.node, "outcome": str(documents[one.node]["state"]),
            "detail": documents[one.node], "at": now,
        }
        for one in found
    ]  # fmt: skip
    if not rows:
        return
    async with store.recording() as session:
        await upsert(await session.connection(), REQUEST_ANSWER, rows)


async def _read(store: Store) -> list[Open]:
    """Read every request that a node has not answered, oldest first."""
    nodes = NodeRow.__table__.c.name
    query = (
        select(REQUEST.c.token, REQUEST.c.kind, nodes)
        .select_from(
            REQUEST.join(
                NodeRow.__table__, or_(REQUEST.c.node.is_(None), REQUEST.c.node == nodes)
            ).outerjoin(REQUEST_ANSWER, _answered_by(nodes))
        )
        .where(
            REQUEST_ANSWER.c.token.is_(None),
            REQUEST.c.kind.in_([kind.value for kind in RequestKind]),
        )
        .order_by(REQUEST.c.revision, REQUEST.c.token, nodes)
    )
    async with store.reading() as session:
        rows = await (await session.connection()).execute(query)
        return [Open(token, RequestKind(kind), NodeName(node)) for token, kind, node in rows]


def _answered_by(node: Any) -> Any:  # noqa: ANN401 - a value or a column, and an expression of SQL
    return and_(REQUEST_ANSWER.c.token == REQUEST.c.token, REQUEST_ANSWER.c.node == node)


def _done_so_far(report: NodeReport) -> dict[str, Any]:
    return {
        "stage": "working",
        "turns": report.rounds,
        "created": report.created,
        "deleted": report.deleted,
        "updated": report.updated,
        "left": report.actions_left + report.waiting,
    }
