"""What a scheduler's pass leaves in the history of nodes and keys: which keys moved, and why.

Callers: `place`, in the transaction of the pass. Not here: what nodes do about it (`runtime.history`).
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import cast

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.telemetry import events
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.placement import Placement
from desired_state.store.tables.status import EventRow

_EVENT = cast("Table", EventRow.__table__)
APART = 20
"""More keys that move to one node for one reason are told of in one line."""


async def tell_moves(
    connection: AsyncConnection, added: Iterable[Placement], now: datetime
) -> None:
    """Append a line for each key that was given another node; first placings are no moves."""
    moved: dict[tuple[NodeName, str], list[KeyId]] = defaultdict(list)
    for placement in added:
        if " from " in placement.reason:
            moved[placement.node, placement.reason].append(placement.key)
    rows = [
        {"at": now, "node": node, "name": events.KEY_MOVED, "key": key, "detail": detail}
        for (node, reason), keys in sorted(moved.items())
        for key, detail in _lines(reason, keys)
    ]
    if rows:
        await connection.execute(_EVENT.insert(), rows)


def _lines(reason: str, keys: list[KeyId]) -> list[tuple[str, str]]:
    if len(keys) > APART:
        return [("", f"{len(keys)} keys, {reason}")]
    return [(key, reason) for key in sorted(keys)]
