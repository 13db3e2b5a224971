"""How many keys may leave nodes of the fleet now: what its guard of deletes lets pass.

Callers: `queries.balance` (how many moves may begin), `queries.moves` (how long they take). Not here: the
guard itself, which the controller asks before every delete.
"""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.policy import Policy, policy_for
from desired_state.queries.estimate import Pace
from desired_state.store.journal_states import may_exist
from desired_state.store.policies import read_policies
from desired_state.store.tables.status import DeleteBudgetRow, RemoteGenerationRow


async def read_pace(
    session: AsyncSession, now: datetime, policies: tuple[Policy, ...] | None = None
) -> Pace:
    """Read the fleet's share of deletes in keys, and what is left of it.

    The share counts clients, of which a key may have several on one node.

    Args:
        session: any transaction.
        now: the end of the window.
        policies: every policy, where the caller has them.
    """
    if policies is None:
        policies = await read_policies(session)
    fleet = policy_for(policies, ())
    since = now - timedelta(seconds=fleet.fleet_delete_window_s)
    held = select(
        func.count(), func.count(func.distinct(RemoteGenerationRow.node + RemoteGenerationRow.key))
    ).where(
        RemoteGenerationRow.key.is_not(None),
        may_exist(RemoteGenerationRow.state),
    )
    clients, keys = (await session.execute(held)).one()
    taken = await session.scalar(
        select(func.coalesce(func.sum(DeleteBudgetRow.deletes), 0)).where(
            DeleteBudgetRow.at > since
        )
    )
    each = max(1, -(-int(clients) // max(1, int(keys))))
    limit = max(fleet.max_delete_floor, int(fleet.fleet_delete_share * int(clients)))
    return Pace(
        room=max(0, limit - int(taken or 0)) // each,
        share=max(1, limit // each),
        window_s=float(fleet.fleet_delete_window_s),
    )
