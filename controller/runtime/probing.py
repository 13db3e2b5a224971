"""Looks that a person asked for: probe, connection test, preview of a rebuild; they write nothing there.

Callers: requests, by kind. Not here: when they are made, storing the answer.
"""

from typing import Any

from controller.core.observed import NotObserved
from controller.panels.panel import PanelPool
from controller.runtime.documents import answer_document
from controller.runtime.rebuilding import preview_document
from controller.runtime.report import NodeReport
from controller.runtime.worker import Clock, Worker
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName


class Probing:
    """Looks at nodes for requests, each inside its node's turn: nobody else is at its panel.

    Args:
        worker: looks.
        pool: of panels.
        clock: for durations.
    """

    def __init__(self, worker: Worker, pool: PanelPool, clock: Clock) -> None:
        self._worker = worker
        self._pool = pool
        self._clock = clock

    async def probe(self, node: NodeName) -> dict[str, Any]:
        """Look, and tell what a turn would do."""
        turn = await self._worker.look(node)
        return answer_document(NodeReport(node).plus(turn))

    async def preview(self, node: NodeName) -> dict[str, Any]:
        """Look, and tell what a rebuild would bind and create."""
        return preview_document(await self._worker.look(node, anew=True))

    async def test(self, node: NodeName) -> dict[str, Any]:
        """Reach the panel as if for the first time: a new connection, a new login, one look."""
        await self._pool.drop(node)
        started_s = self._clock.monotonic()
        try:
            look = await self._worker.observe(node)
        except ConfigError as error:
            return {"node": node, "state": "failed", "error": error.message, "reason": "undeclared"}
        took_s = round(self._clock.monotonic() - started_s, 3)
        if isinstance(look, NotObserved):
            return {
                "node": node,
                "state": "failed",
                "reason": look.reason.value,
                "error": look.message,
                "duration_s": took_s,
            }
        return {
            "node": node,
            "state": "answers",
            "error": None,
            "version": look.version,
            "family": look.features.family.value,
            "guid": look.guid,
            "xray": look.xray.value,
            "inbounds": [
                {"id": i.id, "protocol": i.protocol, "port": i.port, "tag": i.tag}
                for i in look.inbounds
            ],
            "duration_s": took_s,
        }
