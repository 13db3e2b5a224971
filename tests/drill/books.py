"""Reads what panels and database tell, for the audit; and watches who holds which node while a drill runs.

Callers: the drill. Not here: judging (`audit`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from desired_state.store.engine import Store
from desired_state.store.tables.status import (
    CycleRow,
    EventRow,
    NodeLeaseRow,
    RemoteGenerationRow,
    ReplicaRow,
)
from tests.drill.audit import Account, Books, Reign, Row
from tests.drill.farm import Remote

GLANCE_S = 0.1
"""Shorter than any lease: no epoch comes and goes between two glances."""


@dataclass
class Watch:
    """Every reign that was seen. `names`: of replicas, by their process ids."""

    names: Mapping[int, str]
    seen: dict[tuple[str, int], Reign] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)

    async def glance(self, store: Store) -> None:
        """Note who holds what at this moment."""
        query = select(NodeLeaseRow, ReplicaRow.pid).outerjoin(
            ReplicaRow, ReplicaRow.id == NodeLeaseRow.holder
        )
        async with store.reading() as session:
            rows = (await session.execute(query)).all()
        self.now = {}
        for lease, pid in rows:
            if lease.holder is None or lease.taken_at is None:
                continue
            holder = self.names.get(pid, "?")
            self.now[lease.node] = holder
            reign = Reign(lease.node, lease.epoch, holder, lease.taken_at)
            self.seen.setdefault((lease.node, lease.epoch), reign)

    def of(self, holder: str) -> frozenset[str]:
        """Nodes that somebody holds as of the last glance."""
        return frozenset(n for n, name in self.now.items() if name == holder and n != "*")


@asynccontextmanager
async def watching(store: Store, names: Mapping[int, str]) -> AsyncIterator[Watch]:
    """Glance again and again while the block runs, and once more at its end."""
    watch = Watch(names)

    async def look() -> None:
        while True:
            await watch.glance(store)
            await asyncio.sleep(GLANCE_S)

    task = asyncio.create_task(look())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])
    await watch.glance(store)


async def books_of(store: Store, watch: Watch) -> Books:
    """Read what the audit wants of the database."""
    async with store.reading() as session:
        journal = await session.scalars(select(RemoteGenerationRow))
        events = await session.scalars(
            select(EventRow).where(EventRow.epoch > 0).order_by(EventRow.id)
        )
        cycles = await session.scalars(select(CycleRow))
        return Books(
            journal=tuple(
                Row(r.node, r.email, r.key, r.state, r.delete_reason, r.gone_at) for r in journal
            ),
            reigns=tuple(watch.seen.values()),
            recorded=tuple((event.node, event.epoch) for event in events),
            cycles=tuple(cycle.counts for cycle in cycles),
        )


async def account_of(
    node: str, panel: Remote, strangers: Mapping[str, Any], **more: bool
) -> Account:
    """Ask a panel for its account. `strangers`: as they were before."""
    now = await panel.clients()
    return Account(
        node,
        trail=tuple(await panel.ask("/trail")),
        requests=tuple(await panel.ask("/requests")),
        strangers=(strangers, {email: now.get(email) for email in strangers}),
        **more,
    )
