"""Removes from status what nobody needs any more, some rows at a time.

A job: run by one replica of an installation. Each batch is a transaction of its own, so that turns are
not kept waiting. While the wall clock is doubted nothing goes: what is removed for its age does not come
back when the clock is set right. Callers: service. Not here: desired state, whose retention runs in a
front-end process; anything that is still owed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import ColumnElement, Table, delete, exists, select, tuple_

from controller.settings import RetentionSettings
from controller.telemetry import events
from desired_state.model.backups import tombstones_since
from desired_state.model.generation import JournalState
from desired_state.queries.backups import FAILED, oldest_backup
from desired_state.queries.capacity import TREND_OVER
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.node_states import read_node_states
from desired_state.store.tables.adoption import FoundClientRow
from desired_state.store.tables.backups import BackupRow
from desired_state.store.tables.desired import NodeRow, PlanApprovalRow, RebalanceRow, RequestRow
from desired_state.store.tables.forgotten import ForgottenNodeRow, WriteOffRow
from desired_state.store.tables.inbounds import ManagedInboundRow
from desired_state.store.tables.measures import CapacitySampleRow
from desired_state.store.tables.status import (
    AlertRow,
    ApprovalStartedRow,
    CycleRow,
    DeleteBudgetRow,
    EventRow,
    InboundRow,
    NodeStatusRow,
    NotificationRow,
    RebalanceStepRow,
    RemoteGenerationRow,
    RequestAnswerRow,
    RequestProgressRow,
    WebhookDeliveryRow,
)

log = structlog.get_logger(__name__)

_SKEWED = "Blocked/ClockSkew"
BUDGET_KEPT = timedelta(days=1)
WRITTEN_OFF_KEPT = timedelta(days=365)
"""A server that was given up may be switched on again by whoever finds it."""
FOUND_KEPT = timedelta(days=1)
"""Longer than any window of the fleet's share of deletes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which rows of a table go."""

    table: Table
    goes: ColumnElement[bool]


class Retention:
    """The job.

    Args:
        store: the database.
        settings: how long what is kept.
        clock: the wall clock.
        doubted: tells whether it was set not long ago.
    """

    def __init__(
        self,
        store: Store,
        settings: RetentionSettings,
        clock: Clock,
        doubted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._doubted = doubted

    async def run(self) -> dict[str, int]:
        """Remove everything that is due; returns how many rows went, by table.

        Raises:
            StoreError: the database failed; what was removed before stays removed.
        """
        removed: dict[str, int] = {}
        if self._doubted() or await self._is_contradicted():
            log.warning(events.PRUNING_WAITS)
            return removed
        async with self._store.reading() as session:
            oldest = await oldest_backup(await session.connection())
        for rule in make_rules(self._settings, self._clock.now(), oldest):
            gone = await self._apply(rule)
            if gone:
                removed[rule.table.name] = gone
        if removed:
            log.info(events.STATUS_PRUNED, removed=removed)
        return removed

    async def _is_contradicted(self) -> bool:
        """Whether most panels that were seen show another time."""
        async with self._store.reading() as session:
            states = await read_node_states(session)
        seen = [s for s in states if s.unreachable_since is None]
        return 2 * sum(_SKEWED in s.conditions for s in seen) > len(seen)

    async def _apply(self, rule: Rule) -> int:
        keys = list(rule.table.primary_key)
        key = keys[0] if len(keys) == 1 else tuple_(*keys)
        some = select(*keys).where(rule.goes).limit(self._settings.batch)
        total = 0
        while True:
            async with self._store.recording() as session:
                connection = await session.connection()
                gone = (await connection.execute(delete(rule.table).where(key.in_(some)))).rowcount
            total += gone
            if gone < self._settings.batch:
                return total
            # Whoever waits for the database goes first.
            await asyncio.sleep(0)


def make_rules(
    settings: RetentionSettings, now: datetime, oldest: datetime | None = None
) -> tuple[Rule, ...]:
    """Say what goes at this moment, in an order in which what others point at goes first.

    `oldest`: of which moment the oldest backup is; tombstones outlive it.
    """
    buried = tombstones_since(now, timedelta(days=settings.tombstones_days), oldest)

    def before(days: int) -> datetime:
        return now - timedelta(days=days)

    told = exists().where(AlertRow.notification_id == NotificationRow.id)
    asked = exists().where(RequestRow.token == RequestAnswerRow.token)
    awaited = exists().where(RequestRow.token == RequestProgressRow.token)
    approved = exists().where(PlanApprovalRow.id == ApprovalStartedRow.approval_id)
    declared = exists().where(NodeRow.name == NodeStatusRow.node)
    bound = exists().where(NodeRow.name == InboundRow.node)
    managed = exists().where(NodeRow.name == ManagedInboundRow.node)
    announced = exists().where(NotificationRow.id == WebhookDeliveryRow.notification_id)
    return (
        _rule(EventRow, EventRow.last_at < before(settings.events_days)),
        _rule(CycleRow, CycleRow.finished_at < before(settings.cycles_days)),
        *_tombstones(buried, min(buried, now - WRITTEN_OFF_KEPT)),
        _rule(WriteOffRow, ~exists().where(ForgottenNodeRow.id == WriteOffRow.forgotten_id)),
        # A node of the same name is another panel.
        _rule(NodeStatusRow, ~declared),
        _rule(InboundRow, ~bound),
        _rule(ManagedInboundRow, ~managed),
        _rule(CapacitySampleRow, CapacitySampleRow.at < now - TREND_OVER),
        _rule(DeleteBudgetRow, DeleteBudgetRow.at < now - BUDGET_KEPT),
        _rule(
            RebalanceStepRow,
            RebalanceStepRow.done_at.is_not(None)
            & ~exists().where(RebalanceRow.id == RebalanceStepRow.rebalance_id),
        ),
        # A request whose answer is gone would be done again: the request goes first, elsewhere.
        _rule(RequestAnswerRow, (RequestAnswerRow.at < before(settings.answers_days)) & ~asked),
        _rule(
            RequestProgressRow,
            (RequestProgressRow.at < before(settings.answers_days)) & ~awaited,
        ),
        # Likewise an approval: without this row it would be as fresh as on its first day.
        _rule(
            ApprovalStartedRow, (ApprovalStartedRow.at < before(settings.answers_days)) & ~approved
        ),
        # What still fires is named again when it ends.
        _rule(NotificationRow, (NotificationRow.at < before(settings.notifications_days)) & ~told),
        _rule(WebhookDeliveryRow, ~announced),
        _rule(BackupRow, _is_forgotten(before(settings.events_days))),
        # Sealed credentials of strangers: kept no longer than somebody may be looking at them.
        _rule(FoundClientRow, FoundClientRow.found_at < now - FOUND_KEPT),
    )


def _tombstones(gone_before: datetime, written_off_before: datetime) -> tuple[Rule, ...]:
    journal = RemoteGenerationRow
    gone = (journal.state == JournalState.GONE.value) & (journal.gone_at < gone_before)
    written_off = journal.state == JournalState.WRITTEN_OFF.value
    return (
        _rule(journal, gone),
        _rule(journal, written_off & (journal.gone_at < written_off_before)),
    )


def _is_forgotten(before: datetime) -> ColumnElement[bool]:
    """Backups whose files are gone, and attempts that failed, once they are history."""
    is_gone = BackupRow.removed_at.is_not(None) | (BackupRow.state == FAILED)
    return is_gone & (BackupRow.finished_at < before)


def _rule(row: type, goes: ColumnElement[bool]) -> Rule:
    return Rule(cast("Table", row.__table__), goes)  # type: ignore[attr-defined]  # of mapped classes
