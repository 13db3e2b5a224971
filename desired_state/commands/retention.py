"""Retention of desired state: what nothing needs any more goes, a batch at a time.

`Retention(store, settings).run()` is hosted by `x3fleet sync` and `x3fleet run`. No row that says what is
wanted goes, so that nobody is woken. Not here: retention of status, which is the controller's; what a person
deletes.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import ColumnElement, Table, delete, exists, or_, select, tuple_

from desired_state.commands import events
from desired_state.commands.settings import PruneSettings
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.tables.adoption import AdoptionRow
from desired_state.store.tables.desired import (
    AuditEventRow,
    KeyGenerationRow,
    KeyRow,
    MoveRow,
    NotificationReplayRow,
    PlanApprovalRow,
    RebalanceRow,
    RequestRow,
    SubscriptionRow,
    WakeRow,
)
from desired_state.store.tables.forgotten import ForgottenNodeRow
from desired_state.store.tables.shop import CommandTokenRow
from desired_state.store.tables.status import (
    KeyUsageRow,
    PlacementRow,
    RebalanceStepRow,
    RemoteGenerationRow,
    RequestAnswerRow,
)
from desired_state.store.unit_of_work import UnitOfWork, begin

log = structlog.get_logger(__name__)
ACTOR = "retention"
FORGOTTEN_DAYS = 400
"""Longer than what was written off for a forgotten node is recognised."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Rows of a table that go; `with_them`: tables whose rows belong to one, by its first key."""

    row: type
    goes: ColumnElement[bool]
    with_them: tuple[tuple[type, Any], ...] = ()


class Retention:
    """Prunes, again and again.

    Args:
        store: the open database, with the rights of a front-end.
        settings: how long rows are kept.
    """

    def __init__(self, store: Store, settings: PruneSettings) -> None:
        self._store = store
        self._settings = settings

    async def run(self) -> None:
        """Prune every so often, until cancelled; a database that refuses is asked again next time."""
        while True:
            try:
                await prune(self._store, self._settings)
            except StoreError as error:
                log.warning(events.PRUNING_FAILED, error=str(error))
            await asyncio.sleep(self._settings.every_s)


async def prune(store: Store, settings: PruneSettings) -> Mapping[str, int]:
    """Remove what is old enough.

    Returns:
        How many rows of each table; tables without any are left out.

    Raises:
        StoreError: what was removed before stays removed.
    """
    counts: dict[str, int] = {}
    for rule in _rules(settings, store.clock.now()):
        name = _table(rule.row).name
        while removed := await _prune_some(store, rule, settings.batch):
            counts[name] = counts.get(name, 0) + removed
            if removed < settings.batch:
                break
    if counts:
        log.info(events.DESIRED_PRUNED, **counts)
    return counts


async def _prune_some(store: Store, rule: _Rule, batch: int) -> int:
    """Remove one batch in one transaction, so that no command waits for long."""
    table = _table(rule.row)
    keys = list(table.primary_key)
    async with begin(store, ACTOR) as work:
        found = await work.session.execute(select(*keys).where(rule.goes).limit(batch))
        chosen = [tuple(row) for row in found]
        if not chosen:
            return 0
        firsts = [row[0] for row in chosen]
        for row, column in rule.with_them:
            await work.session.execute(delete(_table(row)).where(column.in_(firsts)))
        await work.session.execute(delete(table).where(tuple_(*keys).in_(chosen)))
        if rule.row is KeyRow:
            _keep_trace(work, firsts)
    return len(chosen)


def _keep_trace(work: UnitOfWork, keys: list[str]) -> None:
    """Keys are what was sold: their end is kept in the audit."""
    work.audit("keys_forgotten", f"keys/{len(keys)}", keys=keys)


def _rules(settings: PruneSettings, now: datetime) -> Iterator[_Rule]:
    def before(**age: int) -> datetime:
        return now - timedelta(**age)

    yield _Rule(WakeRow, WakeRow.at < before(hours=settings.wakes_hours))
    yield _Rule(AuditEventRow, AuditEventRow.at < before(days=settings.audit_days))
    # One that still waits for a node stays; of those that ask every node, nobody waits so long.
    answered = exists().where(RequestAnswerRow.token == RequestRow.token)
    yield _Rule(
        RequestRow,
        (RequestRow.at < before(days=settings.requests_days))
        & or_(RequestRow.node.is_(None), answered),
    )
    yield _Rule(PlanApprovalRow, PlanApprovalRow.at < before(days=settings.approvals_days))
    # A wish is followed once, by its number: one that is as old as an answered request is history.
    replays = NotificationReplayRow.at < before(days=settings.requests_days)
    yield _Rule(NotificationReplayRow, replays)
    done = exists().where(
        RebalanceStepRow.rebalance_id == RebalanceRow.id, RebalanceStepRow.done_at.is_not(None)
    )
    yield _Rule(RebalanceRow, (RebalanceRow.at < before(days=settings.requests_days)) & done)
    yield _Rule(ForgottenNodeRow, ForgottenNodeRow.at < before(days=FORGOTTEN_DAYS))
    yield _Rule(CommandTokenRow, CommandTokenRow.at < before(days=settings.tokens_days))
    yield _Rule(
        KeyRow,
        _forgotten(before(days=settings.keys_days)),
        (
            (KeyGenerationRow, KeyGenerationRow.key_id),
            (MoveRow, MoveRow.key_id),
            (AdoptionRow, AdoptionRow.key_id),
        ),
    )


def _forgotten(before: datetime) -> ColumnElement[bool]:
    """Deleted long ago, and nowhere any more.

    Tombstones count as somewhere: while one is kept, a panel restored from a backup may show its
    client again, and only our row can say that it is ours. So does the traffic of a period that is not
    over: it counts against the subscription's quota.
    """
    counts = (
        exists()
        .where(
            KeyUsageRow.key == KeyRow.id,
            SubscriptionRow.id == KeyRow.subscription_id,
            KeyUsageRow.period == SubscriptionRow.period,
        )
        .correlate(KeyRow)
    )
    return (
        KeyRow.deleted_at.is_not(None)
        & (KeyRow.deleted_at < before)
        & ~exists().where(RemoteGenerationRow.key == KeyRow.id)
        & ~exists().where(PlacementRow.key == KeyRow.id)
        & ~counts
    )


def _table(row: type) -> Table:
    return cast("Table", row.__table__)  # type: ignore[attr-defined]  # of mapped classes
