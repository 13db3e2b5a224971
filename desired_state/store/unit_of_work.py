"""One write of desired state: one transaction, one revision, its wake-ups and its audit line.

Callers: whoever runs commands opens one (`async with begin(store, "cli") as work`) and hands it to
them. On PostgreSQL one transaction-level advisory lock is held throughout, so that revisions become
visible in the order in which they were given out and a reader's cursor skips nothing; on SQLite the
immediate transaction does the same. Not here: use cases, writes of status.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import event, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, UOWTransaction

from desired_state.model.ids import NodeName, Revision
from desired_state.store.clock import Randomness
from desired_state.store.engine import Store
from desired_state.store.installation import read_ownership
from desired_state.store.secrets import Place, Vault
from desired_state.store.tables.desired import AuditEventRow, RevisionCounterRow, WakeRow
from desired_state.store.tables.types import DesiredRow, Sealed

LOCK = 0x78336672
"""The advisory lock that writers of desired state hold ("x3fr")."""
CHANNEL = "x3fleet_wake"
"""PostgreSQL's NOTIFY channel: a hint that wake-ups were appended; the payload is the revision."""
_CHANGED = "x3fleet_changed"
_KEPT = "x3fleet_kept"


@dataclass(slots=True)
class UnitOfWork:
    """What a command works with. `now`: one moment for all of it; `actor`: who asks."""

    session: AsyncSession
    actor: str
    now: datetime
    vault: Vault
    randomness: Randomness
    _revision: Revision | None = field(default=None, init=False)
    _woken: set[NodeName | None] = field(default_factory=set, init=False)
    _audited: bool = field(default=False, init=False)
    _proved: bool = field(default=False, init=False)

    async def revise(
        self, *nodes: NodeName, scheduler: bool = False, wakes: bool = True
    ) -> Revision:
        """Take the next global revision (once a transaction) and append its wake-ups.

        Args:
            nodes: what is to be looked at again; without any, the scheduler is woken, which then
                wakes whatever it decides about.
            scheduler: wake it beside the nodes too.
            wakes: False for what changes nothing on any panel, as an order that is not paid: a wake-up
                of the scheduler costs a pass over every key.

        Returns:
            The revision of this transaction, for the rows that it changes.
        """
        if self._revision is None:
            taken = await self.session.execute(
                update(RevisionCounterRow)
                .where(RevisionCounterRow.id == 1)
                .values(value=RevisionCounterRow.value + 1)
                .returning(RevisionCounterRow.value)
                .execution_options(synchronize_session=False)
            )
            self._revision = Revision(taken.scalar_one())
        woken: set[NodeName | None] = set(nodes)
        if scheduler or (wakes and not nodes):
            woken.add(None)
        for node in sorted(woken, key=str):
            if node not in self._woken:
                self._woken.add(node)
                self.session.add(WakeRow(revision=self._revision, node=node, at=self.now))
        return self._revision

    async def seal(self, secret: bytes, place: Place) -> Sealed:
        """Encrypt a secret for its place, with keys that open what this database holds already.

        With the keys of another installation everything would be sealed without a word, and nothing
        of it could be opened once the right ones are back.

        Raises:
            SecretUnreadable: the configured keys are not those of this database.
            StoreUnprepared: it has no installation yet.
        """
        if not self._proved:
            await read_ownership(self.session, self.vault)
            self._proved = True
        return self.vault.seal(secret, place)

    def audit(self, action: str, subject: str, **detail: object) -> None:
        """Record who did what. `subject` reads `kind/name`; `detail` holds no secret."""
        self._audited = True
        self.session.add(
            AuditEventRow(
                at=self.now,
                actor=self.actor,
                action=action,
                subject=subject,
                detail=detail,
                revision=self._revision,
            )
        )

    async def _finish(self) -> None:
        """Flush, and hold every command to its duties: a bug here must not commit."""
        await self.session.flush()
        if not self.session.info.get(_CHANGED, False):
            return
        if self._revision is None or not self._audited:
            message = "desired state was changed without a revision or without an audit event"
            raise RuntimeError(message)
        if self.session.get_bind().dialect.name != "sqlite":
            await self.session.execute(
                text("SELECT pg_notify(:channel, :revision)"),
                {"channel": CHANNEL, "revision": str(self._revision)},
            )


@asynccontextmanager
async def begin(store: Store, actor: str) -> AsyncIterator[UnitOfWork]:
    """Open a unit of work; it commits at the end of the block and rolls back on any error.

    Args:
        store: the open database.
        actor: who asks, as the audit shows it: `cli`, `bot`, `sync:NAME`, `admin:NAME`.

    Raises:
        StoreBusy: another writer held the database for 10 s.
        StoreError: the branch of what else went wrong.
    """
    async with store.recording() as session:
        if not store.is_sqlite:
            # Before the first read: what is decided on must not change until the commit.
            await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        event.listen(session.sync_session, "before_flush", _only_desired)
        event.listen(session.sync_session, "loaded_as_persistent", _keep)
        work = UnitOfWork(session, actor, store.clock.now(), store.vault, store.randomness)
        yield work
        await work._finish()  # noqa: SLF001 (the two are one: no command may call it)


def _keep(session: Session, row: object) -> None:
    """Hold what was read until the end: a thousand keys of one tariff read it once."""
    session.info.setdefault(_KEPT, []).append(row)


def _only_desired(session: Session, flush: UOWTransaction, instances: object) -> None:
    """Refuse a row of status in a unit of work, and note that something changed."""
    del flush, instances
    modified = (row for row in session.dirty if session.is_modified(row))
    for row in (*session.new, *session.deleted, *modified):
        if not isinstance(row, DesiredRow):
            message = f"a command may not write {type(row).__name__}: status is the controller's"
            raise TypeError(message)
        if not isinstance(row, AuditEventRow):
            session.info[_CHANGED] = True
