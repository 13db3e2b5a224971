"""Forgotten nodes: which are not settled yet, and whose tombstones a node must know beside its own.

Callers: `commands.forgetting` (writes what is compared here), the scheduler's pass, the controller's
readings. Not here: the tombstones themselves.
"""

from collections import defaultdict

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from desired_state.manifests.panel_url import panel_of
from desired_state.model.ids import NodeName
from desired_state.model.node import NodeSpec
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.forgotten import ForgottenNodeRow, WriteOffRow
from desired_state.store.tables.status import RemoteGenerationRow


async def nodes_of_panel(connection: AsyncConnection, spec: NodeSpec) -> tuple[NodeName, ...]:
    """Name a node, and every forgotten one that had its panel; sorted."""
    query = select(ForgottenNodeRow.node).where(ForgottenNodeRow.panel == panel_of(spec)).distinct()
    names = {NodeName(name) for name in (await connection.execute(query)).scalars()}
    return tuple(sorted({spec.name, *names}))


async def pending_write_offs(session: AsyncSession) -> dict[NodeName, tuple[int, ...]]:
    """Name forgotten nodes of which something is still to be written off, each with its wishes.

    Never settled, or settled and something was recorded since on a node that nobody declares.
    """
    settled = exists().where(WriteOffRow.forgotten_id == ForgottenNodeRow.id)
    declared = exists().where(NodeRow.name == ForgottenNodeRow.node)
    again = exists().where(
        RemoteGenerationRow.node == ForgottenNodeRow.node, may_exist(RemoteGenerationRow.state)
    )
    query = (
        select(ForgottenNodeRow.node, ForgottenNodeRow.id)
        .where(or_(~settled, and_(~declared, again)))
        .order_by(ForgottenNodeRow.node, ForgottenNodeRow.id)
    )
    found: dict[NodeName, list[int]] = defaultdict(list)
    for node, number in await session.execute(query):
        found[NodeName(node)].append(number)
    return {node: tuple(numbers) for node, numbers in found.items()}
