"""Disagreements between the journal and what the last look at each panel counted.

Callers: `queries.check`. Not here: single keys (`queries.check_keys`); foreign clients, which are none.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.queries.disagreements import Disagreement, Kind
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import NodeStatusRow, RemoteGenerationRow


async def check_panels(session: AsyncSession) -> list[Disagreement]:
    """Find nodes whose counts are not what the journal says; in no order."""
    journalled = (
        select(RemoteGenerationRow.node, func.count())
        .where(
            RemoteGenerationRow.state == JournalState.LIVE.value,
            RemoteGenerationRow.projection != "",
            RemoteGenerationRow.key.is_not(None),
        )
        .group_by(RemoteGenerationRow.node)
    )
    proved = {node: int(count) for node, count in await session.execute(journalled)}
    counted = await session.execute(
        select(NodeStatusRow.node, NodeStatusRow.counts)
        .join(NodeRow, NodeRow.name == NodeStatusRow.node)
        .order_by(NodeStatusRow.node)
    )
    return [one for node, counts in counted for one in _compare(node, counts, proved.get(node, 0))]


def _compare(node: str, counts: dict[str, Any], proved: int) -> Iterator[Disagreement]:
    subject = f"node/{node}"
    live = counts.get("live")
    if live is not None and live < proved:
        told = f"{proved} clients are journalled as proved, and the last look vouched for {live}"
        yield Disagreement(Kind.FEWER_ON_PANEL, subject, told)
    if counts.get("drift"):
        told = f"{counts['drift']} clients were seen otherwise than they should be"
        yield Disagreement(Kind.DRIFT_ON_PANEL, subject, told)
    if counts.get("quarantined"):
        told = f"{counts['quarantined']} clients carry our mark, and no key of ours is theirs"
        yield Disagreement(Kind.UNKNOWN_KEYS_ON_PANEL, subject, told)
