"""Looks that somebody waits for, as replicas tell each other: asked for, made, and how old by now.

Ages are told by the database's clock, on SQLite by ours. Callers: `looks`. Not here: one's own looks, which
stay in memory; what follows from them (`scheduling.proofs`, `successors`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.runtime.lease_rows import moment
from controller.runtime.tables import PLACEMENT
from desired_state.model.ids import NodeName
from desired_state.scheduling.proofs import FRESH_S
from desired_state.store.bulk import upsert
from desired_state.store.tables.sight import SightRow

SIGHT = cast("Table", SightRow.__table__)


async def read_sights(
    connection: AsyncConnection, local: datetime
) -> dict[NodeName, datetime | None]:
    """Read until when recent looks confirm what is recorded of nodes; `local`: our clock."""
    now = await moment(connection, local)
    recent = SIGHT.c.seen_at.between(now - timedelta(seconds=FRESH_S), now)
    query = select(SIGHT.c.node, SIGHT.c.confirms_until).where(recent)
    return {NodeName(node): until for node, until in await connection.execute(query)}


async def ask(connection: AsyncConnection, nodes: Iterable[NodeName], local: datetime) -> None:
    """Note that somebody waits for a look at these nodes."""
    now = await moment(connection, local)
    rows = [{"node": node, "asked_at": now} for node in sorted(set(nodes))]
    await upsert(connection, SIGHT, rows)


async def is_asked(connection: AsyncConnection, node: NodeName) -> bool:
    """Tell whether somebody asked for a look at this node since it was seen last."""
    query = select(SIGHT.c.asked_at, SIGHT.c.seen_at).where(SIGHT.c.node == node)
    row = (await connection.execute(query)).one_or_none()
    return row is not None and (row[1] is None or row[1] <= row[0])


async def tell(
    connection: AsyncConnection, node: NodeName, until: datetime, local: datetime
) -> frozenset[NodeName]:
    """Note that a node was seen well just now; returns the nodes that keys leave for it."""
    now = await moment(connection, local)
    seen = update(SIGHT).where(SIGHT.c.node == node)
    await connection.execute(seen.values(seen_at=now, confirms_until=until))
    new = PLACEMENT.alias("new")
    query = (
        select(PLACEMENT.c.node)
        .distinct()
        .join(new, (new.c.key == PLACEMENT.c.key) & (new.c.node == node))
        .where(PLACEMENT.c.node != node, PLACEMENT.c.leaving.is_not(None), new.c.leaving.is_(None))
    )
    return frozenset(NodeName(name) for name in await connection.scalars(query))
