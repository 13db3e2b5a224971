"""Asking the controller that is at work for a backup.

It has the panels' sessions already, and one process at a time makes backups. Callers: entrances. Not here:
making it (`controller.jobs`), waiting for the answer (`queries.requests`).
"""

from collections.abc import Sequence

from sqlalchemy import select

from desired_state.commands.errors import Conflict, NotFound
from desired_state.commands.ids import draw_token
from desired_state.commands.requests import Asked
from desired_state.model.ids import NodeName
from desired_state.model.request import WHOLE, RequestKind
from desired_state.store.tables.desired import NodeRow, RequestRow
from desired_state.store.unit_of_work import UnitOfWork


async def ask_for_backup(
    work: UnitOfWork, nodes: Sequence[NodeName] | None = None, *, token: str | None = None
) -> Asked:
    """Ask for a backup; it is answered under the token once it is made and proved, or has failed.

    Args:
        work: the transaction.
        nodes: whose panels' databases go in; None: every declared one's.
        token: the caller's own, so that asking twice asks once; drawn when None.

    Raises:
        NotFound: one of the nodes is not declared.
        Conflict: the token stands for another request.
    """
    detail = {"nodes": None if nodes is None else sorted(nodes)}
    token = token or draw_token(work.randomness)
    known = await work.session.get(RequestRow, token)
    if known is not None:
        if (known.kind, known.detail) != (RequestKind.BACKUP.value, detail):
            raise Conflict(f"the token {token} stands for another request")
        return Asked(token, repeated=True)
    declared = set(await work.session.scalars(select(NodeRow.name)))
    for node in sorted(set(nodes or ()) - declared):
        raise NotFound("node", node, hint="x3fleet nodes list shows those that are declared")
    work.session.add(
        RequestRow(
            token=token, kind=RequestKind.BACKUP.value, node=WHOLE, detail=detail,
            actor=work.actor, at=work.now, revision=await work.revise(),
        )
    )  # fmt: skip
    work.audit("requested", "backup", kind=RequestKind.BACKUP.value, token=token)
    return Asked(token, repeated=False)
