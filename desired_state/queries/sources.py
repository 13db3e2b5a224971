"""Sources of manifests: what was fetched, what is in force, what is wrong, and which nodes vanished.

Callers: cli, admin. Not here: reading a source.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.store.convert import node_from
from desired_state.store.tables.desired import ManifestSourceRow, NodeRow


@dataclass(frozen=True, slots=True)
class OrphanView:
    """A node that its source declares no more; `draining`: its keys are to leave, otherwise they stay."""

    node: str
    draining: bool


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source. `in_force`: what was fetched last is what is applied, and nothing is wrong.

    `faults`: each {file, line, column, field, message, hint}. `since`: since when it has been failing.
    `checked_at`: when this was found so; a look that finds nothing new writes nothing. `looked_at`: when
    whoever follows the source told last that he does; None where nobody does.
    """

    source: str
    fetched_revision: str
    fetched_at: datetime | None
    applied_revision: str
    applied_at: datetime | None
    code: str
    error: str
    faults: tuple[dict[str, Any], ...]
    since: datetime | None
    checked_at: datetime | None
    looked_at: datetime | None
    nodes: int
    orphans: tuple[OrphanView, ...]

    @property
    def in_force(self) -> bool:
        """Whether the database says what the source says, as far as is known."""
        return not self.code and self.fetched_revision == self.applied_revision


async def list_sources(session: AsyncSession) -> tuple[SourceView, ...]:
    """List every source that was ever read, by name."""
    nodes = (await session.scalars(select(NodeRow).order_by(NodeRow.name))).all()
    rows = await session.scalars(select(ManifestSourceRow).order_by(ManifestSourceRow.name))
    return tuple(_view(row, [node for node in nodes if node.source == row.name]) for row in rows)


def _view(row: ManifestSourceRow, nodes: list[NodeRow]) -> SourceView:
    return SourceView(
        source=row.name,
        fetched_revision=row.fetched_revision,
        fetched_at=row.fetched_at,
        applied_revision=row.applied_revision,
        applied_at=row.applied_at,
        code=row.error_code,
        error=row.error,
        faults=tuple(row.faults),
        since=row.error_since,
        checked_at=row.checked_at,
        looked_at=row.looked_at,
        nodes=sum(not node.orphaned for node in nodes),
        orphans=tuple(
            OrphanView(node.name, node_from(node).is_draining) for node in nodes if node.orphaned
        ),
    )
