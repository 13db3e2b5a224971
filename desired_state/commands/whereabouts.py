"""Which nodes a change of a key concerns, as status tells: what commands wake.

Callers: commands. Reads status and writes nothing. Not here: where a key ought to live.
"""

from collections.abc import Sequence

from sqlalchemy import select, union
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import KeyId, NodeName
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow


async def nodes_of_keys(session: AsyncSession, *keys: KeyId) -> tuple[NodeName, ...]:
    """Nodes on which any of these keys is placed, or may still exist by the journal; sorted."""
    placed = select(PlacementRow.node).where(PlacementRow.key.in_(keys))
    journalled = select(RemoteGenerationRow.node).where(
        RemoteGenerationRow.key.in_(keys), may_exist(RemoteGenerationRow.state)
    )
    # What this transaction is about to write is no status: there is no need to flush it first.
    with session.no_autoflush:
        found = await session.scalars(union(placed, journalled))
    return tuple(sorted(NodeName(node) for node in found))


async def nodes_of_key(session: AsyncSession, key: KeyId) -> tuple[NodeName, ...]:
    """Nodes that the key is placed on and does not leave yet; sorted."""
    query = select(PlacementRow.node).where(PlacementRow.key == key, PlacementRow.leaving.is_(None))
    return tuple(sorted(NodeName(node) for node in await session.scalars(query)))


async def rows_of_nodes(session: AsyncSession, names: Sequence[NodeName]) -> Sequence[NodeRow]:
    """Rows of those of these nodes that are declared, by name."""
    query = select(NodeRow).where(NodeRow.name.in_(names)).order_by(NodeRow.name)
    return (await session.scalars(query)).all()
