"""Statements on `replica` and `node_lease` that every kind of lease shares.

Moments are the database's own on PostgreSQL: no replica's clock ever decides. Callers: `lease` (one
controller alone), `leases` (one of several), `single`. Not here: deadlines, when what is asked.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.model.ids import Epoch, NodeName
from desired_state.store.tables import status

REPLICA = cast("Table", status.ReplicaRow.__table__)
NODE_LEASE = cast("Table", status.NodeLeaseRow.__table__)
NODE_WAKE = cast("Table", status.NodeWakeRow.__table__)

LEADER = NodeName("*")
"""The reserved lease for what runs once an installation; no node can have this name."""
REMOVES_AFTER_S = 30.0
"""How long a write may take: requests of a holder that died may still arrive until then."""
LIVE, LEFT, DEAD = "live", "left", "dead"


@dataclass(frozen=True, slots=True)
class Member:
    """A controller process as others see it."""

    id: str
    kind: str
    host: str
    pid: int


def this_process(drawn: bytes, kind: str) -> Member:
    """Describe this process under a new id."""
    return Member(drawn.hex(), kind, socket.gethostname(), os.getpid())


async def moment(connection: AsyncConnection, local: datetime) -> datetime:
    """Tell the time by the database's clock; SQLite has none of its own."""
    if connection.dialect.name == "sqlite":
        return local
    return datetime.fromisoformat(str(await connection.scalar(select(func.clock_timestamp()))))


async def take_alone(connection: AsyncConnection, me: Member, now: datetime) -> tuple[Epoch, float]:
    """Take everything, as the holder of the one lock of a database.

    Whoever is still called live has lost that lock, or its lease is over: it is declared dead, and a
    record that it would still write carries an epoch of the past.

    Returns:
        The epoch of all nodes, above every one that was ever given out; and for how many seconds
        clients must not be removed, since requests of a dead holder may be on their way.
    """
    wait_s = await _flight_left_s(connection, now)
    removes_at = now + timedelta(seconds=wait_s) if wait_s else None
    over = REPLICA.c.state == LIVE
    await connection.execute(update(REPLICA).where(over).values(state=DEAD, ended_at=now))
    if connection.dialect.name == "sqlite":
        # One row: nobody but the holder of the file's lock ever works on it.
        await connection.execute(delete(REPLICA))
    await insert_member(connection, me, now, None)
    highest = await connection.scalar(select(func.coalesce(func.max(NODE_LEASE.c.epoch), 0)))
    epoch = Epoch(int(highest or 0) + 1)
    taken = {"holder": me.id, "epoch": epoch, "taken_at": now, "removes_at": removes_at}
    changed = await connection.execute(update(NODE_LEASE).values(**taken))
    leads = await connection.scalar(select(NODE_LEASE.c.node).where(NODE_LEASE.c.node == LEADER))
    if not changed.rowcount or leads is None:
        await connection.execute(NODE_LEASE.insert(), [{"node": LEADER, **taken}])
    return epoch, wait_s


async def _flight_left_s(connection: AsyncConnection, now: datetime) -> float:
    """Seconds until the last request that an expired replica may have begun has ended."""
    last: datetime | None = await connection.scalar(
        select(func.max(REPLICA.c.expires_at)).where(REPLICA.c.state != LEFT)
    )
    if last is None:
        return 0.0
    return max(0.0, (last - now).total_seconds() + REMOVES_AFTER_S)


async def insert_member(
    connection: AsyncConnection, me: Member, now: datetime, expires_at: datetime | None
) -> None:
    """Appear as a live controller."""
    row = {
        "id": me.id, "kind": me.kind, "host": me.host, "pid": me.pid, "state": LIVE,
        "started_at": now, "expires_at": expires_at,
    }  # fmt: skip
    await connection.execute(REPLICA.insert(), [row])


async def leave(connection: AsyncConnection, me: str, now: datetime) -> None:
    """Give every lease back and say goodbye; epochs stay, so that the next holder's are higher."""
    mine = NODE_LEASE.c.holder == me
    await connection.execute(update(NODE_LEASE).where(mine).values(holder=None))
    live = (REPLICA.c.id == me) & (REPLICA.c.state == LIVE)
    await connection.execute(update(REPLICA).where(live).values(state=LEFT, ended_at=now))


async def is_held(connection: AsyncConnection, node: NodeName, me: str, epoch: Epoch) -> bool:
    """Whether a lease is held so, and stays so until the end of this transaction.

    A shared lock: records of many nodes may stand on one lease at the same time.
    """
    query = select(NODE_LEASE.c.epoch).where(
        NODE_LEASE.c.node == node, NODE_LEASE.c.holder == me, NODE_LEASE.c.epoch == epoch
    )
    return await connection.scalar(query.with_for_update(read=True)) is not None


async def touch(connection: AsyncConnection, node: NodeName, me: str, epoch: Epoch) -> bool:
    """The same with the lease's own row written: one record of a node at a time."""
    held = (NODE_LEASE.c.node == node, NODE_LEASE.c.holder == me, NODE_LEASE.c.epoch == epoch)
    touched = update(NODE_LEASE).where(*held).values(touched_at=func.clock_timestamp())
    return bool((await connection.execute(touched)).rowcount)


async def wake(connection: AsyncConnection, nodes: Iterable[NodeName]) -> None:
    """Tell whoever holds these nodes that there is something to do; PostgreSQL only.

    The last statement of a transaction, in one order of names: nobody waits for anybody in a circle.
    """
    rows = [{"node": node, "number": 1} for node in sorted(set(nodes))]
    if not rows:
        return
    statement = postgresql.insert(NODE_WAKE).values(rows)
    counted = {"number": NODE_WAKE.c.number + 1}
    await connection.execute(statement.on_conflict_do_update(index_elements=["node"], set_=counted))


async def alive(connection: AsyncConnection) -> Member | None:
    """Return a replica that lives by the database's clock, the oldest one; PostgreSQL only."""
    query = (
        select(REPLICA.c.id, REPLICA.c.kind, REPLICA.c.host, REPLICA.c.pid)
        .where(REPLICA.c.state == LIVE, REPLICA.c.expires_at >= func.clock_timestamp())
        .order_by(REPLICA.c.started_at)
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Member(*row)
