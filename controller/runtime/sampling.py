"""What a look tells about use and load, into status: one transaction a sample, none without news.

It costs no request: the turn's last look is the sample. Callers: the worker, at the end of a turn, while
no other turn of the node runs. Not here: the rules (`controller.core.load`), what follows from them.
"""

from dataclasses import dataclass
from math import inf

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.load import Load, Measured, is_worth_storing, measure
from controller.core.observed import Observation
from controller.runtime.errors import LeaseError
from controller.runtime.lease import Lease
from controller.runtime.tables import NODE_STATUS
from controller.runtime.versions import StatusVersions
from controller.telemetry import events
from desired_state.model.ids import NodeName
from desired_state.store.bulk import insert_missing
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Memory:
    """What is kept of a node. `stored`: its load as the database has it."""

    stored: Load
    measured: Measured | Load
    sampled_s: float = -inf


class Sampler:
    """Takes samples of nodes.

    Args:
        store: the database.
        versions: told of what is written.
        lease: what every sample is conditional on.
        clock: for `sampled_at`.
        every_s: looks of a node that come sooner after each other are one sample.
    """

    def __init__(
        self,
        store: Store,
        versions: StatusVersions,
        lease: Lease,
        clock: Clock,
        *,
        every_s: float = 0.0,
    ) -> None:
        self._store = store
        self._versions = versions
        self._lease = lease
        self._clock = clock
        self._every_s = every_s
        self._nodes: dict[NodeName, _Memory] = {}

    async def sample(self, look: Observation, at_s: float) -> None:
        """Take a look that was trusted as a sample; one that cannot be stored is caught up by the next.

        Args:
            look: of the turn that ends.
            at_s: now, on the monotonic clock.
        """
        memory = self._nodes.get(look.node)
        if memory is not None and at_s - memory.sampled_s < self._every_s:
            return
        try:
            await self._sample(look, at_s)
        except (StoreError, LeaseError) as error:
            # What is in memory may be ahead of the database.
            self._nodes.pop(look.node, None)
            log.warning(events.SAMPLE_LOST, node=look.node, error=type(error).__name__)

    async def _sample(self, look: Observation, at_s: float) -> None:
        memory = self._nodes.get(look.node) or await self._remember(look.node)
        memory.measured = measure(memory.measured, look, at_s)
        memory.sampled_s = at_s
        load = memory.measured.load
        if not is_worth_storing(memory.stored, load):
            return
        epoch = self._lease.epoch(look.node)
        async with self._store.recording() as session:
            connection = await session.connection()
            await self._lease.check(connection, look.node, epoch)
            await self._store_load(connection, look.node, load)
        memory.stored = load
        self._versions.note()

    async def _remember(self, node: NodeName) -> _Memory:
        """Begin with what an earlier process stored."""
        columns = (
            NODE_STATUS.c.traffic_rate_bps, NODE_STATUS.c.cpu_share, NODE_STATUS.c.memory_share,
        )  # fmt: skip
        async with self._store.reading() as session:
            row = (
                await session.execute(select(*columns).where(NODE_STATUS.c.node == node))
            ).first()
        stored = Load() if row is None else Load(*row)
        memory = self._nodes[node] = _Memory(stored, stored)
        return memory

    async def _store_load(self, connection: AsyncConnection, node: NodeName, load: Load) -> None:
        now = self._clock.now()
        await insert_missing(connection, NODE_STATUS, [{"node": node, "changed_at": now}])
        await connection.execute(
            update(NODE_STATUS)
            .where(NODE_STATUS.c.node == node)
            .values(
                traffic_rate_bps=load.traffic_rate_bps,
                cpu_share=load.cpu_share,
                memory_share=load.memory_share,
                sampled_at=now,
            )
        )
