"""Backups as the database remembers them: the last good ones, and how far back the oldest reaches.

Callers: the job, metrics, retention of the journal, entrances. Not here: the files (`store.backup.folder`).
"""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from desired_state.model.backups import is_ahead
from desired_state.model.node import Recovery
from desired_state.store.tables.backups import BackupRow
from desired_state.store.tables.desired import InstallationRow, NodeRow

GOOD, FAILED = "good", "failed"
_KEPT = ("checked", "unchecked")


def _nobody() -> dict[str, int]:
    return {stage.value: 0 for stage in Recovery if stage is not Recovery.NONE}


@dataclass(frozen=True, slots=True)
class BackupsView:
    """How backups stand. `since`: when the installation was made; `tried_at`: end of the last attempt.

    `database_at`: of which moment the newest good backup is; `panels_at`: since when every declared node's
    panel is in a good one: the oldest of their newest; None: never, or one of them never was. `error`: why
    the last attempt failed, "" if it did not. `bytes`: of the newest good one. `recovering`: how many nodes
    wait for a person after a restore, by stage.
    """

    since: datetime | None = None
    tried_at: datetime | None = None
    database_at: datetime | None = None
    panels_at: datetime | None = None
    oldest_at: datetime | None = None
    error: str = ""
    bytes: int = 0
    recovering: Mapping[str, int] = field(default_factory=_nobody, hash=False)


async def read_backups(session: AsyncSession, now: datetime) -> BackupsView:
    """Read how backups stand; what a clock that ran ahead wrote counts as none until its moment is past."""
    since = await session.scalar(select(InstallationRow.created_at))
    found_rows = await session.scalars(
        select(BackupRow).order_by(BackupRow.finished_at.desc(), BackupRow.name.desc())
    )
    rows = [row for row in found_rows if not is_ahead(row.taken_at, now)]
    tried = next((row for row in rows if not is_ahead(row.finished_at, now)), None)
    good = [row for row in rows if row.state == GOOD]
    found = await session.execute(select(NodeRow.name, NodeRow.recovery))
    nodes = {row.name: row.recovery for row in found}
    stages = Counter(stage for stage in nodes.values() if stage)
    kept = [row.taken_at for row in good if row.removed_at is None]
    newest = max(good, key=lambda row: row.taken_at, default=None)
    return BackupsView(
        since=since,
        tried_at=None if tried is None else tried.finished_at,
        database_at=None if newest is None else newest.taken_at,
        panels_at=_panels_at(good, nodes.keys()),
        oldest_at=min(kept, default=None),
        error="" if tried is None else tried.error,
        bytes=0 if newest is None else newest.bytes,
        recovering=_nobody() | stages,
    )


async def oldest_backup(connection: AsyncConnection) -> datetime | None:
    """Tell of which moment the oldest backup is that can still be restored; None: there is none."""
    query = select(func.min(BackupRow.taken_at)).where(
        BackupRow.state == GOOD, BackupRow.removed_at.is_(None)
    )
    found: datetime | None = await connection.scalar(query)
    return found


def _panels_at(good: list[BackupRow], declared: AbstractSet[str]) -> datetime | None:
    newest: dict[str, datetime] = {}
    for row in good:
        for node in row.nodes:
            if node["state"] in _KEPT:
                held = newest.get(node["node"], row.taken_at)
                newest[node["node"]] = max(held, row.taken_at)
    if not declared or not declared <= newest.keys():
        return None
    return min(newest[node] for node in declared)
