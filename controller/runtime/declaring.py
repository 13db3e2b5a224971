"""Declared inbounds in the database: what a turn reads of them, and how what became of them is stored.

Callers: `reads`, `records`, each inside its own transaction. Not here: what is to be done
(`core.declared`), declaring them (`desired_state.commands.inbounds`).
"""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from controller.core import effects as fx
from controller.core.desired import DeclaredInbound, ManagedInbound
from controller.runtime.history import EventLog, core_line
from controller.runtime.tables import DECLARED_INBOUND, MANAGED_INBOUND
from desired_state.model.ids import InboundId, InboundName, NodeName
from desired_state.model.inbound import InboundSpec, InboundState
from desired_state.model.tariff import Labels
from desired_state.store.bulk import upsert
from desired_state.store.convert import spec_from_json
from desired_state.store.errors import ConcurrentUpdate

_FIELDS = tuple(field.name for field in fields(ManagedInbound))


async def read_inbounds(
    session: AsyncSession, node: NodeName, labels: Labels
) -> tuple[tuple[DeclaredInbound, ...], tuple[ManagedInbound, ...]]:
    """Read what is declared for a node with these labels, or was and left a row; both sorted by name."""
    connection = await session.connection()
    query = select(MANAGED_INBOUND).where(MANAGED_INBOUND.c.node == node)
    rows = (await connection.execute(query.order_by(MANAGED_INBOUND.c.name))).mappings()
    managed = tuple([_managed_from(dict(row)) for row in rows])
    known = {row.name for row in managed}
    declared = []
    query = select(DECLARED_INBOUND).order_by(DECLARED_INBOUND.c.name)
    for row in (await connection.execute(query)).mappings():
        spec = spec_from_json(InboundSpec, row["spec"])
        leaving = row["orphaned"] or not spec.covers(labels)
        if not leaving or spec.name in known:
            declared.append(DeclaredInbound(spec, leaving))
    return tuple(declared), managed


async def record_inbounds(
    connection: AsyncConnection, effect: fx.RecordInbounds, now: datetime, log: EventLog
) -> None:
    """Store rows, strike out those that are over, and tell their history.

    Raises:
        ConcurrentUpdate: the declaration of an intent is gone: nothing would ever end what it makes.
    """
    names = [row.name for row in effect.rows if row.sent_at is not None]
    if names:
        query = select(DECLARED_INBOUND.c.name).where(DECLARED_INBOUND.c.name.in_(names))
        found = set((await connection.execute(query)).scalars())
        if found != set(names):
            raise ConcurrentUpdate(
                f"what is declared for node {effect.node} changed during the turn",
                hint="look again",
            )
    values = [
        {**asdict(row), "state": row.state.value, "node": effect.node, "changed_at": now}
        for row in effect.rows
    ]
    await upsert(connection, MANAGED_INBOUND, values)
    if effect.gone:
        await connection.execute(
            delete(MANAGED_INBOUND).where(
                MANAGED_INBOUND.c.node == effect.node, MANAGED_INBOUND.c.name.in_(effect.gone)
            )
        )
    for event in effect.events:
        await log.append(event.name, [core_line(event)])


def _managed_from(values: dict[str, Any]) -> ManagedInbound:
    given = {name: values[name] for name in _FIELDS}
    given["name"] = InboundName(given["name"])
    given["state"] = InboundState(given["state"])
    if given["inbound_id"] is not None:
        given["inbound_id"] = InboundId(given["inbound_id"])
    return ManagedInbound(**given)
