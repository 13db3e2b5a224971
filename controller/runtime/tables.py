"""The tables that turns read and write thousands of rows of, and one statement for doing so.

Core tables instead of mapped classes: a turn reads 50,000 keys as plain tuples and stores rows by
`executemany`. Callers: `reads`, `keys_here`, `records`. Not here: what is written.
"""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.store.tables import desired, status

INBOUND = cast("Table", status.InboundRow.__table__)
NODE_STATUS = cast("Table", status.NodeStatusRow.__table__)
PLACEMENT = cast("Table", status.PlacementRow.__table__)
JOURNAL = cast("Table", status.RemoteGenerationRow.__table__)
KEY_USAGE = cast("Table", status.KeyUsageRow.__table__)
DELETE_BUDGET = cast("Table", status.DeleteBudgetRow.__table__)
REQUEST_ANSWER = cast("Table", status.RequestAnswerRow.__table__)
REQUEST_PROGRESS = cast("Table", status.RequestProgressRow.__table__)
CYCLE = cast("Table", status.CycleRow.__table__)
EVENT = cast("Table", status.EventRow.__table__)
HEAL = cast("Table", status.HealRow.__table__)
APPROVAL_STARTED = cast("Table", status.ApprovalStartedRow.__table__)

REVISION = cast("Table", desired.RevisionCounterRow.__table__)
KEY = cast("Table", desired.KeyRow.__table__)
KEY_GENERATION = cast("Table", desired.KeyGenerationRow.__table__)
SUBSCRIPTION = cast("Table", desired.SubscriptionRow.__table__)
REQUEST = cast("Table", desired.RequestRow.__table__)
WAKE = cast("Table", desired.WakeRow.__table__)
PLAN_APPROVAL = cast("Table", desired.PlanApprovalRow.__table__)

AT_ONCE = 500
"""Values in one IN list; well below every database's limit of parameters."""


async def upsert(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or overwrite those that exist with the columns given.

    Args:
        connection: in a transaction.
        table: its primary key tells which rows exist.
        rows: all with the same columns, the primary key among them.
    """
    if not rows:
        return
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows)
    )


async def insert_missing(
    connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]
) -> None:
    """Insert rows whose primary key is not there yet."""
    if not rows:
        return
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    await connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))
