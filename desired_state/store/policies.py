"""Every policy of the installation, as whoever applies one reads them.

Callers: commands, queries and the controller's jobs. Not here: which of them counts for a node
(`model.policy.policy_for`).
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.policy import Policy
from desired_state.store.convert import policy_from
from desired_state.store.tables.desired import PolicyRow


async def read_policies(session: AsyncSession) -> tuple[Policy, ...]:
    """Read every policy, in no order that counts."""
    return tuple([policy_from(row) for row in await session.scalars(select(PolicyRow))])
