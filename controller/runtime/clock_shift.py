"""Moves stored moments that something waits by, after the wall clock was set.

What is moved: since when a node is out of reach, when a create ended without an answer, deletes that
count against the fleet's share, approvals in use, the next try of a node and of a webhook. What tells
history stays as it was written. Callers: `clock_steps`, in one transaction. Not here: noticing that the
clock was set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Column, Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.conditions import ConditionType
from controller.runtime.tables import APPROVAL_STARTED, DELETE_BUDGET, JOURNAL, NODE_STATUS
from desired_state.model.ids import NodeName
from desired_state.store.tables.status import WebhookDeliveryRow

WEBHOOK_DELIVERY = cast("Table", WebhookDeliveryRow.__table__)

AHEAD = timedelta(minutes=1)
"""Clocks of two machines may differ by so much: what lies further ahead was written by a wrong one."""
_WAITING: tuple[tuple[Table, Column[Any]], ...] = (
    (JOURNAL, JOURNAL.c.create_unknown_at),
    (DELETE_BUDGET, DELETE_BUDGET.c.at),
    (APPROVAL_STARTED, APPROVAL_STARTED.c.at),
)
_COMING: tuple[tuple[Table, Column[Any]], ...] = (
    (NODE_STATUS, NODE_STATUS.c.next_look_at),
    (WEBHOOK_DELIVERY, WEBHOOK_DELIVERY.c.next_at),
)
"""Lie ahead by their nature: a step back must not hold them up, one forward may bring them sooner."""
_LONGEST = timedelta(days=1)
"""No pause of these is longer."""

Move = Callable[[datetime], datetime]


@dataclass(frozen=True, slots=True)
class Shift:
    """A step of the wall clock. `now`: by the clock as it is; `nodes`: None means every one."""

    step: timedelta
    now: datetime
    nodes: frozenset[NodeName] | None = None

    def move(self, at: datetime) -> datetime:
        """A moment of the old clock by the new one.

        What would lie ahead was written by the new one already, between the step and its notice.
        """
        moved = at + self.step
        return moved if moved <= self.now else min(at, self.now)

    def sooner(self, at: datetime) -> datetime:
        """A moment that is yet to come; due now, not long ago, where a step forward overtook it."""
        return min(at + self.step, max(at, self.now))


async def shift(connection: AsyncConnection, by: Shift) -> int:
    """Move what waits, so that it has waited as long as before; returns how many moments."""
    moved = 0
    for table, column in _WAITING:
        moved += await _rewrite(connection, table, column, by.nodes, by.move)
    for table, column in _COMING:
        moved += await _rewrite(connection, table, column, by.nodes, by.sooner)
    return moved + await _rewrite_fallen(connection, by.nodes, by.move)


async def bring_back(
    connection: AsyncConnection, now: datetime, nodes: frozenset[NodeName] | None = None
) -> int:
    """Have whatever a clock that ran ahead left in the future begin now; returns how many moments.

    Args:
        connection: in a transaction.
        now: by the database's clock, where it has one.
        nodes: of which ones; None means every one. What belongs to no node is always looked at.
    """

    def back(at: datetime) -> datetime:
        return now if at > now + AHEAD else at

    moved = 0
    for table, column in (*_WAITING, *_COMING):
        ahead = _LONGEST if (table, column) in _COMING else AHEAD
        moved += await _rewrite(connection, table, column, nodes, back, after=now + ahead)
    return moved + await _rewrite_fallen(connection, nodes, back)


async def _rewrite(
    connection: AsyncConnection,
    table: Table,
    column: Column[Any],
    nodes: frozenset[NodeName] | None,
    move: Move,
    *,
    after: datetime | None = None,
) -> int:
    keys = list(table.primary_key)
    query = select(*keys, column).where(column.is_not(None)).with_for_update()
    if after is not None:
        query = query.where(column > after)
    if nodes is not None and "node" in table.c:
        query = query.where(table.c.node.in_(nodes))
    rows = (await connection.execute(query)).all()
    changed = [(row, to) for row in rows if (to := move(row[-1])) != row[-1]]
    if changed:
        here = [key == bindparam(f"at_{key.name}") for key in keys]
        await connection.execute(
            update(table).where(*here).values({column.name: bindparam("moved_to")}),
            [
                {f"at_{key.name}": value for key, value in zip(keys, row[:-1], strict=True)}
                | {"moved_to": to}
                for row, to in changed
            ],
        )
    return len(changed)


async def _rewrite_fallen(
    connection: AsyncConnection, nodes: frozenset[NodeName] | None, move: Move
) -> int:
    """Since when nodes are out of reach: conditions are one JSON, and failovers count from it."""
    query = (
        select(NODE_STATUS.c.node, NODE_STATUS.c.conditions)
        .where(NODE_STATUS.c.failures > 0)
        .with_for_update()
    )
    if nodes is not None:
        query = query.where(NODE_STATUS.c.node.in_(nodes))
    changed = []
    for node, conditions in (await connection.execute(query)).all():
        after = list(_moved(conditions or [], move))
        if after != conditions:
            changed.append({"at_node": node, "after": after})
    if changed:
        here = NODE_STATUS.c.node == bindparam("at_node")
        await connection.execute(
            update(NODE_STATUS).where(here).values(conditions=bindparam("after")), changed
        )
    return len(changed)


def _moved(conditions: list[dict[str, Any]], move: Move) -> Iterator[dict[str, Any]]:
    for one in conditions:
        if one["type"] == ConditionType.UNREACHABLE.value and one["since"]:
            since = move(datetime.fromisoformat(one["since"]))
            yield {**one, "since": since.isoformat()}
        else:
            yield one
