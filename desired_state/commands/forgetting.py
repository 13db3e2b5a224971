"""Forgetting a node whose panel is gone for good: what it still owes is written off, by a person's word.

The node goes at once; its debts are ended by the controller, which owns status, and stay known as tombstones:
a panel that comes back under the same address is met with them. Written off is not finalised: nobody proved
anything gone. Callers: entrances. Not here: nodes that end with nothing owed (`commands.removal`).
"""

from dataclasses import dataclass

from sqlalchemy import func, select, update

from desired_state.commands.errors import Conflict
from desired_state.commands.nodes import find_node
from desired_state.commands.removal import remove
from desired_state.manifests.panel_url import panel_of
from desired_state.model.ids import NodeName
from desired_state.model.node import NodeSpec
from desired_state.store.convert import spec_from_json
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, NodeRow
from desired_state.store.tables.forgotten import ForgottenNodeRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import UnitOfWork

_OUT_OF_REACH = frozenset({"Unreachable", "Stalled", "Paused"})
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A node that is no more.

    `clients`: to be written off, of so many `keys`. `placed`: keys that lived there.
    """

    node: NodeName
    clients: int
    keys: int
    placed: int


async def forget(
    work: UnitOfWork, node: NodeName, *, panel_is_gone: bool = False, reason: str = ""
) -> Forgotten:
    """Forget a node that no manifest declares, with everything that it owes.

    Args:
        work: the transaction.
        node: which one.
        panel_is_gone: a person says that its panel will never answer again; needed where it holds
            anything of ours.
        reason: shown to operators.

    Raises:
        NotFound: no such node.
        Conflict: manifests declare it, keys are pinned to it, its panel answers, or it holds clients
            and nobody said that its panel is gone.
    """
    row = await find_node(work, node)
    _check_undeclared(row)
    await _check_pinned(work, node)
    clients, keys = await _held(work, node)
    placed = await _placed(work, node)
    if clients or placed:
        await _check_gone(work, node, clients, panel_is_gone=panel_is_gone)
    revoked = update(KeyRow).where(KeyRow.pinned_node == node).values(pinned_node=None)
    await work.session.execute(revoked)
    revision = await work.revise(node, scheduler=True)
    panel = panel_of(spec_from_json(NodeSpec, row.spec))
    work.session.add(
        ForgottenNodeRow(
            node=node, panel=panel, reason=reason, actor=work.actor, at=work.now, revision=revision
        )
    )
    await remove(work, node)
    work.audit("node_forgotten", f"node/{node}", clients=clients, keys=keys, reason=reason)
    return Forgotten(node, clients, keys, placed)


def _check_undeclared(row: NodeRow) -> None:
    if row.source and not row.orphaned:
        raise Conflict(
            f"node {row.name} is declared by the manifests of {row.source}",
            hint="remove it there first: a declared node would come back at once",
        )


async def _check_pinned(work: UnitOfWork, node: NodeName) -> None:
    query = select(KeyRow.id).where(KeyRow.pinned_node == node, KeyRow.deleted_at.is_(None))
    pinned = list(await work.session.scalars(query.order_by(KeyRow.id)))
    if pinned:
        some = ", ".join(pinned[:_NAMED]) + (" ..." if len(pinned) > _NAMED else "")
        raise Conflict(
            f"{len(pinned)} keys are pinned to {node}: {some}",
            hint="x3fleet keys move KEY --to NODE, or keys revoke KEY, first",
        )


async def _held(work: UnitOfWork, node: NodeName) -> tuple[int, int]:
    journal = RemoteGenerationRow
    query = select(func.count(), func.count(func.distinct(journal.key))).where(
        journal.node == node, journal.key.is_not(None), may_exist(journal.state)
    )
    clients, keys = (await work.session.execute(query)).one()
    return int(clients), int(keys)


async def _placed(work: UnitOfWork, node: NodeName) -> int:
    query = select(func.count()).where(PlacementRow.node == node, PlacementRow.leaving.is_(None))
    return int(await work.session.scalar(query) or 0)


async def _check_gone(
    work: UnitOfWork, node: NodeName, clients: int, *, panel_is_gone: bool
) -> None:
    status = await work.session.get(NodeStatusRow, node)
    held = {one["type"] for one in (status.conditions if status else ()) if one["status"]}
    if not held & _OUT_OF_REACH:
        raise Conflict(
            f"the panel of {node} answered when it was last looked at: what it holds would live on",
            hint=f"x3fleet nodes drain {node} empties it",
        )
    if not panel_is_gone:
        raise Conflict(
            f"node {node} still owes the deletion of {clients} clients",
            hint="if its panel is gone for good, say so: --yes-its-panel-is-gone writes them off",
        )
