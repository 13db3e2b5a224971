"""Makes the backups that people ask a service for, one after the other, and answers.

A request that a killed process had begun is open, and begun anew. Callers: the service, as a part of the job
that makes backups. Not here: making one (`backups`), asking (`commands.backups`), schedules.
"""

from datetime import datetime
from typing import Any, cast

import structlog
from sqlalchemy import Table, exists, select

from controller.jobs.backups import Backups
from controller.telemetry import events
from desired_state.model.errors import X3FleetError
from desired_state.model.ids import NodeName
from desired_state.model.request import WHOLE, RequestKind
from desired_state.store.backup.contents import contents_to_json
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.making import Made
from desired_state.store.bulk import upsert
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.tables.desired import RequestRow
from desired_state.store.tables.status import RequestAnswerRow, RequestProgressRow

log = structlog.get_logger(__name__)

MADE, FAILED = "made", "failed"
_ANSWER = cast("Table", RequestAnswerRow.__table__)
_PROGRESS = cast("Table", RequestProgressRow.__table__)


class AskedBackups:
    """The job.

    Args:
        store: the database.
        backups: makes them; None: this service has no place for backups, and says so.
        clock: for answers.
    """

    def __init__(self, store: Store, backups: Backups | None, clock: Clock) -> None:
        self._store = store
        self._backups = backups
        self._clock = clock

    async def run(self) -> None:
        """Answer every request that is open.

        Raises:
            StoreError: they cannot be read, or one not be answered; it stays open.
        """
        for token, nodes in await self._open():
            try:
                made = await self._make(token, nodes)
            except X3FleetError as error:
                told: dict[str, Any] = {"error": error.message, "hint": error.hint}
                await self._answer(token, FAILED, told)
            else:
                await self._answer(token, MADE, _document(made))

    async def _make(self, token: str, nodes: tuple[NodeName, ...] | None) -> Made:
        if self._backups is None:
            raise BackupError(
                "the service that is at work has no place for backups, or no key for them",
                hint="set X3FLEET_BACKUP__FOLDER for the service, and start it again",
            )

        async def tell(stage: str) -> None:
            await self._progress(token, stage)

        chosen = await self._backups.declared() if nodes is None else nodes
        return await self._backups.make(chosen, tell)

    # -- the database ------------------------------------------------------------------------------

    async def _open(self) -> list[tuple[str, tuple[NodeName, ...] | None]]:
        answered = exists().where(RequestAnswerRow.token == RequestRow.token)
        query = (
            select(RequestRow.token, RequestRow.detail)
            .where(RequestRow.kind == RequestKind.BACKUP.value, ~answered)
            .order_by(RequestRow.revision, RequestRow.token)
        )
        async with self._store.reading() as session:
            rows = (await session.execute(query)).all()
        return [(token, _nodes(detail)) for token, detail in rows]

    async def _progress(self, token: str, stage: str) -> None:
        row = {"token": token, "node": WHOLE, "detail": {"stage": stage}, "at": self._now()}
        async with self._store.recording() as session:
            await upsert(await session.connection(), _PROGRESS, [row])

    async def _answer(self, token: str, outcome: str, told: dict[str, Any]) -> None:
        detail = {"state": outcome, **told}
        row = {
            "token": token, "node": WHOLE, "outcome": outcome, "detail": detail, "at": self._now(),
        }  # fmt: skip
        async with self._store.recording() as session:
            await upsert(await session.connection(), _ANSWER, [row])
        kind = RequestKind.BACKUP.value
        log.info(events.REQUEST_ANSWERED, node=WHOLE, kind=kind, outcome=outcome)

    def _now(self) -> datetime:
        return self._clock.now()


def _nodes(detail: dict[str, Any]) -> tuple[NodeName, ...] | None:
    names = detail.get("nodes")
    return None if names is None else tuple(NodeName(name) for name in names)


def _document(made: Made) -> dict[str, Any]:
    return {
        "backup": str(made.path),
        "bytes": made.bytes,
        "key": made.key,
        "contents": contents_to_json(made.contents),
    }
