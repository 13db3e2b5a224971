"""What guards withhold and persons may approve.

Callers: entrances (`approve`, `plan`), `queries.node`. Not here: approving (`commands.requests`).
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import Digest, Email, NodeName
from desired_state.queries.views import BlockedView, conditions_from, find_condition
from desired_state.store.tables.desired import NodeRow, PlanApprovalRow
from desired_state.store.tables.status import NodeStatusRow


async def list_blocked(
    session: AsyncSession, *, node: NodeName | None = None
) -> tuple[BlockedView, ...]:
    """Read every set that is withheld now, by node and digest."""
    query = select(NodeStatusRow.node, NodeStatusRow.blocked_sets, NodeStatusRow.conditions).join(
        NodeRow, NodeRow.name == NodeStatusRow.node
    )
    if node is not None:
        query = query.where(NodeStatusRow.node == node)
    approved = await _approvals(session)
    found = []
    for name, sets, stored in await session.execute(query.order_by(NodeStatusRow.node)):
        condition = find_condition(conditions_from(stored), "Blocked")
        for one in sorted(sets, key=lambda one: str(one["digest"])):
            digest = Digest(one["digest"])
            found.append(
                BlockedView(
                    node=NodeName(name),
                    kind=one["kind"],
                    digest=digest,
                    emails=tuple([Email(email) for email in one["emails"]]),
                    message="" if condition is None else condition.message,
                    approved_at=approved.get((name, digest)),
                )
            )
    return tuple(found)


async def _approvals(session: AsyncSession) -> dict[tuple[str, str], datetime]:
    query = select(
        PlanApprovalRow.node, PlanApprovalRow.digest, func.max(PlanApprovalRow.id).label("newest")
    ).group_by(PlanApprovalRow.node, PlanApprovalRow.digest)
    newest = query.subquery()
    rows = await session.execute(
        select(PlanApprovalRow.node, PlanApprovalRow.digest, PlanApprovalRow.at).join(
            newest, newest.c.newest == PlanApprovalRow.id
        )
    )
    return {(node, digest): at for node, digest, at in rows}
