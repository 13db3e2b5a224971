"""Nodes that a person declared gone for good, and what was written off for each.

Callers: entrances (`nodes forgotten`). Not here: forgetting (`commands.forgetting`), what comes back.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName
from desired_state.store.tables.forgotten import ForgottenNodeRow, WriteOffRow
from desired_state.store.tables.status import RemoteGenerationRow


@dataclass(frozen=True, slots=True)
class ForgottenView:
    """One forgotten node.

    `written_off_at` None: the controller has not come by yet. `clients`, `keys`: written off then.
    `unseen`: of those, clients that nobody has seen since: they may live on a panel that nobody can reach.
    """

    node: NodeName
    reason: str
    actor: str
    at: datetime
    written_off_at: datetime | None
    clients: int
    keys: int
    unseen: int


async def list_forgotten(session: AsyncSession) -> tuple[ForgottenView, ...]:
    """Read them, the newest first."""
    journal = RemoteGenerationRow
    counts = await session.execute(
        select(journal.node, func.count())
        .where(journal.state == JournalState.WRITTEN_OFF.value, journal.key.is_not(None))
        .group_by(journal.node)
    )
    unseen = {node: int(number) for node, number in counts}
    query = (
        select(ForgottenNodeRow, WriteOffRow)
        .outerjoin(WriteOffRow, WriteOffRow.forgotten_id == ForgottenNodeRow.id)
        .order_by(ForgottenNodeRow.id.desc())
    )
    return tuple(
        [
            ForgottenView(
                node=NodeName(row.node),
                reason=row.reason,
                actor=row.actor,
                at=row.at,
                written_off_at=None if done is None else done.at,
                clients=0 if done is None else done.clients,
                keys=0 if done is None else done.keys,
                unseen=unseen.get(row.node, 0),
            )
            for row, done in await session.execute(query)
        ]
    )
