"""What a person asks of the controller: requests to a node, and approvals of what a guard withheld.

Commands never talk to a panel: the controller reads these rows and answers in status.
Callers: entrances, `commands.nodes`. Not here: waiting for the answer, deciding what is withheld.
"""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound, PlanStale
from desired_state.commands.ids import draw_token
from desired_state.model.ids import Digest, Email, NodeName
from desired_state.model.request import RequestKind
from desired_state.store.tables.desired import NodeRow, PlanApprovalRow, RequestRow
from desired_state.store.tables.status import NodeStatusRow
from desired_state.store.unit_of_work import UnitOfWork

SHORTEST_DIGEST = 8
"""Digits that a person must repeat: fewer could be met by chance."""
_FOR_ALL = frozenset({RequestKind.RECONCILE, RequestKind.PROBE})
"""What may be asked of every node at once; the others change what one node is bound to."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request by its token; `repeated`: the same was asked under this token before."""

    token: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Approved:
    """What was approved: exactly these emails, or any subset of them."""

    node: NodeName
    kind: str
    digest: Digest
    emails: tuple[Email, ...]


async def ask(
    work: UnitOfWork, kind: RequestKind, *, node: NodeName | None = None, token: str | None = None
) -> Asked:
    """Ask the controller for something; it answers under the token.

    Args:
        work: the transaction.
        kind: what is asked for.
        node: at which node; None for every one.
        token: the caller's own, so that asking twice asks once; drawn when None.

    Raises:
        NotFound: no such node.
        Conflict: the token stands for another request, the kind needs a node, or it is a rebuild or a backup.
    """
    if kind is RequestKind.BACKUP:
        raise Conflict("a backup is asked of no node", hint="x3fleet backup create asks for one")
    if node is None and kind not in _FOR_ALL:
        raise Conflict(f"{kind} is asked of one node", hint="name the node")
    if kind is RequestKind.REBUILD:
        raise Conflict("a rebuild carries what was seen", hint="x3fleet nodes rebuild shows it")
    token = token or draw_token(work.randomness)
    known = await work.session.get(RequestRow, token)
    if known is not None:
        if (known.kind, known.node) != (kind.value, node):
            raise Conflict(f"the token {token} stands for another request")
        return Asked(token, repeated=True)
    nodes = await _nodes(work, node)
    revision = await work.revise(*nodes)
    work.session.add(
        RequestRow(
            token=token, kind=kind.value, node=node, actor=work.actor, at=work.now,
            revision=revision,
        )
    )  # fmt: skip
    work.audit("requested", f"node/{node or '*'}", kind=kind.value, token=token)
    return Asked(token, repeated=False)


async def approve(work: UnitOfWork, digest: str, *, node: NodeName | None = None) -> Approved:
    """Approve the set that a guard withholds under this digest, and nothing else.

    The emails are taken from what the controller stored when it withheld them, so what is approved
    is what was shown. An approval that nobody used in time may be given again.

    Args:
        work: the transaction.
        digest: its first digits, at least eight.
        node: needed only when two nodes withhold sets of the same digest.

    Raises:
        PlanStale: nothing is withheld under this digest now.
        Conflict: too short, no digest, or several sets begin like this.
    """
    prefix = digest.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_DIGEST},64}}", prefix):
        raise Conflict(f"a digest is at least {SHORTEST_DIGEST} hexadecimal digits")
    found = await _withheld(work, prefix, node)
    if not found:
        raise PlanStale(
            f"nothing is withheld under {prefix} now",
            hint="x3fleet reconcile now keeps what it withholds; x3fleet nodes show NODE lists it",
        )
    if len(found) > 1:
        places = ", ".join(sorted({owner for owner, _ in found}))
        raise Conflict(f"several sets begin with {prefix}, on {places}", hint="name the node")
    owner, blocked = found[0]
    approved = Approved(
        node=owner,
        kind=str(blocked["kind"]),
        digest=Digest(str(blocked["digest"])),
        emails=tuple(Email(email) for email in blocked["emails"]),
    )
    await _store(work, approved)
    return approved


async def _store(work: UnitOfWork, approved: Approved) -> None:
    revision = await work.revise(approved.node)
    work.session.add(
        PlanApprovalRow(
            node=approved.node, kind=approved.kind, digest=approved.digest,
            emails=list(approved.emails), actor=work.actor, at=work.now, revision=revision,
        )
    )  # fmt: skip
    work.audit(
        "plan_approved",
        f"node/{approved.node}",
        kind=approved.kind,
        digest=approved.digest,
        emails=len(approved.emails),
    )


async def _withheld(
    work: UnitOfWork, prefix: str, node: NodeName | None
) -> list[tuple[NodeName, dict[str, Any]]]:
    query = select(NodeStatusRow).join(NodeRow, NodeRow.name == NodeStatusRow.node)
    if node is not None:
        query = query.where(NodeStatusRow.node == node)
    return [
        (NodeName(row.node), blocked)
        for row in await work.session.scalars(query.order_by(NodeStatusRow.node))
        for blocked in row.blocked_sets
        if str(blocked["digest"]).startswith(prefix)
    ]


async def _nodes(work: UnitOfWork, node: NodeName | None) -> tuple[NodeName, ...]:
    if node is None:
        names = await work.session.scalars(select(NodeRow.name).order_by(NodeRow.name))
        return tuple(NodeName(name) for name in names)
    if await work.session.get(NodeRow, node) is None:
        raise NotFound("node", node, hint="x3fleet nodes list shows those that are declared")
    return (node,)
