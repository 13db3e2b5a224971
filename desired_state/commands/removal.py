"""Nodes that are over: drained, empty, and in no manifest any more.

Such a node leaves nothing behind that somebody could be owed, so its declaration goes as a whole; any other
one that vanishes is orphaned, and goes by itself once it is empty where it drains.
Callers: `commands.manifests`, whoever hosts `Removal` (`x3fleet sync`, `x3fleet run`). Not here: orphaning,
draining, what is written off.
"""

import asyncio
from collections.abc import Iterable

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.commands import events
from desired_state.commands.nodes import find_node
from desired_state.model.ids import NodeName
from desired_state.store.convert import node_from
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, NodeRow, PlanApprovalRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import UnitOfWork, begin

log = structlog.get_logger(__name__)
ACTOR = "removal"
EVERY_S = 15.0
"""How soon an empty node goes: nobody waits for it but whoever pays for the server."""


class Removal:
    """Removes orphaned nodes that have run empty, again and again.

    Args:
        store: the open database, with the rights of a front-end.
        every_s: how often it is looked.
    """

    def __init__(self, store: Store, every_s: float = EVERY_S) -> None:
        self._store = store
        self._every_s = every_s

    async def run(self) -> None:
        """Look every so often, until cancelled; a database that refuses is asked again next time."""
        while True:
            try:
                await remove_finished(self._store)
            except StoreError as error:
                log.warning(events.REMOVAL_FAILED, error=str(error))
            await asyncio.sleep(self._every_s)


async def remove_finished(store: Store) -> tuple[NodeName, ...]:
    """Remove orphaned nodes that drain and hold nothing any more; where there is none, write nothing.

    Raises:
        StoreError: nothing was removed.
    """
    async with store.reading() as session:
        if not await _finished_orphans(session):
            return ()
    async with begin(store, ACTOR) as work:
        names = await _finished_orphans(work.session)
        for name in names:
            await remove(work, name)
    for name in names:
        log.info(events.NODE_REMOVED, node=name)
    return names


async def _finished_orphans(session: AsyncSession) -> tuple[NodeName, ...]:
    rows = await session.scalars(select(NodeRow).where(NodeRow.orphaned))
    return tuple(sorted(NodeName(name) for name in await find_finished(session, rows.all())))


async def find_finished(session: AsyncSession, rows: Iterable[NodeRow]) -> frozenset[str]:
    """Name the nodes that are draining and hold nothing of ours: no placement, client or pinned key."""
    draining = {row.name for row in rows if node_from(row).is_draining}
    if not draining:
        return frozenset()
    for column in (PlacementRow.node, KeyRow.pinned_node):
        query = select(column).where(column.in_(draining)).distinct()
        draining -= set(await session.scalars(query))
    query = (
        select(RemoteGenerationRow.node)
        .where(
            RemoteGenerationRow.node.in_(draining),
            RemoteGenerationRow.key.is_not(None),
            may_exist(RemoteGenerationRow.state),
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
