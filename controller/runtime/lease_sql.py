"""The statements of several replicas on PostgreSQL, and the connection that they run on.

All time is the server's. Every transaction is short, cannot wait for long, and is ended by the server
when its process stops in the middle: a paused replica must not hold a row that its successor needs.
Callers: `leases`. Not here: who asks when, deadlines.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from controller.runtime.lease_rows import LEADER, Member
from controller.runtime.single import LOCK
from desired_state.model.ids import Epoch, NodeName
from desired_state.store.engine import translated
from desired_state.store.errors import StoreUnreachable

STATEMENT_S = 2.5
"""Half of a renewal's period: one that hangs leaves time for another."""
KEPT = "1 day"
"""How long a replica is shown after its end."""
_CONNECT: dict[str, Any] = {
    # A server that vanished without a word is noticed before the lease is over.
    "connect_timeout": 3, "keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease as the database has it. `removes_in_s`: for so long nothing may be removed yet."""

    node: NodeName
    epoch: Epoch
    removes_in_s: float
    taken_over: bool = False


@dataclass(frozen=True, slots=True)
class Glance:
    """What there is to do. `wakes`: how often each held node was woken by anybody, ever."""

    is_due: bool
    live: int
    wakes: dict[NodeName, int]


class Line:
    """One connection to the database that nothing else uses.

    Args:
        url: of the database.
        name: what the server shows of it.
    """

    def __init__(self, url: URL, name: str) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,
            connect_args={**_CONNECT, "application_name": name},
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a short transaction.

        Raises:
            StoreError: nothing is known to be written.
        """
        try:
            with translated():
                # Wider than the server's own limits: those are for a server that answers.
                async with asyncio.timeout(2 * STATEMENT_S), self._engine.begin() as connection:
                    await connection.execute(_LIMITS, {"limit": f"{int(STATEMENT_S * 1000)}ms"})
                    yield connection
        except TimeoutError as error:
            message = f"the database did not answer within {2 * STATEMENT_S:.0f} s"
            raise StoreUnreachable(message) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._engine.dispose()


_LIMITS = text(
    "SELECT set_config('statement_timeout', :limit, true),"
    " set_config('idle_in_transaction_session_timeout', :limit, true)"
)

# -- one replica -----------------------------------------------------------------------------------


async def join(connection: AsyncConnection, me: Member, ttl_s: float) -> bool:
    """Appear as a live replica; False while a one-shot run holds the database."""
    if not await may_begin(connection):
        return False
    await connection.execute(_FORGET, {"kept": KEPT})
    values = {"me": me.id, "kind": me.kind, "host": me.host, "pid": me.pid, "ttl": ttl_s}
    await connection.execute(_JOIN, values)
    return True


async def may_begin(connection: AsyncConnection) -> bool:
    """Keep one-shot runs out until the end of this transaction; False where one is at work."""
    return bool(await connection.scalar(_SHARE, {"lock": LOCK}))


async def renew(connection: AsyncConnection, me: str, ttl_s: float) -> bool:
    """Live on; False when declared dead: everything is lost then."""
    return await connection.scalar(_RENEW, {"me": me, "ttl": ttl_s}) is not None


async def glance(connection: AsyncConnection, me: str) -> Glance:
    """Tell whether there is anything to take, to reap, or to wake up for."""
    row = (await connection.execute(_GLANCE, {"me": me, "leader": LEADER})).one()
    wakes = {NodeName(node): int(number) for node, number in row.wakes.items()}
    return Glance(row.is_due, row.live, wakes)


# -- all of them -----------------------------------------------------------------------------------


async def reap(connection: AsyncConnection, me: str) -> list[str]:
    """Declare dead whoever did not renew in time, and one-shot runs, which cannot live now.

    The row's lock serialises this with a renewal that is on its way: whoever holds it is passed over
    and asked again soon.
    """
    return list((await connection.execute(_REAP, {"me": me})).scalars())


async def add_missing(connection: AsyncConnection) -> None:
    """Make a lease for every declared node, and the reserved one."""
    await connection.execute(_ADD, {"leader": LEADER})


async def count(connection: AsyncConnection) -> tuple[int, int]:
    """Count declared nodes and live replicas."""
    row = (await connection.execute(_COUNT)).one()
    return int(row.nodes), int(row.live)


async def mine(connection: AsyncConnection, me: str) -> dict[NodeName, tuple[Claimed, bool]]:
    """Read what is held, and whether it is still declared (the reserved lease counts as such)."""
    rows = await connection.execute(_MINE, {"me": me, "leader": LEADER})
    return {NodeName(r.node): (_claimed(r), bool(r.declared)) for r in rows}


async def claim(connection: AsyncConnection, me: str, want: int, wait_s: float) -> list[Claimed]:
    """Take up to so many free nodes; of one whose holder died, `wait_s` passes before a removal."""
    values = {"me": me, "want": want, "wait": wait_s, "leader": LEADER}
    return [_claimed(row) for row in await connection.execute(_CLAIM, values)]


async def claim_leader(connection: AsyncConnection, me: str, wait_s: float) -> list[Claimed]:
    """Take the reserved lease if it is free."""
    values = {"me": me, "want": 1, "wait": wait_s, "leader": LEADER}
    return [_claimed(row) for row in await connection.execute(_CLAIM_LEADER, values)]


async def give(connection: AsyncConnection, me: str, nodes: list[NodeName]) -> None:
    """Let others take these."""
    await connection.execute(_GIVE, {"me": me, "nodes": nodes})


async def limit_idling(connection: AsyncConnection, limit_s: float) -> None:
    """Let the server end this transaction when its process stops in the middle of it."""
    await connection.execute(_IDLE, {"limit": f"{int(limit_s * 1000)}ms"})


def _claimed(row: Any) -> Claimed:  # noqa: ANN401  # a row of text SQL
    wait_s = max(0.0, float(row.removes_in_s or 0.0))
    return Claimed(NodeName(row.node), Epoch(row.epoch), wait_s, bool(row.taken_over))


_SHARE = text("SELECT pg_try_advisory_xact_lock_shared(:lock)")
_IDLE = text("SELECT set_config('idle_in_transaction_session_timeout', :limit, true)")
_SECONDS = "make_interval(secs => CAST({} AS double precision))"
_WAIT = "CAST(EXTRACT(EPOCH FROM l.removes_at - clock_timestamp()) AS double precision)"
# Not "no live one": a holder that joined after a statement began is neither to that statement.
_FREE = (
    "(l.holder IS NULL OR EXISTS"
    " (SELECT 1 FROM status.replica r WHERE r.id = l.holder AND r.state = 'dead'))"
)
_DECLARED = "EXISTS (SELECT 1 FROM desired.node n WHERE n.name = l.node)"

_FORGET = text(
    "DELETE FROM status.replica r WHERE r.state <> 'live'"
    " AND r.ended_at < clock_timestamp() - CAST(:kept AS interval)"
    " AND NOT EXISTS (SELECT 1 FROM status.node_lease l WHERE l.holder = r.id)"
)
_JOIN = text(
    "INSERT INTO status.replica (id, kind, host, pid, state, started_at, expires_at)"  # noqa: S608  # constants
    " VALUES (:me, :kind, :host, :pid, 'live', clock_timestamp(),"
    f" clock_timestamp() + {_SECONDS.format(':ttl')})"
)
_RENEW = text(
    f"UPDATE status.replica SET expires_at = clock_timestamp() + {_SECONDS.format(':ttl')}"  # noqa: S608  # constants
    " WHERE id = :me AND state = 'live' RETURNING 1"
)
_OVER = "r.state = 'live' AND r.id <> :me AND coalesce(r.expires_at < clock_timestamp(), true)"
_REAP = text(
    "UPDATE status.replica SET state = 'dead', ended_at = clock_timestamp() WHERE id IN"  # noqa: S608  # constants
    f" (SELECT r.id FROM status.replica r WHERE {_OVER} FOR UPDATE SKIP LOCKED) RETURNING id"
)
_GLANCE = text(
    f"SELECT EXISTS (SELECT 1 FROM status.replica r WHERE {_OVER})"  # noqa: S608  # constants
    f" OR EXISTS (SELECT 1 FROM status.node_lease l WHERE {_FREE}"
    f" AND (l.node = :leader OR {_DECLARED}))"
    " OR EXISTS (SELECT 1 FROM desired.node n WHERE NOT EXISTS"
    " (SELECT 1 FROM status.node_lease l WHERE l.node = n.name)) AS is_due,"
    " (SELECT count(*) FROM status.replica r WHERE r.state = 'live') AS live,"
    " coalesce((SELECT json_object_agg(w.node, w.number) FROM status.node_wake w"
    " JOIN status.node_lease l ON l.node = w.node WHERE l.holder = :me), '{}') AS wakes"
)
# A node that is declared anew begins above every epoch that a sole controller wrote with.
_ADD = text(
    "INSERT INTO status.node_lease (node, epoch) SELECT d.name, coalesce("
    "(SELECT l.epoch FROM status.node_lease l WHERE l.node = :leader), 0)"
    " FROM (SELECT name FROM desired.node UNION SELECT CAST(:leader AS text)) d"
    " WHERE NOT EXISTS (SELECT 1 FROM status.node_lease l WHERE l.node = d.name)"
    " ORDER BY d.name ON CONFLICT DO NOTHING"
)
_COUNT = text(
    "SELECT (SELECT count(*) FROM desired.node) AS nodes,"
    " (SELECT count(*) FROM status.replica WHERE state = 'live') AS live"
)
_MINE = text(
    f"SELECT l.node, l.epoch, {_WAIT} AS removes_in_s, false AS taken_over,"  # noqa: S608  # constants
    f" (l.node = :leader OR {_DECLARED}) AS declared"
    " FROM status.node_lease l WHERE l.holder = :me"
)
_GIVE = text("UPDATE status.node_lease SET holder = NULL WHERE holder = :me AND node = ANY(:nodes)")


def _claiming(which: str) -> TextClause:
    """Make the claim of some free leases.

    Free is what nobody holds, or somebody who was declared dead: times are not compared here, since a
    renewal that began in time and commits late could not be seen. A holder that died may have a
    request on its way: nothing is removed until it must have ended.
    """
    return text(
        "WITH c AS (SELECT l.node, l.holder IS NOT NULL AS taken_over FROM status.node_lease l"  # noqa: S608  # constants
        f" WHERE {which} AND {_FREE}"
        " ORDER BY l.node LIMIT :want FOR UPDATE SKIP LOCKED)"
        " UPDATE status.node_lease l SET holder = :me, epoch = l.epoch + 1,"
        " taken_at = clock_timestamp(), removes_at = CASE WHEN c.taken_over"
        f" THEN clock_timestamp() + {_SECONDS.format(':wait')} ELSE l.removes_at END"
        " FROM c WHERE l.node = c.node AND EXISTS"
        " (SELECT 1 FROM status.replica r WHERE r.id = :me AND r.state = 'live')"
        f" RETURNING l.node, l.epoch, {_WAIT} AS removes_in_s, c.taken_over"
    )


_CLAIM = _claiming(f"l.node <> :leader AND {_DECLARED}")
_CLAIM_LEADER = _claiming("l.node = :leader")
