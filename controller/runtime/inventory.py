"""Inventories: one look at a panel, kept in the database so that a person can decide what to adopt.

Nothing is written on the panel. Callers: requests (inside the node's turn), the service. Not here: what
is put down (`core.inventory`), whose client it is (`desired_state.model.adopting`).
"""

from typing import Any

import structlog
from sqlalchemy import delete

from controller.core.inventory import take_inventory
from controller.core.observed import NotObserved
from controller.runtime.tables import FOUND_CLIENT
from controller.runtime.worker import Clock, Worker
from controller.telemetry import events
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName
from desired_state.store.adoption_rows import found_values
from desired_state.store.bulk import insert
from desired_state.store.engine import Store

log = structlog.get_logger(__name__)


class Inventories:
    """Takes inventories.

    Args:
        store: the database.
        worker: looks.
        clock: for rows.
    """

    def __init__(self, store: Store, worker: Worker, clock: Clock) -> None:
        self._store = store
        self._worker = worker
        self._clock = clock

    async def take(self, node: NodeName) -> dict[str, Any]:
        """Look at a node and keep what it holds in the place of what was found before.

        Returns:
            The answer to whoever asked: how many clients, or why there are none. No secret is in it.

        Raises:
            StoreError: nothing was kept.
        """
        try:
            look, desired = await self._worker.survey(node)
        except ConfigError as error:
            return {"node": node, "state": "failed", "error": error.message, "reason": "undeclared"}
        if isinstance(look, NotObserved):
            reason = look.reason.value
            return {"node": node, "state": "failed", "reason": reason, "error": look.message}
        if look.torn:
            torn = "the panel's lists of clients and inbounds disagree: try again"
            return {"node": node, "state": "failed", "reason": "TornList", "error": torn}
        found, now = take_inventory(look, desired), self._clock.now()
        rows = [
            {**found_values(client, node, number, self._store.vault), "found_at": now}
            for number, client in enumerate(found)
        ]
        async with self._store.recording() as session:
            connection = await session.connection()
            await connection.execute(delete(FOUND_CLIENT).where(FOUND_CLIENT.c.node == node))
            if rows:
                await insert(connection, FOUND_CLIENT, rows)
        log.info(events.INVENTORY_TAKEN, node=node, clients=len(rows))
        nameless = sum(len(inbound.nameless_clients) for inbound in look.inbounds)
        return {
            "node": node,
            "state": "taken",
            "error": None,
            "version": look.version,
            "clients": len(rows),
            "nameless": nameless,
        }
