"""Applying one bundle of manifests: all of it in one transaction, or nothing.

`plan_bundle` says what would change in the database and changes nothing; `apply_bundle` does just
that. A source owns what it declared: what vanishes from it is orphaned (nodes, inbounds), withdrawn
(tariffs) or deleted (policies), and no source takes a thing from another.
Callers: `x3fleet manifests`, sync. Not here: YAML, what would change on panels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.commands.differences import Difference, Verb, compare
from desired_state.commands.errors import Conflict
from desired_state.commands.inbounds import plan_inbounds, write_inbounds
from desired_state.commands.installation import set_email_template
from desired_state.commands.nodes import check_panels, check_source, orphan, write_node
from desired_state.commands.removal import find_finished, remove
from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import NodeName, Revision
from desired_state.model.node import DeletionPolicy, NodeSpec
from desired_state.model.ownership import check_template
from desired_state.model.policy import Policy
from desired_state.model.tariff import Tariff
from desired_state.store.convert import spec_from_json, spec_to_json
from desired_state.store.tables.desired import (
    InstallationRow,
    ManifestSourceRow,
    NodeRow,
    PolicyRow,
    TariffRow,
)
from desired_state.store.unit_of_work import UnitOfWork

Row = TypeVar("Row", NodeRow, TariffRow, PolicyRow)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was changed, at which revision of the database; None where there was nothing to do."""

    differences: tuple[Difference, ...]
    revision: Revision | None


async def plan_bundle(session: AsyncSession, bundle: Bundle) -> tuple[Difference, ...]:
    """Compare a bundle with the database.

    Args:
        session: any transaction, a reading one too.
        bundle: `source` names the owner of what it declares; `revision` is not compared.

    Returns:
        What `apply_bundle` would change, in its order; empty when nothing.

    Raises:
        Conflict: another source declares something of the bundle.
        AlreadyExists: a panel would belong to two nodes.
        InvalidValue: the email template could not be used.
    """
    nodes = await _rows(session, NodeRow)
    _check_panels(bundle, nodes)
    return (
        *await _template(session, bundle),
        *_nodes(bundle, nodes, await find_finished(session, nodes.values())),
        *_tariffs(bundle, await _rows(session, TariffRow)),
        *_policies(bundle, await _rows(session, PolicyRow)),
        *await plan_inbounds(session, bundle),
    )


async def apply_bundle(work: UnitOfWork, bundle: Bundle) -> Applied:
    """Make the database say what the bundle says, and remember its revision as applied and good.

    Raises:
        Conflict: as `plan_bundle`, or the email template of clients that exist would change.
        AlreadyExists: a panel would belong to two nodes.
        InvalidValue: the email template could not be used.
    """
    differences = await plan_bundle(work.session, bundle)
    source = await work.session.get(ManifestSourceRow, bundle.source)
    if not differences and source is not None and is_applied(source, bundle):
        return Applied((), None)
    if any(difference.kind == "Installation" for difference in differences):
        await set_email_template(work, bundle.email_template or "")
    await _write_nodes(work, bundle, differences)
    await _write_tariffs(work, bundle, differences)
    await _write_policies(work, bundle, differences)
    await write_inbounds(work, bundle, differences)
    return Applied(differences, await _remember(work, bundle, source, len(differences)))


def is_applied(source: ManifestSourceRow, bundle: Bundle) -> bool:
    """Tell whether a source was last found well, with this revision of it applied."""
    return source.applied_revision == bundle.revision and not source.error_code


# -- what would change -----------------------------------------------------------------------------


async def _rows(session: AsyncSession, table: type[Row]) -> dict[str, Row]:
    return {row.name: row for row in await session.scalars(select(table).order_by(table.name))}


def _check_panels(bundle: Bundle, rows: dict[str, NodeRow]) -> None:
    declared = {spec.name for spec in bundle.nodes}
    others = [
        spec_from_json(NodeSpec, row.spec) for row in rows.values() if row.name not in declared
    ]
    check_panels([*others, *bundle.nodes])


async def _template(session: AsyncSession, bundle: Bundle) -> tuple[Difference, ...]:
    if bundle.email_template is None:
        return ()
    check_template(bundle.email_template)
    row = await session.get_one(InstallationRow, 1)
    fields = compare(
        {"email_template": row.email_template}, {"email_template": bundle.email_template}
    )
    return (Difference("Installation", row.name, Verb.UPDATE, fields),) if fields else ()


def _nodes(
    bundle: Bundle, rows: dict[str, NodeRow], finished: frozenset[str]
) -> Iterator[Difference]:
    for spec in bundle.nodes:
        row = rows.get(spec.name)
        if row is not None:
            check_source(row, bundle.source)
        back = row is not None and row.orphaned
        yield from _declared("Node", spec, row, returns=back)
    for name in _vanished(bundle.source, rows.values(), (spec.name for spec in bundle.nodes)):
        if rows[name].orphaned:
            continue
        if name in finished:
            yield Difference("Node", name, Verb.DELETE)
        else:
            spec = spec_from_json(NodeSpec, rows[name].spec)
            leaves = spec.deletion_policy is DeletionPolicy.DRAIN
            yield Difference("Node", name, Verb.DRAIN if leaves else Verb.ORPHAN)


def _tariffs(bundle: Bundle, rows: dict[str, TariffRow]) -> Iterator[Difference]:
    for tariff in bundle.tariffs:
        row = rows.get(tariff.name)
        if row is not None and not row.withdrawn:
            _check_owner("tariff", row, bundle.source)
        yield from _declared("Tariff", tariff, row, returns=row is not None and row.withdrawn)
    for name in _vanished(bundle.source, rows.values(), (t.name for t in bundle.tariffs)):
        if not rows[name].withdrawn:
            yield Difference("Tariff", name, Verb.WITHDRAW)


def _policies(bundle: Bundle, rows: dict[str, PolicyRow]) -> Iterator[Difference]:
    for policy in bundle.policies:
        row = rows.get(policy.name)
        if row is not None:
            _check_owner("policy", row, bundle.source)
        yield from _declared("Policy", policy, row, returns=False)
    for name in _vanished(bundle.source, rows.values(), (p.name for p in bundle.policies)):
        yield Difference("Policy", name, Verb.DELETE)


def _declared(
    kind: str, value: NodeSpec | Tariff | Policy, row: Row | None, *, returns: bool
) -> Iterator[Difference]:
    # Read and written again, so that a field which an older release did not know has its default.
    before = {} if row is None else spec_to_json(spec_from_json(type(value), row.spec))
    fields = compare(before, spec_to_json(value))
    if row is None:
        yield Difference(kind, value.name, Verb.CREATE, fields)
    elif returns:
        yield Difference(kind, value.name, Verb.RESTORE, fields)
    elif fields:
        yield Difference(kind, value.name, Verb.UPDATE, fields)


def _vanished(source: str, rows: Iterable[Row], declared: Iterable[str]) -> list[str]:
    kept = set(declared)
    return [row.name for row in rows if row.source == source and row.name not in kept]


def _check_owner(kind: str, row: TariffRow | PolicyRow, source: str) -> None:
    if row.source != source:
        raise Conflict(
            f"{kind} {row.name} is declared by the manifests of {row.source}",
            hint="declare it in one place",
        )


# -- writing it ------------------------------------------------------------------------------------


async def _write_nodes(
    work: UnitOfWork, bundle: Bundle, differences: tuple[Difference, ...]
) -> None:
    specs = {spec.name: spec for spec in bundle.nodes}
    for difference in differences:
        name = NodeName(difference.name)
        match difference.kind, difference.verb:
            case "Node", Verb.ORPHAN | Verb.DRAIN:
                await orphan(work, name)
            case "Node", Verb.DELETE:
                await remove(work, name)
            case "Node", _:
                await write_node(work, specs[name], source=bundle.source)


async def _write_tariffs(
    work: UnitOfWork, bundle: Bundle, differences: tuple[Difference, ...]
) -> None:
    values = {str(tariff.name): tariff for tariff in bundle.tariffs}
    for difference in (d for d in differences if d.kind == "Tariff"):
        revision = await work.revise()
        row = await work.session.get(TariffRow, difference.name)
        if difference.verb is Verb.WITHDRAW and row is not None:
            row.withdrawn, row.revision = True, revision
        elif row is None:
            row = TariffRow(name=difference.name)
            work.session.add(row)
        if difference.verb is not Verb.WITHDRAW:
            row.spec = spec_to_json(values[difference.name])
            row.source, row.withdrawn, row.revision = bundle.source, False, revision
        work.audit(f"tariff_{_PAST[difference.verb]}", f"tariff/{difference.name}")


async def _write_policies(
    work: UnitOfWork, bundle: Bundle, differences: tuple[Difference, ...]
) -> None:
    values = {policy.name: policy for policy in bundle.policies}
    changed = [d for d in differences if d.kind == "Policy"]
    if not changed:
        return
    # Which nodes a policy applies to may change with its selector: all of them look again.
    names = await work.session.scalars(select(NodeRow.name))
    revision = await work.revise(*(NodeName(name) for name in names), scheduler=True)
    for difference in changed:
        row = await work.session.get(PolicyRow, difference.name)
        if difference.verb is Verb.DELETE:
            await work.session.delete(row)
        else:
            if row is None:
                row = PolicyRow(name=difference.name)
                work.session.add(row)
            row.spec = spec_to_json(values[difference.name])
            row.source, row.revision = bundle.source, revision
        work.audit(f"policy_{_PAST[difference.verb]}", f"policy/{difference.name}")


async def _remember(
    work: UnitOfWork, bundle: Bundle, source: ManifestSourceRow | None, changes: int
) -> Revision:
    revision = await work.revise()
    if source is None:
        source = ManifestSourceRow(name=bundle.source, applied_revision="", fetched_revision="")
        work.session.add(source)
    if changes or source.applied_revision != bundle.revision:
        source.applied_revision, source.applied_at = bundle.revision, work.now
    if source.fetched_revision != bundle.revision:
        source.fetched_revision, source.fetched_at = bundle.revision, work.now
    source.error_code, source.error, source.faults, source.error_since = "", "", [], None
    source.checked_at, source.revision = work.now, revision
    # Whoever follows it says so again at once: after an apply by hand nobody is waited for.
    source.looked_at = None
    work.audit(
        "manifests_applied",
        f"source/{bundle.source}",
        applied=bundle.revision,
        differences=changes,
    )
    return revision


_PAST = {
    Verb.CREATE: "declared",
    Verb.UPDATE: "declared",
    Verb.RESTORE: "declared",
    Verb.WITHDRAW: "withdrawn",
    Verb.DELETE: "deleted",
}
