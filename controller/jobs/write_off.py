"""Writes off what forgotten nodes owe: their journal rows become tombstones, their placements end.

A person said that the panel is gone for good (`commands.forgetting`); this carries it out in status, which is
the controller's. Level-triggered: a row that a turn in hand recorded meanwhile goes with the next pass.
Callers: the service, before the scheduler's pass. Not here: finalising, which takes a proof.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.jobs.place import Leading
from controller.telemetry import events
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.model.placement import DeleteReason
from desired_state.store.bulk import insert_missing
from desired_state.store.engine import Store
from desired_state.store.forgotten import pending_write_offs
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.forgotten import WriteOffRow
from desired_state.store.tables.inbounds import ManagedInboundRow
from desired_state.store.tables.sight import SightRow
from desired_state.store.tables.status import (
    EventRow,
    InboundRow,
    NodeStatusRow,
    PlacementRow,
    RemoteGenerationRow,
)

_JOURNAL = cast("Table", RemoteGenerationRow.__table__)
_PLACEMENT = cast("Table", PlacementRow.__table__)
_WRITE_OFF = cast("Table", WriteOffRow.__table__)
_EVENT = cast("Table", EventRow.__table__)
_NODE = cast("Table", NodeRow.__table__)
_OF_A_NODE = (
    cast("Table", NodeStatusRow.__table__),
    cast("Table", InboundRow.__table__),
    cast("Table", ManagedInboundRow.__table__),
    cast("Table", SightRow.__table__),
)
APART = 20
"""More clients than this are told of in one line; what became of each, its row tells."""


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """What was ended for one forgotten node. `freed`: nodes on which keys waited for it."""

    node: NodeName
    clients: int
    keys: int
    freed: tuple[NodeName, ...]


async def write_off(
    store: Store, now: datetime, lease: Leading | None = None
) -> tuple[WrittenOff, ...]:
    """Write off what every forgotten node owes; where there is none, one small reading.

    Raises:
        LeaseLost: another controller leads.
        StoreError: nothing was written.
    """
    async with store.reading() as session:
        if not await pending_write_offs(session):
            return ()
    async with store.recording() as session:
        connection = await session.connection()
        if lease is not None:
            await lease.check_leads(connection)
        done = [
            await _write_off(connection, numbers, node, now)
            for node, numbers in (await pending_write_offs(session)).items()
        ]
        if lease is not None:
            await lease.wake(connection, {node for one in done for node in one.freed})
    return tuple(done)


async def _write_off(
    connection: AsyncConnection, numbers: Sequence[int], node: NodeName, now: datetime
) -> WrittenOff:
    here = (_JOURNAL.c.node == node, may_exist(_JOURNAL.c.state))
    query = select(_JOURNAL.c.key, _JOURNAL.c.email, _JOURNAL.c.state).where(*here)
    rows = (await connection.execute(query.order_by(_JOURNAL.c.email))).all()
    await connection.execute(
        update(_JOURNAL)
        .where(*here)
        .values(
            state=JournalState.WRITTEN_OFF.value,
            # Whatever it was to be deleted for: if it comes back, it goes for this.
            delete_reason=DeleteReason.WRITTEN_OFF.value,
            projection="",
            create_unknown_at=None,
            gone_at=now,
            changed_at=now,
        )
    )
    await connection.execute(delete(_PLACEMENT).where(_PLACEMENT.c.node == node))
    freed = await connection.execute(
        update(_PLACEMENT)
        .where(_PLACEMENT.c.replaces == node)
        .values(replaces=None)
        .returning(_PLACEMENT.c.node)
    )
    names = tuple(sorted({NodeName(name) for name in freed.scalars()}))
    if not await connection.scalar(select(_NODE.c.name).where(_NODE.c.name == node)):
        # A node of the same name would be another panel.
        for table in _OF_A_NODE:
            await connection.execute(delete(table).where(table.c.node == node))
    owed = [(key, email, state) for key, email, state in rows if key is not None]
    keys = len({key for key, _, _ in owed})
    # Forgotten again before this came by: the last wish has it all.
    counts = [(0, 0)] * (len(numbers) - 1) + [(len(owed), keys)]
    await insert_missing(
        connection,
        _WRITE_OFF,
        [
            {"forgotten_id": number, "node": node, "clients": some, "keys": of, "at": now}
            for number, (some, of) in zip(numbers, counts, strict=True)
        ],
    )
    await _tell(connection, node, owed, now)
    return WrittenOff(node, len(owed), keys, names)


async def _tell(
    connection: AsyncConnection,
    node: NodeName,
    owed: Iterable[tuple[str, str, str]],
    now: datetime,
) -> None:
    some = list(owed)
    keys = len({key for key, _, _ in some})
    rows = [
        {
            "at": now, "last_at": now, "node": node, "name": events.DEBTS_WRITTEN_OFF, "key": "",
            "email": "", "before": "", "after": "",
            "detail": f"{len(some)} clients of {keys} keys; nobody proved them gone",
        }
    ]  # fmt: skip
    if len(some) <= APART:
        rows += [
            {
                "at": now, "last_at": now, "node": node, "name": events.GENERATION_WRITTEN_OFF,
                "key": key, "email": email, "before": state,
                "after": JournalState.WRITTEN_OFF.value, "detail": "",
            }
            for key, email, state in some
        ]  # fmt: skip
    await connection.execute(_EVENT.insert(), rows)
