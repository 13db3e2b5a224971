"""Nodes that are over: drained, empty, and in no manifest any more.

Such a node leaves nothing behind that somebody could be owed, so its declaration goes as a whole; any other
one that vanishes is orphaned. Callers: `commands.manifests`. Not here: orphans, draining.
"""

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.commands.nodes import find_node
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import KeyRow, NodeRow, PlanApprovalRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import UnitOfWork


async def find_finished(session: AsyncSession, rows: Iterable[NodeRow]) -> frozenset[str]:
    """Name the nodes that are draining and hold nothing of ours: no placement, client or pinned key."""
    draining = {row.name for row in rows if node_from(row).is_draining}
    for column in (PlacementRow.node, KeyRow.pinned_node):
        query = select(column).where(column.in_(draining)).distinct()
        draining -= set(await session.scalars(query))
    query = (
        select(RemoteGenerationRow.node)
        .where(
            RemoteGenerationRow.node.in_(draining),
            RemoteGenerationRow.key.is_not(None),
            RemoteGenerationRow.state != JournalState.GONE.value,
        )
        .distinct()
    )
    return frozenset(draining - set(await session.scalars(query)))


async def remove(work: UnitOfWork, name: NodeName) -> None:
    """Forget a node; what its keys used there is kept.

    Raises:
        NotFound: no such node.
    """
    row = await find_node(work, name)
    await work.session.execute(delete(PlanApprovalRow).where(PlanApprovalRow.node == name))
    await work.session.delete(row)
    await work.revise(name, scheduler=True)
    work.audit("node_removed", f"node/{name}")
