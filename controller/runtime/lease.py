"""A controller's right to write: what panel writes and records are conditional on.

Callers: `reads` (the epoch that a turn carries), `records` (checks it in its transaction), the worker
(before each panel write), the service (which nodes to work on, when something changed). Here besides
the protocol: the lease of a controller that is alone. Not here: its lock (`single`), leases of
several replicas (`leases`).
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.panels.api.clock import since_boot
from controller.runtime import lease_rows
from controller.runtime.errors import HolderKind, LeaseLost
from controller.runtime.lease_rows import LEADER
from controller.telemetry import events
from desired_state.model.ids import Epoch, NodeName
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError

log = structlog.get_logger(__name__)

NOT_HELD = Epoch(0)
"""The epoch of a node that is not held: no record is written with it, epochs begin at 1."""


class Lease(Protocol):
    """The right to write to nodes."""

    @property
    def alone(self) -> bool:
        """Whether this process is the only one that writes status, so that readings may be kept."""
        ...

    @property
    def leads(self) -> bool:
        """Whether what runs once an installation may run here now."""
        ...

    @property
    def changed(self) -> asyncio.Event:
        """Set when nodes came or went, or there is something to take; whoever waits clears it."""
        ...

    def nodes(self) -> frozenset[NodeName] | None:
        """Nodes to work on; None means every declared one."""
        ...

    def take_woken(self) -> frozenset[NodeName]:
        """Hand out, once, held nodes to be looked at: newly claimed, or woken by another replica."""
        ...

    def epoch(self, node: NodeName) -> Epoch:
        """The epoch that a turn of this node carries; `NOT_HELD` where it is not held."""
        ...

    def may_write(self, node: NodeName) -> bool:
        """Whether a write to its panel may start now; asked without any wait."""
        ...

    def may_remove(self, node: NodeName) -> bool:
        """Whether a write may take a client away: not while a dead holder's may be on their way."""
        ...

    def turn(self, node: NodeName) -> AbstractContextManager[None]:
        """Keep the node for the length of a turn, as far as it is ours to decide."""
        ...

    async def check(self, connection: AsyncConnection, node: NodeName, epoch: Epoch) -> None:
        """Refuse a record of another epoch, inside the record's transaction and first in it.

        Raises:
            LeaseLost: the node's epoch is another one.
        """
        ...

    async def check_leads(self, connection: AsyncConnection) -> None:
        """The same for what runs once an installation.

        Raises:
            LeaseLost: another replica leads.
        """
        ...

    async def wake(self, connection: AsyncConnection, nodes: Iterable[NodeName]) -> None:
        """Tell whoever holds these nodes to look, as the last act of a transaction."""
        ...

    async def run(self) -> None:
        """Hold, renew, claim and release for as long as the service runs."""
        ...

    async def release_all(self) -> None:
        """Give everything back; nothing may be written from the call on."""
        ...


class SoleLease:
    """Every node, as long as the one lock is held: `take` and `release_all` bracket that time.

    The epoch is stored and grows with every start, so that a record of an earlier controller, should it
    still come, is refused.

    Args:
        elapsed: seconds that only grow.
    """

    alone = True

    def __init__(self, *, elapsed: Callable[[], float] = since_boot) -> None:
        self.changed = asyncio.Event()
        self._elapsed = elapsed
        self._store: Store | None = None
        self._me = ""
        self._epoch = NOT_HELD
        self._removes_from_s = 0.0

    async def take(self, store: Store, kind: HolderKind = HolderKind.ONE_SHOT) -> None:
        """Take every node, right after the lock was taken.

        Raises:
            StoreError: nothing was taken.
        """
        me = lease_rows.this_process(store.randomness.draw(5), kind.value)
        async with store.recording() as session:
            connection = await session.connection()
            now = await lease_rows.moment(connection, store.clock.now())
            epoch, wait_s = await lease_rows.take_alone(connection, me, now)
        self._removes_from_s = self._elapsed() + wait_s
        self._store, self._me, self._epoch = store, me.id, epoch
        self.changed.set()

    async def release_all(self) -> None:
        """Give everything back, just before the lock is: nothing may be written from now on."""
        store, self._store, self._epoch = self._store, None, NOT_HELD
        if store is None:
            return
        try:
            async with store.recording() as session:
                connection = await session.connection()
                now = await lease_rows.moment(connection, store.clock.now())
                await lease_rows.leave(connection, self._me, now)
        except StoreError as error:
            # The lock is what counts here, and the next one who takes it declares us dead.
            log.warning(events.LEASE_NOT_RELEASED, error=type(error).__name__)

    @property
    def leads(self) -> bool:
        """Whether the lock is held."""
        return self._store is not None

    def nodes(self) -> frozenset[NodeName] | None:
        """All of them."""
        return None

    def take_woken(self) -> frozenset[NodeName]:
        """Nothing: nobody else is there to wake one."""
        return frozenset()

    def epoch(self, node: NodeName) -> Epoch:
        """The same for every node."""
        del node
        return self._epoch

    def may_write(self, node: NodeName) -> bool:
        """Whether the lock is held."""
        del node
        return self._store is not None

    def may_remove(self, node: NodeName) -> bool:
        """Whether no request of a replica that died can still be on its way."""
        del node
        return self._elapsed() >= self._removes_from_s

    def turn(self, node: NodeName) -> AbstractContextManager[None]:
        """Nobody takes it away."""
        del node
        return nullcontext()

    async def check(self, connection: AsyncConnection, node: NodeName, epoch: Epoch) -> None:
        """Refuse whatever comes without the lock, or from an earlier controller's turn.

        Raises:
            LeaseLost: this controller does not hold the database, or not any more.
        """
        if epoch != self._epoch or not await self._is_held(connection):
            raise LeaseLost(f"epoch {epoch} of node {node} is not held by this process")

    async def check_leads(self, connection: AsyncConnection) -> None:
        """Refuse whatever comes without the lock.

        Raises:
            LeaseLost: this controller does not hold the database, or not any more.
        """
        if not await self._is_held(connection):
            raise LeaseLost("this process does not hold the database")

    async def wake(self, connection: AsyncConnection, nodes: Iterable[NodeName]) -> None:
        """Nobody else is there to be told."""
        del connection, nodes

    async def run(self) -> None:
        """There is nothing to renew: the lock ends with the process."""

    async def _is_held(self, connection: AsyncConnection) -> bool:
        if self._store is None:
            return False
        return await lease_rows.is_held(connection, LEADER, self._me, self._epoch)
