"""What there is to even out: open wishes to rebalance, and how much of it the fleet's guard lets pass.

Callers: `queries.placement` for the scheduler's pass, entrances (`list_rebalances`). Not here: which keys
move (`scheduling.balance`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import Policy, Rebalance
from desired_state.model.tariff import Labels
from desired_state.queries.pace import read_pace
from desired_state.scheduling.balance import NOTHING, Balance, Wish
from desired_state.store.tables.desired import RebalanceRow
from desired_state.store.tables.status import RebalanceStepRow


@dataclass(frozen=True, slots=True)
class RebalanceView:
    """A wish to rebalance and how far it has come; `begun_at` None: no pass has seen it yet."""

    id: int
    token: str
    labels: Labels
    actor: str
    at: datetime
    made: int
    waiting: int
    begun_at: datetime | None
    done_at: datetime | None


async def list_rebalances(session: AsyncSession, *, limit: int = 20) -> tuple[RebalanceView, ...]:
    """Read wishes to rebalance, the newest first."""
    query = (
        select(RebalanceRow, RebalanceStepRow)
        .outerjoin(RebalanceStepRow, RebalanceStepRow.rebalance_id == RebalanceRow.id)
        .order_by(RebalanceRow.id.desc())
        .limit(limit)
    )
    return tuple(
        [
            RebalanceView(
                id=row.id,
                token=row.token,
                labels=tuple(sorted(row.labels.items())),
                actor=row.actor,
                at=row.at,
                made=0 if step is None else step.made,
                waiting=0 if step is None else step.waiting,
                begun_at=None if step is None else step.begun_at,
                done_at=None if step is None else step.done_at,
            )
            for row, step in await session.execute(query)
        ]
    )


async def read_balance(
    session: AsyncSession,
    policies: tuple[Policy, ...],
    placements: tuple[Placement, ...],
    now: datetime,
) -> Balance:
    """Read open wishes, and how many keys may leave nodes without tripping the fleet's guard."""
    query = (
        select(RebalanceRow.id, RebalanceRow.labels)
        .outerjoin(RebalanceStepRow, RebalanceStepRow.rebalance_id == RebalanceRow.id)
        .where(RebalanceStepRow.done_at.is_(None))
        .order_by(RebalanceRow.id)
    )
    wishes = tuple(
        [
            Wish(number, tuple(sorted(labels.items())))
            for number, labels in await session.execute(query)
        ]
    )
    if not wishes and all(policy.rebalance is Rebalance.ASKED for policy in policies):
        return NOTHING
    going = sum(p.leaving is DeleteReason.MOVED for p in placements)
    pace = await read_pace(session, now, policies)
    return Balance(wishes, max(0, pace.room - going))
