"""Asking for a rebalance: keys move until nodes hold their fair shares.

One wish, one row; the scheduler's pass follows it and tells how far it is. Callers: entrances. Not here:
which keys move (`desired_state.scheduling.balance`).
"""

from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import Conflict
from desired_state.commands.ids import draw_token
from desired_state.model.tariff import Labels
from desired_state.scheduling.eligible import render_labels
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import NodeRow, RebalanceRow
from desired_state.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class RebalanceAsked:
    """A wish by its token; `repeated`: the same was asked under this token before."""

    token: str
    labels: Labels
    repeated: bool


async def rebalance(
    work: UnitOfWork, labels: Labels = (), *, token: str | None = None
) -> RebalanceAsked:
    """Ask that nodes with these labels be brought within 10 % of their fair shares.

    Args:
        work: the transaction.
        labels: of the nodes that keys are moved between; empty means all.
        token: the caller's own, so that asking twice asks once; drawn when None.

    Raises:
        Conflict: fewer than two nodes carry these labels, or the token stands for another wish.
    """
    token = token or draw_token(work.randomness)
    known = await work.session.scalar(select(RebalanceRow).where(RebalanceRow.token == token))
    if known is not None:
        if known.labels != dict(labels):
            raise Conflict(f"the token {token} stands for another rebalance")
        return RebalanceAsked(token, labels, repeated=True)
    rows = await work.session.scalars(select(NodeRow))
    covered = [row.name for row in rows if set(labels) <= set(node_from(row).spec.labels)]
    if len(covered) < 2:
        raise Conflict(
            f"{len(covered)} nodes carry {render_labels(labels)}: there is nothing to even out",
            hint="x3fleet nodes list --output json shows labels",
        )
    revision = await work.revise(scheduler=True)
    work.session.add(
        RebalanceRow(
            token=token, labels=dict(labels), actor=work.actor, at=work.now, revision=revision
        )
    )
    work.audit("rebalance_asked", f"labels/{render_labels(labels)}", token=token)
    return RebalanceAsked(token, labels, repeated=False)
