"""Tables of backups and of what followed from restoring one.

Callers: the controller writes `backup`, the restore and `commands.recovery` write `recovery`; queries read
both. Not here: the files themselves (`store.backup`), rules of retention (`model.backups`).
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from desired_state.store.tables.types import STATUS, DesiredRow, Serial, StatusRow


class RecoveryRow(DesiredRow):
    """The database was restored from a backup.

    `backup`: its file's name. `taken_at`: of which moment it is. `replaced`: where the database that it
    took the place of is kept; "" where there was none. `accepted_at`: since when no node waits to be let
    write again.
    """

    __tablename__ = "recovery"

    id: Mapped[Serial]
    backup: Mapped[str]
    taken_at: Mapped[datetime]
    restored_at: Mapped[datetime]
    replaced: Mapped[str] = mapped_column(default="")
    actor: Mapped[str]
    accepted_at: Mapped[datetime | None]
    revision: Mapped[int]


class BackupRow(StatusRow):
    """One attempt at a backup. `state`: good or failed; `error`: why it failed.

    `nodes`: what became of each panel's own database: [{node, state, reason, bytes}]. `verified_at`:
    when it was restored into a scratch database; None where others made it. `removed_at`: since
    when its file is gone, by retention or by hand.
    """

    __tablename__ = "backup"
    __table_args__ = (Index(None, "taken_at"), {"schema": STATUS})

    name: Mapped[str] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    state: Mapped[str]
    error: Mapped[str] = mapped_column(default="")
    bytes: Mapped[int] = mapped_column(default=0)
    nodes: Mapped[list[Any]] = mapped_column(default=list)
    verified_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
