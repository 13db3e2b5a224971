"""Having a wiped panel rebuilt: exactly what a preview showed is approved, and asked for.

The preview is a request of its own, answered by the controller. Callers: entrances. Not here: looking,
creating; which credentials return (those that the keys have).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from desired_state.commands.errors import Conflict, PlanStale
from desired_state.commands.ids import draw_token
from desired_state.commands.nodes import find_node
from desired_state.commands.requests import SHORTEST_DIGEST
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind
from desired_state.store.tables.desired import PlanApprovalRow, RequestRow
from desired_state.store.tables.status import RequestAnswerRow
from desired_state.store.unit_of_work import UnitOfWork

FRESH = timedelta(minutes=15)
"""What a person saw longer ago is looked at again."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """A rebuild that was asked for: how many clients it may create again."""

    token: str
    node: NodeName
    digest: str
    clients: int


async def rebuild(
    work: UnitOfWork, node: NodeName, digest: str, *, token: str | None = None
) -> Rebuilding:
    """Accept the panel that a preview showed, and approve the return of what it lost.

    Args:
        work: the transaction.
        node: which one.
        digest: of the preview, its first eight digits at least.
        token: the caller's own, so that asking twice asks once; drawn when None.

    Raises:
        NotFound: no such node.
        Conflict: too few digits, or the preview says that a rebuild cannot help.
        PlanStale: no preview of the last 15 minutes has this digest.
    """
    await find_node(work, node)
    prefix = digest.strip().lower()
    if len(prefix) < SHORTEST_DIGEST:
        raise Conflict(f"a digest is at least {SHORTEST_DIGEST} hexadecimal digits")
    seen = await _preview(work, node, prefix)
    token = token or draw_token(work.randomness)
    if await work.session.get(RequestRow, token) is None:
        revision = await work.revise(node)
        work.session.add(
            RequestRow(
                token=token, kind=RequestKind.REBUILD.value, node=node,
                detail={"guid": seen["guid"]}, actor=work.actor, at=work.now, revision=revision,
            )
        )  # fmt: skip
        work.session.add(
            PlanApprovalRow(
                node=node, kind="shrink", digest=seen["digest"], emails=list(seen["emails"]),
                actor=work.actor, at=work.now, revision=revision,
            )
        )  # fmt: skip
        work.audit(
            "rebuild_asked", f"node/{node}", token=token, digest=seen["digest"], guid=seen["guid"]
        )
    return Rebuilding(token, node, str(seen["digest"]), len(seen["emails"]))


async def _preview(work: UnitOfWork, node: NodeName, prefix: str) -> dict[str, Any]:
    query = (
        select(RequestAnswerRow)
        .join(RequestRow, RequestRow.token == RequestAnswerRow.token)
        .where(
            RequestRow.kind == RequestKind.PREVIEW.value,
            RequestAnswerRow.node == node,
            RequestAnswerRow.at > work.now - FRESH,
        )
        .order_by(RequestAnswerRow.at.desc())
    )
    for row in await work.session.scalars(query):
        if str(row.detail.get("digest", "")).startswith(prefix):
            if row.outcome != "to rebuild":
                raise Conflict(f"node {node}: {row.detail.get('error') or 'nothing is lost there'}")
            return dict(row.detail)
    raise PlanStale(
        f"no preview of {node} within 15 minutes has the digest {prefix}",
        hint=f"x3fleet nodes rebuild {node} looks again",
    )
