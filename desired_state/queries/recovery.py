"""What the database was restored from, and which nodes wait for a person because of it.

Callers: entrances. Not here: what a node would do (a plan tells), accepting (`commands.recovery`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import NodeName
from desired_state.model.node import Recovery
from desired_state.store.tables.backups import RecoveryRow
from desired_state.store.tables.desired import NodeRow


@dataclass(frozen=True, slots=True)
class RecoveryView:
    """The last restore, while any node has not come back from it in full; `nodes` by name."""

    backup: str
    taken_at: datetime
    restored_at: datetime
    replaced: str
    nodes: tuple[tuple[NodeName, Recovery], ...]

    def of(self, recovery: Recovery) -> tuple[NodeName, ...]:
        """Nodes that are so far."""
        return tuple(name for name, found in self.nodes if found is recovery)


async def read_recovery(session: AsyncSession) -> RecoveryView | None:
    """Read it; None where nobody waits."""
    found = await session.execute(
        select(NodeRow.name, NodeRow.recovery).where(NodeRow.recovery != "").order_by(NodeRow.name)
    )
    nodes = tuple([(NodeName(name), Recovery(recovery)) for name, recovery in found])
    last = await session.scalar(select(RecoveryRow).order_by(RecoveryRow.id.desc()).limit(1))
    if last is None or (not nodes and last.accepted_at is not None):
        return None
    return RecoveryView(last.backup, last.taken_at, last.restored_at, last.replaced, nodes)
