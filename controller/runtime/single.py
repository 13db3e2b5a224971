"""One controller a database: the exclusive lock of the embedded mode and of one-shot runs.

SQLite: a locked file beside the database, with its holder's kind and process id in it; the system
frees it when the process dies. PostgreSQL: an advisory lock of one connection, held open, and only where
no replica lives; replicas begin nothing while it is held. Callers: the service. Not here: leases.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.runtime import lease_rows
from controller.runtime.errors import AlreadyRunning, Holder, HolderKind, LeaseLost
from desired_state.store.engine import Store, translated
from desired_state.store.errors import StoreError, StoreUnreachable
from desired_state.store.files import lock_descriptor, owner_of
from desired_state.store.tables.types import STATUS

LOCK = 0x78336374
"""The advisory lock of a controller ("x3ct")."""
_SUFFIX = ".controller.lock"
_POLL_S = 0.1
_ASK_S = 2.0
"""How often, and for how long, the connection that holds the lock is asked whether it lives."""
_NAME = "x3fleet {kind} {pid}"


@asynccontextmanager
async def hold_lock(store: Store, kind: HolderKind, *, wait: bool = False) -> AsyncIterator[None]:
    """Be the only controller of a database for the length of the block.

    Args:
        store: whose database.
        kind: what this process tells others that it is.
        wait: until the present holder ends, instead of being refused.

    Raises:
        AlreadyRunning: another controller holds the lock, or a replica lives; names it. A replica ends
            when its operator says so: it is not waited for.
        LeaseLost: PostgreSQL let go of the lock in the middle; the block was cancelled.
    """
    if not store.is_sqlite:
        async with _hold_advisory(store, kind, wait=wait):
            yield
        return
    path = lock_file(store)
    if path is None:
        # A database in memory belongs to this process alone.
        yield
        return
    async with _hold_file(path, kind, wait=wait):
        yield


def lock_file(store: Store) -> Path | None:
    """The locked file of an SQLite database; None for one in memory."""
    database = store.engine.url.database
    if database in (None, "", ":memory:"):
        return None
    # SQLite follows links to the file itself: under whatever name, it is one database and one lock.
    path = Path(str(database)).resolve()
    return path.with_name(path.name + _SUFFIX)


@asynccontextmanager
async def _hold_file(path: Path, kind: HolderKind, *, wait: bool) -> AsyncIterator[None]:
    # Opened anew for each holder: two holders in one process exclude each other too.
    database = path.with_name(path.name.removesuffix(_SUFFIX))
    # Root restores a database, and the service must be able to lock it afterwards.
    descriptor = lock_descriptor(path, owner_of(database))
    try:
        while not _try_lock(descriptor):
            holder = _read_holder(descriptor)
            # One that stays does not end for our sake: it can be asked.
            if not wait or holder.kind is HolderKind.DAEMON:
                raise AlreadyRunning(holder)
            await asyncio.sleep(_POLL_S)
        _write_holder(descriptor, json.dumps({"kind": kind.value, "pid": os.getpid()}))
        try:
            yield
        finally:
            # The file stays: removing it would let two processes lock two files of one name.
            _write_holder(descriptor, "")
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, content: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content.encode(), 0)


def _read_holder(descriptor: int) -> Holder:
    try:
        found = json.loads(os.pread(descriptor, 1024, 0))
        return Holder(HolderKind(found["kind"]), int(found["pid"]))
    except (ValueError, KeyError, TypeError):
        return Holder(HolderKind.UNKNOWN)


@asynccontextmanager
async def _hold_advisory(store: Store, kind: HolderKind, *, wait: bool) -> AsyncIterator[None]:
    with translated():
        async with store.engine.connect() as connection:
            # Outside a transaction: an idle one would hold back the database's own cleaning.
            holding = await connection.execution_options(isolation_level="AUTOCOMMIT")
            name = _NAME.format(kind=kind.value, pid=os.getpid())
            await holding.execute(
                text("SELECT set_config('application_name', :name, false)"), {"name": name}
            )
            await _refuse_beside_a_replica(holding)
            lock = text("SELECT pg_try_advisory_lock(:lock)")
            while not await holding.scalar(lock, {"lock": LOCK}):
                found = _parse_name(await holding.scalar(_HOLDER, {"lock": LOCK}))
                # A replica holds it for moments, while it claims.
                if not wait and found.kind is not HolderKind.REPLICA:
                    raise AlreadyRunning(found)
                await asyncio.sleep(_POLL_S)
                await _refuse_beside_a_replica(holding)
            try:
                # Again: one may have joined before the lock was ours. From here on none does.
                await _refuse_beside_a_replica(holding)
                async with _while_connected(holding):
                    yield
            finally:
                if not holding.invalidated:
                    await holding.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})


@asynccontextmanager
async def _while_connected(connection: AsyncConnection) -> AsyncIterator[None]:
    """End the block when the connection breaks: the lock went with it, and others may begin.

    Raises:
        LeaseLost: it broke; what was in hand was cancelled.
    """
    block, over = asyncio.current_task(), asyncio.Event()
    broken: list[StoreError] = []
    watching = asyncio.create_task(_until_broken(connection, over, broken))

    def end(task: asyncio.Task[None]) -> None:
        del task
        if broken and block is not None and not over.is_set():
            block.cancel()

    watching.add_done_callback(end)
    try:
        try:
            yield
        finally:
            over.set()
            # A question that is on its way is waited for: the unlocking comes over the same line.
            await asyncio.wait((watching,))
    except asyncio.CancelledError:
        if not broken or block is None or block.uncancel() > 0:
            raise
        raise LeaseLost(
            "the connection that held the database's lock broke", hint="run it again"
        ) from broken[0]


async def _until_broken(
    connection: AsyncConnection, over: asyncio.Event, broken: list[StoreError]
) -> None:
    while not over.is_set():
        try:
            async with asyncio.timeout(_ASK_S):
                await over.wait()
        except TimeoutError:
            try:
                with translated():
                    async with asyncio.timeout(_ASK_S):
                        await connection.execute(text("SELECT 1"))
            except StoreError as error:
                broken.append(error)
                return
            except TimeoutError:
                broken.append(StoreUnreachable("the database does not answer"))
                return


async def _refuse_beside_a_replica(connection: AsyncConnection) -> None:
    # An empty database, which a backup may be restored into, has nobody who could work on it.
    if not await connection.scalar(_HAS_REPLICAS, {"name": f"{STATUS}.{lease_rows.REPLICA.name}"}):
        return
    member = await lease_rows.alive(connection)
    if member is not None:
        raise AlreadyRunning(Holder(HolderKind.REPLICA, member.pid, member.host))


_HAS_REPLICAS = text("SELECT to_regclass(:name) IS NOT NULL")
_HOLDER = text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :lock AND l.classid = 0"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _parse_name(name: object) -> Holder:
    parts = str(name or "").split()
    try:
        return Holder(HolderKind(parts[1]), int(parts[2]))
    except (IndexError, ValueError):
        return Holder(HolderKind.UNKNOWN)
