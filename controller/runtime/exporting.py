"""Fetches the panels' own databases for a backup: some at once, each node by itself, nothing written there.

A node that is paused is not visited, and credentials that its panel refused are not tried again. Callers:
jobs and the service, by `Exports.fetch`. Not here: the HTTP call (`panels.export`), the backup's file.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from controller.core.observed import NotSeen
from controller.panels.api.body import SinkBroken
from controller.panels.api.errors import PanelError
from controller.panels.export import Export, ExportBroken, look_into
from controller.panels.panel import PanelPool
from controller.runtime.reads import Approach, Reader
from controller.runtime.records import Records
from controller.runtime.worker import Clock
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode
from desired_state.store.backup.archive import measure, private_file
from desired_state.store.backup.contents import PanelPart, PanelState
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.room import require_room
from desired_state.store.errors import StoreError

AT_ONCE = 4
"""Whole databases that are on their way: they share the line with the turns of all nodes."""
LOOK_S = 300.0
"""For checking one database page by page: whoever sent it cannot keep a backup from its end."""
_MIB = 1 << 20


class Exports:
    """Fetches databases of panels.

    Args:
        reader: tells how a node is reached.
        records: keeps that credentials were refused.
        pool: of panels; the turns' own sessions are used.
        clock: for records.
    """

    look_s = LOOK_S

    def __init__(self, reader: Reader, records: Records, pool: PanelPool, clock: Clock) -> None:
        self._reader = reader
        self._records = records
        self._pool = pool
        self._clock = clock

    async def fetch(
        self, nodes: Sequence[NodeName], folder: Path, limit_mib: int
    ) -> tuple[PanelPart, ...]:
        """Fetch the databases of nodes into a folder; one that cannot be had stops no other.

        Args:
            nodes: which ones, in the order of the answer.
            folder: private; each file is named after its node's place in the order.
            limit_mib: a larger one is not fetched.

        Raises:
            StoreError: our own database failed.
            BackupError: the folder cannot be written, or its disk is nearly full.
        """
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, node: NodeName) -> PanelPart:
            async with at_once:
                return await self._one(node, folder, f"panel-{number:04}", limit_mib * _MIB)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(*pair)) for pair in enumerate(nodes, 1)]
        except* StoreError as broken:
            # A full disk fails several at once; to who makes the backup it is one error.
            failed = _first_of(broken)
        else:
            return tuple(task.result() for task in tasks)
        raise failed

    async def _one(self, node: NodeName, folder: Path, member: str, limit: int) -> PanelPart:
        try:
            approach = await self._reader.approach(node)
        except ConfigError as error:
            return PanelPart(node, PanelState.FAILED, error.message)
        if approach.target.mode is Mode.PAUSED:
            return PanelPart(node, PanelState.SKIPPED, "paused")
        fault = approach.fault or (
            "the panel refused these credentials" if approach.refused else ""
        )
        if fault:
            return PanelPart(node, PanelState.FAILED, fault)
        return await self._ask(approach, folder / member, limit)

    async def _ask(self, approach: Approach, path: Path, limit: int) -> PanelPart:
        node, member = approach.target.node, path.name
        await asyncio.to_thread(require_room, path.parent)
        try:
            export = await self._fetch(approach, path, limit)
            clients = await self._look_into(path) if export.checked else None
            part = await asyncio.to_thread(measure, path, member)
        except PanelError as error:
            await self._remember(approach, error)
            return PanelPart(node, PanelState.FAILED, str(error))
        except ExportBroken as error:
            return PanelPart(node, PanelState.FAILED, str(error))
        except SinkBroken as error:
            raise BackupError(f"{path}: {error.reason}") from error
        except OSError as error:
            raise BackupError(f"{path}: {error.strerror}") from error
        state = PanelState.CHECKED if export.checked else PanelState.UNCHECKED
        reason = "" if export.checked else "a dump of PostgreSQL, kept as it came and not opened"
        return PanelPart(node, state, reason, export.version, clients, part)

    async def _fetch(self, approach: Approach, path: Path, limit: int) -> Export:
        panel = await self._pool.panel(approach.target)
        file = await asyncio.to_thread(private_file, path)
        try:
            return await panel.export(file, limit)
        finally:
            await asyncio.to_thread(file.close)

    async def _look_into(self, path: Path) -> int:
        given_up = Event()
        try:
            async with asyncio.timeout(self.look_s):
                return await asyncio.to_thread(look_into, path, given_up)
        except TimeoutError as error:
            message = f"the panel's database could not be checked within {self.look_s:g} s"
            raise ExportBroken(message) from error
        finally:
            # A thread hears of no cancellation by itself, and the process waits for its end.
            given_up.set()

    async def _remember(self, approach: Approach, error: PanelError) -> None:
        if error.reason is NotSeen.CREDENTIALS_REFUSED:
            target = approach.target
            await self._records.remember_refusal(target.node, target.fingerprint, self._clock.now())


def _first_of(group: ExceptionGroup[StoreError]) -> StoreError:
    """Take the first error out of a group, however deep."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first
