"""Sources of manifests: what is wrong with one, since when; and handing over what one declares.

A source that stays as it was found costs no write. Callers: `commands.sync`, cli. Not here: applying
what a source declares (`commands.manifests`), reading one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update

from desired_state.commands.errors import CommandError, NotFound
from desired_state.manifests.errors import ManifestError, ManifestSourceUnavailable
from desired_state.model.errors import InvalidValue, X3FleetError
from desired_state.store.tables.desired import (
    ManifestSourceRow,
    NodeRow,
    PolicyRow,
    TariffRow,
)
from desired_state.store.tables.inbounds import DeclaredInboundRow
from desired_state.store.unit_of_work import UnitOfWork


class FaultReason(StrEnum):
    """Why a look at a source did not end in what it declares."""

    UNAVAILABLE = "unavailable"
    """It could not be read."""
    INVALID = "invalid"
    """What it holds breaks rules of manifests."""
    REFUSED = "refused"
    """It contradicts what is in the database."""
    OTHER = "other"
    """The database failed."""


@dataclass(frozen=True, slots=True)
class SourceFault:
    """What is wrong with a source. `fetched`: the revision that could be read, "" where none could.

    `faults`: as stored, see `ManifestSourceRow`.
    """

    reason: FaultReason
    code: str
    message: str
    fetched: str = ""
    faults: tuple[dict[str, Any], ...] = ()


def fault_of(error: X3FleetError, fetched: str = "") -> SourceFault:
    """Say what an error means for a source.

    Args:
        error: what reading, checking or applying raised.
        fetched: the revision that it was about.
    """
    match error:
        case ManifestSourceUnavailable():
            reason = FaultReason.UNAVAILABLE
        case ManifestError():
            reason = FaultReason.INVALID
        case CommandError() | InvalidValue():
            reason = FaultReason.REFUSED
        case _:
            reason = FaultReason.OTHER
    found = error.faults if isinstance(error, ManifestError) else ()
    faults = tuple(
        {
            "file": fault.file,
            "line": fault.line,
            "column": fault.column,
            "field": fault.field,
            "message": fault.message,
            "hint": fault.hint,
        }
        for fault in found
    )
    # With places the message would only repeat them.
    message = f"{len(faults)} faults" if len(faults) > 1 else str(error)
    return SourceFault(reason, error.code, message, fetched, faults)


def is_news(row: ManifestSourceRow | None, fault: SourceFault) -> bool:
    """Tell whether a source was last found otherwise than this."""
    if row is None:
        return True
    fetched = fault.fetched or row.fetched_revision
    known = row.error_code, row.error, row.faults, row.fetched_revision
    return known != (fault.code, fault.message, list(fault.faults), fetched)


async def record_fault(work: UnitOfWork, source: str, fault: SourceFault) -> bool:
    """Keep what is wrong with a source; what was applied stays in force.

    Returns:
        Whether anything was new.
    """
    row = await work.session.get(ManifestSourceRow, source)
    if not is_news(row, fault):
        return False
    revision = await work.revise()
    if row is None:
        row = ManifestSourceRow(name=source, applied_revision="", applied_at=None)
        row.fetched_revision, row.error_since = "", None
        work.session.add(row)
    if fault.fetched and fault.fetched != row.fetched_revision:
        row.fetched_revision, row.fetched_at = fault.fetched, work.now
    row.error_code, row.error, row.faults = fault.code, fault.message, list(fault.faults)
    row.error_since = row.error_since or work.now
    row.checked_at, row.revision = work.now, revision
    work.audit(
        "manifests_rejected",
        f"source/{source}",
        fetched=fault.fetched,
        code=fault.code,
        faults=len(fault.faults),
    )
    return True


async def tell_followed(work: UnitOfWork, source: str, every_s: float) -> None:
    """Keep that somebody follows a source; wakes nobody, and is no change of what is wanted.

    Args:
        work: the transaction.
        source: its name; one that was never read is left alone.
        every_s: how often it is looked at.
    """
    await work.session.execute(
        update(ManifestSourceRow)
        .where(ManifestSourceRow.name == source)
        .values(looked_at=work.now, looks_every_s=int(every_s))
    )


async def hand_over(work: UnitOfWork, old: str, new: str) -> int:
    """Let another source own what one declares, as when manifests move from a folder into git.

    Nothing that is declared changes, so that no node is woken. The old source is forgotten.

    Args:
        work: the transaction.
        old: its name, as `list_sources` shows it.
        new: the name of the other, which need not have been read yet.

    Returns:
        How many things it owns now that it did not before.

    Raises:
        NotFound: no such source.
    """
    row = await work.session.get(ManifestSourceRow, old)
    if row is None:
        raise NotFound("source", old, hint="x3fleet manifests status shows those that there are")
    if old == new:
        return 0
    revision = await work.revise()
    declared: list[NodeRow | TariffRow | PolicyRow | DeclaredInboundRow] = [
        *await work.session.scalars(select(NodeRow).where(NodeRow.source == old)),
        *await work.session.scalars(select(TariffRow).where(TariffRow.source == old)),
        *await work.session.scalars(select(PolicyRow).where(PolicyRow.source == old)),
        *await work.session.scalars(
            select(DeclaredInboundRow).where(DeclaredInboundRow.source == old)
        ),
    ]
    for one in declared:
        one.source, one.revision = new, revision
    await work.session.delete(row)
    work.audit("source_handed_over", f"source/{new}", before=old, moved=len(declared))
    return len(declared)
