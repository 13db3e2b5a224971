"""Reads the wake-ups that commands left, in order, from where it read last.

A wake-up carries a node's name, or none for the scheduler, and never a reason. SQLite: a glance at the
file every 100 ms, a row only when somebody committed. PostgreSQL: notifications are a hint, the poll is
the truth. The cursor lives in memory: at the start every node is looked at anyway. Callers: the
service. Not here: writing wake-ups (`store.unit_of_work`), what follows from one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import func, select, text

from controller.runtime.tables import REQUEST, WAKE
from controller.telemetry import events
from desired_state.model.ids import NodeName, Revision
from desired_state.store.engine import Store, translated
from desired_state.store.errors import StoreError
from desired_state.store.unit_of_work import CHANNEL
from desired_state.store.watch import Watch

log = structlog.get_logger(__name__)

GLANCE_S = 0.1
"""Half of it is added to every change of a customer's; ten glances cost some thousandths of a core."""
POLL_LISTENING_S = 5.0
POLL_ALONE_S = 1.0
RELISTEN_S = 5.0
AT_ONCE = 1_000
"""Wake-ups of one reading; a flood is read in pieces, and other work goes on in between."""


@dataclass(frozen=True, slots=True)
class Woken:
    """What one reading brought. `asked`: nodes that only a person's request woke.

    `revision`: the newest that was read.
    """

    nodes: frozenset[NodeName] = frozenset()
    asked: frozenset[NodeName] = frozenset()
    scheduler: bool = False
    requests: bool = False
    revision: Revision = Revision(0)


class Wakeups:
    """A cursor over `desired.wake`.

    Args:
        store: the database.
        woken: told of each reading that brought something.
    """

    def __init__(self, store: Store, woken: Callable[[Woken], Awaitable[None]]) -> None:
        self._store = store
        self._woken = woken
        self._watch = Watch(store)
        self._cursor: int | None = None
        self._hint = asyncio.Event()
        self._listening = False

    async def start(self) -> None:
        """Begin with whatever is written after this; called before every node is enqueued."""
        async with self._store.reading() as session:
            newest = await session.scalar(select(func.max(WAKE.c.id)))
        self._cursor = int(newest or 0)

    def close(self) -> None:
        """Let go of the database file."""
        self._watch.close()

    async def run(self) -> None:
        """Read for as long as the service runs."""
        if self._cursor is None:
            await self.start()
        if self._store.is_sqlite:
            await self._watch_file()
        else:
            await self._poll()

    async def read(self) -> None:
        """Read what is new, all of it, and pass it on.

        Raises:
            StoreError: it could not be read; the cursor stands where it stood.
        """
        while True:
            woken, last, full = await self._read_some()
            if last is not None:
                await self._woken(woken)
                # Only now: a reading that nobody heard of is read again.
                self._cursor = last
            if not full:
                return

    # -- SQLite ------------------------------------------------------------------------------------

    async def _watch_file(self) -> None:
        seen: int | None = None
        while True:
            try:
                # The glance comes first: what is committed after it shows in the next one.
                glance = self._watch.glance()
                if glance is None or glance != seen:
                    await self.read()
                seen = glance
            except StoreError as error:
                log.warning(events.WAKEUPS_BEHIND, error=type(error).__name__)
                seen = None
            await asyncio.sleep(GLANCE_S)

    # -- PostgreSQL --------------------------------------------------------------------------------

    async def _poll(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                self._hint.clear()
                try:
                    await self.read()
                except StoreError as error:
                    log.warning(events.WAKEUPS_BEHIND, error=type(error).__name__)
                pause_s = POLL_LISTENING_S if self._listening else POLL_ALONE_S
                try:
                    async with asyncio.timeout(pause_s):
                        await self._hint.wait()
                except TimeoutError:
                    continue

    async def _listen(self) -> None:
        """Hear notifications on a connection of its own, and come back when it breaks."""
        import psycopg  # noqa: PLC0415 - an embedded service needs none of its 8 MB

        while True:
            try:
                await self._hear()
            except (StoreError, psycopg.Error) as error:
                log.warning(events.LISTENER_LOST, error=type(error).__name__)
            finally:
                self._listening = False
            await asyncio.sleep(RELISTEN_S)

    async def _hear(self) -> None:
        with translated():
            async with self._store.engine.connect() as connection:
                hearing = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await hearing.execute(text(f"LISTEN {CHANNEL}"))
                raw: Any = (await hearing.get_raw_connection()).driver_connection
                self._listening = True
                # What was written before we listened is read now.
                self._hint.set()
                try:
                    while not raw.closed:
                        async for _ in raw.notifies(timeout=POLL_LISTENING_S):
                            self._hint.set()
                        # A dead connection brings no notification: a question finds it out.
                        await hearing.execute(text("SELECT 1"))
                finally:
                    # The pool must not hand out a connection that still listens.
                    await connection.invalidate()

    # -- both --------------------------------------------------------------------------------------

    async def _read_some(self) -> tuple[Woken, int | None, bool]:
        query = (
            select(WAKE.c.id, WAKE.c.revision, WAKE.c.node)
            .where(WAKE.c.id > (self._cursor or 0))
            .order_by(WAKE.c.id)
            .limit(AT_ONCE)
        )
        async with self._store.reading() as session:
            connection = await session.connection()
            rows = (await connection.execute(query)).all()
            if not rows:
                return Woken(), None, False
            revisions = {row.revision for row in rows}
            asking = await connection.execute(
                select(REQUEST.c.revision).where(
                    REQUEST.c.revision.between(min(revisions), max(revisions))
                )
            )
            requests = {row.revision for row in asking}
        nodes = {NodeName(r.node) for r in rows if r.node and r.revision not in requests}
        asked = {NodeName(r.node) for r in rows if r.node and r.revision in requests}
        woken = Woken(
            nodes=frozenset(nodes),
            asked=frozenset(asked - nodes),
            scheduler=any(row.node is None for row in rows),
            requests=bool(requests),
            revision=Revision(max(revisions)),
        )
        return woken, rows[-1].id, len(rows) == AT_ONCE
