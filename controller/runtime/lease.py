"""A controller's right to write: what records are conditional on.

Callers: `reads` (the epoch that a turn carries), `records` (checks it in its transaction), the worker
(before each panel write). Not here: the lock of the embedded mode (`single`), leases of replicas.
"""

from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from controller.runtime.errors import LeaseLost
from desired_state.model.ids import Epoch, NodeName

SOLE = Epoch(0)
"""The epoch of a controller that holds the one lock of a database alone."""


class Lease(Protocol):
    """The right to write to nodes."""

    def epoch(self, node: NodeName) -> Epoch:
        """The epoch that a turn of this node carries."""
        ...

    def may_write(self, node: NodeName) -> bool:
        """Whether a write to its panel may start now; asked without any wait."""
        ...

    async def check(self, connection: AsyncConnection, node: NodeName, epoch: Epoch) -> None:
        """Refuse a record of another epoch, inside the record's transaction.

        Raises:
            LeaseLost: the node's epoch is another one.
        """
        ...


class SoleLease:
    """Every node, as long as the lock is held: `take` and `release` bracket that time."""

    def __init__(self) -> None:
        self._held = False

    def take(self) -> None:
        """The lock was taken."""
        self._held = True

    def release(self) -> None:
        """The lock is about to be given back: nothing may be written from now on."""
        self._held = False

    def epoch(self, node: NodeName) -> Epoch:
        """Always the one of a sole controller."""
        del node
        return SOLE

    def may_write(self, node: NodeName) -> bool:
        """Whether the lock is held."""
        del node
        return self._held

    async def check(self, connection: AsyncConnection, node: NodeName, epoch: Epoch) -> None:
        """Refuse whatever comes without the lock, or from a replica's turn."""
        del connection
        if not self._held or epoch != SOLE:
            raise LeaseLost(f"epoch {epoch} of node {node} is not held by this process")
