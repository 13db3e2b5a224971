"""Declared inbounds as a bundle has them: what would change, and writing it.

One that vanishes from its manifests is orphaned: nodes may still have it, and its `deletionPolicy` says
what becomes of it there. Its row goes once no node has it. Callers: `commands.manifests`. Not here:
panels, rules across documents.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.commands.differences import Difference, Verb, compare
from desired_state.commands.errors import Conflict
from desired_state.commands.inbound_clashes import Standing, check_clashes
from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import NodeName
from desired_state.model.inbound import InboundSpec
from desired_state.model.tariff import Labels
from desired_state.store.convert import node_from, spec_from_json, spec_to_json
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.inbounds import DeclaredInboundRow, ManagedInboundRow
from desired_state.store.unit_of_work import UnitOfWork

KIND = "Inbound"
_DECLARING = frozenset({Verb.CREATE, Verb.UPDATE, Verb.RESTORE})
_PAST = {
    Verb.CREATE: "declared",
    Verb.UPDATE: "declared",
    Verb.RESTORE: "declared",
    Verb.ORPHAN: "orphaned",
    Verb.DELETE: "forgotten",
}


async def plan_inbounds(session: AsyncSession, bundle: Bundle) -> tuple[Difference, ...]:
    """Compare the declared inbounds of a bundle with the database.

    Raises:
        Conflict: another source declares one of them, or another one is in its way.
    """
    query = select(DeclaredInboundRow).order_by(DeclaredInboundRow.name)
    rows = {row.name: row for row in await session.scalars(query)}
    stands: defaultdict[str, set[NodeName]] = defaultdict(set)
    for name, node in await session.execute(select(ManagedInboundRow.name, ManagedInboundRow.node)):
        stands[name].add(NodeName(node))
    differences = tuple(_differences(bundle, rows, stands))
    changed = {d.name for d in differences if d.verb in _DECLARING}
    others = [row for name, row in rows.items() if name not in _names_of(bundle)]
    if changed and others:
        check_clashes(
            [spec for spec in bundle.inbounds if spec.name in changed],
            [one for row in others if (one := _standing(row, bundle, stands)) is not None],
            await _labels_after(session, bundle),
        )
    return differences


def _standing(
    row: DeclaredInboundRow, bundle: Bundle, stands: Mapping[str, set[NodeName]]
) -> Standing | None:
    """Tell of one that the bundle does not declare; None when it is over."""
    leaving = row.orphaned or row.source == bundle.source
    on = frozenset(stands.get(row.name, ()))
    if leaving and not on:
        return None
    return Standing(spec_from_json(InboundSpec, row.spec), row.source, on, leaving)


async def _labels_after(session: AsyncSession, bundle: Bundle) -> dict[NodeName, Labels]:
    nodes = [node_from(row) for row in await session.scalars(select(NodeRow))]
    return {node.name: node.spec.labels for node in nodes} | {
        spec.name: spec.labels for spec in bundle.nodes
    }


def _names_of(bundle: Bundle) -> set[str]:
    return {spec.name for spec in bundle.inbounds}


def _differences(
    bundle: Bundle, rows: Mapping[str, DeclaredInboundRow], standing: Container[str]
) -> Iterator[Difference]:
    for spec in bundle.inbounds:
        row = rows.get(spec.name)
        if row is not None and not row.orphaned and row.source != bundle.source:
            raise Conflict(
                f"inbound {spec.name} is declared by the manifests of {row.source}",
                hint="declare it in one place",
            )
        # Read and written again, so that a field which an older release did not know has its default.
        before = {} if row is None else spec_to_json(spec_from_json(InboundSpec, row.spec))
        fields = compare(before, spec_to_json(spec))
        if row is None:
            yield Difference(KIND, spec.name, Verb.CREATE, fields)
        elif row.orphaned:
            yield Difference(KIND, spec.name, Verb.RESTORE, fields)
        elif fields:
            yield Difference(KIND, spec.name, Verb.UPDATE, fields)
    declared = _names_of(bundle)
    for row in rows.values():
        if row.source != bundle.source or row.name in declared:
            continue
        if row.name not in standing:
            yield Difference(KIND, row.name, Verb.DELETE)
        elif not row.orphaned:
            yield Difference(KIND, row.name, Verb.ORPHAN)


async def write_inbounds(
    work: UnitOfWork, bundle: Bundle, differences: tuple[Difference, ...]
) -> None:
    """Write what `plan_inbounds` found; every node looks again, since a selector may choose any."""
    changed = [one for one in differences if one.kind == KIND]
    if not changed:
        return
    specs = {str(spec.name): spec for spec in bundle.inbounds}
    names = await work.session.scalars(select(NodeRow.name))
    revision = await work.revise(*(NodeName(name) for name in names))
    for difference in changed:
        row = await work.session.get(DeclaredInboundRow, difference.name)
        if difference.verb is Verb.DELETE:
            await work.session.delete(row)
        elif difference.verb is Verb.ORPHAN and row is not None:
            row.orphaned, row.revision = True, revision
        else:
            if row is None:
                row = DeclaredInboundRow(name=difference.name)
                work.session.add(row)
            row.spec, row.source = spec_to_json(specs[difference.name]), bundle.source
            row.orphaned, row.revision = False, revision
        work.audit(f"inbound_{_PAST[difference.verb]}", f"inbound/{difference.name}")
