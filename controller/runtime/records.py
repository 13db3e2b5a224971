"""The database effects that write: intents, what is proved live or gone, bindings, status.

Each is one transaction, conditional on the epoch, and writes its events with it. Rows go in by the
thousand (`executemany`). Callers: the worker. Not here: reading for the plan, deciding, tables of
desired state: the controller never writes those.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core import effects as fx
from controller.core.result import Sent
from controller.runtime.adopting import record_adoption
from controller.runtime.declaring import record_inbounds
from controller.runtime.finalising import book_usage, end_placements
from controller.runtime.history import EventLog, Line, core_line, gone_lines, journal_lines
from controller.runtime.lease import Lease
from controller.runtime.sightings import compare
from controller.runtime.stored import inbound_values, status_values
from controller.runtime.tables import (
    APPROVAL_STARTED,
    AT_ONCE,
    CYCLE,
    DELETE_BUDGET,
    HEAL,
    INBOUND,
    JOURNAL,
    KEY,
    NODE_STATUS,
    PLACEMENT,
    PLAN_APPROVAL,
    REQUEST_ANSWER,
)
from controller.runtime.timings import deletions_s, first_ready_s, rotation_gaps_s
from controller.runtime.versions import StatusVersions
from controller.telemetry import events
from controller.telemetry.observers import count_born, count_deletions
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import NodeName
from desired_state.model.policy import policy_for
from desired_state.store.bulk import insert_missing, upsert
from desired_state.store.convert import journal_values, policy_from
from desired_state.store.engine import Store
from desired_state.store.errors import ConcurrentUpdate
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import PolicyRow

HEALS_KEPT = timedelta(hours=1)
BUDGET_KEPT = timedelta(days=1)
"""Longer than any window of the fleet's share."""
BUDGET_LOCK = 0x78336264
"""The advisory lock of whoever takes from the fleet's share ("x3bd")."""

Record = (
    fx.Bind
    | fx.ReserveDeletes
    | fx.StartApprovals
    | fx.JournalIntent
    | fx.Finalise
    | fx.RecordRows
    | fx.TakeOver
    | fx.GiveBack
    | fx.RecordInbounds
    | fx.WriteStatus
)


class Records:
    """Writes status for turns.

    Args:
        store: the database.
        versions: told of everything that is written.
        lease: what every record is conditional on.
    """

    def __init__(self, store: Store, versions: StatusVersions, lease: Lease) -> None:
        self._store = store
        self._versions = versions
        self._lease = lease
        self._released: set[NodeName] = set()

    def take_released(self) -> frozenset[NodeName]:
        """Hand out, once, the nodes whose waiting keys were freed by what was finalised."""
        released, self._released = frozenset(self._released), set()
        return released

    def release(self, nodes: Iterable[NodeName]) -> None:
        """Hand these nodes out too: something that their turns read has changed."""
        self._released.update(nodes)

    async def record(self, effect: Record, now: datetime, cycle: str) -> bool | None:
        """Do one effect as one transaction.

        Args:
            effect: what to write.
            now: the moment that rows and events get.
            cycle: the turn's id, for its events.

        Returns:
            Of `ReserveDeletes` whether the fleet's share allows it; None of all others.

        Raises:
            LeaseLost: the epoch is not the node's any more; nothing was written.
            StoreError: nothing was written.
        """
        node = effect.node
        try:
            async with self._store.recording() as session:
                connection = await session.connection()
                await self._lease.check(connection, node, effect.epoch)
                log = EventLog(connection, node, now, cycle, effect.epoch)
                match effect:
                    case fx.Bind():
                        await _bind(connection, effect, now)
                    case fx.ReserveDeletes():
                        policies = await session.scalars(select(PolicyRow))
                        fleet = policy_for(tuple([policy_from(p) for p in policies]), ())
                        window = timedelta(seconds=fleet.fleet_delete_window_s)
                        share = fleet.fleet_delete_share, fleet.max_delete_floor
                        return await _reserve(connection, effect, window, share)
                    case fx.StartApprovals():
                        await _start_approvals(connection, effect, now)
                    case fx.TakeOver() | fx.GiveBack():
                        self._released |= await record_adoption(connection, effect, now, log)
                    case fx.Finalise():
                        released = await _finalise(connection, effect, now, log)
                        self._released |= released
                        # Some of them may be another replica's.
                        await self._lease.wake(connection, released)
                    case _:
                        await _PLAINLY[type(effect)](connection, effect, now, log)
            log.count()
        finally:
            # Even after an error: whether the commit went through may be unknown.
            self._versions.bump(node)
            if isinstance(effect, fx.Finalise | fx.GiveBack | fx.TakeOver):
                self._versions.bump_all()
        return None

    async def remember_refusal(self, node: NodeName, fingerprint: str, now: datetime) -> None:
        """Keep that a panel refused these credentials, so that nobody tries them again.

        On no epoch's condition, and by dry runs too: five refusals lock the account out, whoever
        looks. A correction changes the fingerprint, so that a late note harms nothing.
        """
        try:
            async with self._store.recording() as session:
                connection = await session.connection()
                await insert_missing(connection, NODE_STATUS, [{"node": node, "changed_at": now}])
                await connection.execute(
                    update(NODE_STATUS)
                    .where(NODE_STATUS.c.node == node)
                    .values(refused_fingerprint=fingerprint)
                )
        finally:
            self._versions.bump(node)

    async def record_cycle(self, values: dict[str, Any], sent: Sequence[Sent] = ()) -> None:
        """Keep one turn in which something happened, and name its plan in its history.

        Args:
            values: the columns of `cycle`.
            sent: its calls, of which the refused and the unknown ones are told.
        """
        node = NodeName(values["node"])
        async with self._store.recording() as session:
            connection = await session.connection()
            await connection.execute(CYCLE.insert(), [values])
            log = EventLog(
                connection, node, values["finished_at"], values["id"], self._lease.epoch(node)
            )
            await log.append_sent(sent)
            await log.name_plan(values["plan_digest"], values["started_at"])


# -- the binding, the fleet's share, approvals -----------------------------------------------------


async def _bind(connection: AsyncConnection, effect: fx.Bind, now: datetime) -> None:
    row = {"node": effect.node, "match_digest": effect.match_digest, "bound_at": now}
    if effect.guid is not None:
        row["bound_guid"] = effect.guid
    await insert_missing(connection, NODE_STATUS, [{"node": effect.node, "changed_at": now}])
    await connection.execute(
        update(NODE_STATUS).where(NODE_STATUS.c.node == effect.node).values(row)
    )
    await connection.execute(
        update(INBOUND).where(INBOUND.c.node == effect.node).values(bound=False)
    )
    rows = [{"node": effect.node, "bound": True, **inbound_values(i)} for i in effect.inbounds]
    await upsert(connection, INBOUND, rows)


async def _reserve(
    connection: AsyncConnection,
    effect: fx.ReserveDeletes,
    window: timedelta,
    share: tuple[float, int],
) -> bool:
    """Take deletes from the fleet's share; one transaction, so that two turns never share one."""
    part, floor = share
    if connection.dialect.name != "sqlite":
        # Two sums at once would both see room; SQLite lets in one writer at a time anyway.
        await connection.execute(select(func.pg_advisory_xact_lock(BUDGET_LOCK)))
    owned = await connection.scalar(
        select(func.count()).where(JOURNAL.c.key.is_not(None), may_exist(JOURNAL.c.state))
    )
    recent = DELETE_BUDGET.c.at > effect.now - window
    taken = await connection.scalar(
        select(func.coalesce(func.sum(DELETE_BUDGET.c.deletes), 0)).where(recent)
    )
    known = await connection.scalars(
        select(DELETE_BUDGET.c.emails).where(recent, DELETE_BUDGET.c.node == effect.node)
    )
    # A delete whose answer was lost is sent again: nobody loses more by that.
    fresh = sorted(set(effect.emails).difference(*known))
    if not fresh:
        return True
    limit = max(floor, int(part * max(owned or 0, effect.owned)))
    if int(taken or 0) + len(fresh) > limit:
        return False
    await connection.execute(
        delete(DELETE_BUDGET).where(DELETE_BUDGET.c.at < effect.now - BUDGET_KEPT)
    )
    row = {
        "node": effect.node, "deletes": len(fresh), "emails": fresh,
        "owned": effect.owned, "at": effect.now,
    }  # fmt: skip
    await connection.execute(DELETE_BUDGET.insert(), [row])
    return True


async def _start_approvals(
    connection: AsyncConnection, effect: fx.StartApprovals, now: datetime
) -> None:
    meant = await connection.execute(
        select(PLAN_APPROVAL.c.id).where(
            PLAN_APPROVAL.c.node == effect.node, PLAN_APPROVAL.c.digest.in_(effect.digests)
        )
    )
    rows = [{"approval_id": number, "node": effect.node, "at": now} for number in meant.scalars()]
    await insert_missing(connection, APPROVAL_STARTED, rows)


# -- the journal -----------------------------------------------------------------------------------


async def _journal_intent(
    connection: AsyncConnection, effect: fx.JournalIntent, now: datetime, log: EventLog
) -> None:
    await _refuse_outdated(connection, effect)
    await _store_rows(connection, effect.rows, now)
    await log.append(events.GENERATION_JOURNALLED, journal_lines(effect.rows, after="intended"))


async def _refuse_outdated(connection: AsyncConnection, effect: fx.JournalIntent) -> None:
    """Refuse intents of keys that are not to live here any more.

    Between the reading that the plan came from and this transaction a key may have been moved: its
    new node sees no row here, so it may have begun to create. From here on it sees the row.
    """
    wanted = {row.key: row.generation for row in effect.rows if row.key is not None}
    keys = sorted(wanted)
    found: dict[str, int] = {}
    for start in range(0, len(keys), AT_ONCE):
        query = (
            select(KEY.c.id, KEY.c.generation)
            .join(PLACEMENT, PLACEMENT.c.key == KEY.c.id)
            .where(
                KEY.c.id.in_(keys[start : start + AT_ONCE]),
                KEY.c.deleted_at.is_(None),
                PLACEMENT.c.node == effect.node,
                PLACEMENT.c.leaving.is_(None),
            )
        )
        found |= {row[0]: row[1] for row in await connection.execute(query)}
    if found != wanted:
        raise ConcurrentUpdate(
            f"what is wanted on node {effect.node} changed during the turn", hint="look again"
        )


async def _record_rows(
    connection: AsyncConnection, effect: fx.RecordRows, now: datetime, log: EventLog
) -> None:
    seen = await compare(connection, effect.node, effect.rows)
    await _store_rows(connection, effect.rows, now)
    await _count_heals(connection, effect, now)
    await seen.tell(log)
    keys = {row.email: row.key or "" for row in effect.rows}
    await log.append(
        events.DRIFT_HEALED, [Line(keys.get(email, ""), email) for email in effect.healed]
    )
    waited = await first_ready_s(connection, effect.node, seen.born, now)
    gaps = await rotation_gaps_s(connection, effect.node, seen.born, now)
    log.after_commit.append(lambda: count_born(waited, gaps, len(seen.risen)))


async def _finalise(
    connection: AsyncConnection, effect: fx.Finalise, now: datetime, log: EventLog
) -> set[NodeName]:
    """Bury rows, book their counters, end what they kept; returns the nodes that waited for it."""
    rows = [gone.row for gone in effect.gone]
    values = [
        {**journal_values(row), "state": JournalState.GONE.value, "gone_at": now, "changed_at": now}
        for row in rows
    ]
    await upsert(connection, JOURNAL, values)
    await book_usage(connection, effect.gone, now)
    released = await end_placements(connection, effect.node)
    await log.append(events.GENERATION_FINALISED, gone_lines(rows))
    waited = await deletions_s(connection, rows, now)
    log.after_commit.append(lambda: count_deletions(waited))
    return released


async def _store_rows(
    connection: AsyncConnection, rows: Sequence[JournalRow], now: datetime
) -> None:
    values = [{**journal_values(row), "gone_at": None, "changed_at": now} for row in rows]
    await upsert(connection, JOURNAL, values)


async def _count_heals(connection: AsyncConnection, effect: fx.RecordRows, now: datetime) -> None:
    if not effect.tried:
        return
    query = select(HEAL.c.email, HEAL.c.times).where(HEAL.c.node == effect.node)
    known = {row[0]: row[1] for row in await connection.execute(query)}
    oldest = now - HEALS_KEPT
    old = [
        email
        for email, times in known.items()
        if all(datetime.fromisoformat(at) <= oldest for at in times)
    ]
    for start in range(0, len(old), AT_ONCE):
        some = old[start : start + AT_ONCE]
        await connection.execute(
            delete(HEAL).where(HEAL.c.node == effect.node, HEAL.c.email.in_(some))
        )
    rows = []
    for email in dict.fromkeys(effect.tried):
        recent = [at for at in known.get(email, ()) if datetime.fromisoformat(at) > oldest]
        rows.append({"node": effect.node, "email": email, "times": [*recent, now.isoformat()]})
    await upsert(connection, HEAL, rows)


# -- status ----------------------------------------------------------------------------------------


async def _write_status(
    connection: AsyncConnection, effect: fx.WriteStatus, now: datetime, log: EventLog
) -> None:
    values = {"node": effect.node, **status_values(effect.status), "changed_at": now}
    await upsert(connection, NODE_STATUS, [values])
    for event in effect.events:
        await log.append(event.name, [core_line(event)])
    ready = next((c for c in effect.status.conditions if c.type.value == "Ready"), None)
    answer = {
        "node": effect.node,
        "outcome": "" if ready is None else ready.reason,
        "detail": {} if ready is None else {"ready": ready.status, "message": ready.message},
        "at": now,
    }
    rows = [{"token": token, **answer} for token in effect.answered]
    await insert_missing(connection, REQUEST_ANSWER, rows)


_PLAINLY: dict[type, Callable[[AsyncConnection, Any, datetime, EventLog], Awaitable[None]]] = {
    fx.JournalIntent: _journal_intent,
    fx.RecordRows: _record_rows,
    fx.RecordInbounds: record_inbounds,
    fx.WriteStatus: _write_status,
}
