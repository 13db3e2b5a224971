"""Continuous sync: look at the source of manifests, and make the database say what it says.

`ManifestSync(store, settings).run()` is hosted by `x3fleet sync` and `x3fleet run`. Each look fetches,
checks everything, and applies one revision as one transaction, or leaves the last good one in force and
stores why. Not here: reading sources (`manifests.sources`), what applying means (`commands.manifests`).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from desired_state.commands import events
from desired_state.commands.apart import Apart, StillBusy
from desired_state.commands.differences import Difference
from desired_state.commands.errors import CommandError
from desired_state.commands.manifests import apply_bundle, is_applied, plan_bundle
from desired_state.commands.sources import (
    FaultReason,
    SourceFault,
    fault_of,
    is_news,
    record_fault,
    tell_followed,
)
from desired_state.manifests.bundle import Bundle
from desired_state.manifests.errors import ManifestError, ManifestSourceUnavailable
from desired_state.manifests.loader import read_bundle
from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.choose import choose_source
from desired_state.manifests.sources.source import ManifestSource
from desired_state.model.errors import ConfigError, InvalidValue
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.tables.desired import ManifestSourceRow
from desired_state.store.unit_of_work import begin

log = structlog.get_logger(__name__)

GRACE_S = 5.0
"""How long a source may take to notice by itself that its time is over, and checking its files."""
BEAT_S = 300.0
"""How often the database is told that somebody follows the source, though nothing is new."""
_PLACES = 20
"""Of many faults a log line names the first; all are stored."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a source found and did.

    `fetched`, `applied`: revisions, "" for none. `differences`: what was written; None where nothing
    was applied, be it that nothing was new or that something is wrong (`fault`).
    """

    source: str
    fetched: str
    applied: str
    at: datetime
    differences: tuple[Difference, ...] | None = None
    fault: SourceFault | None = None


class SyncObserver(Protocol):
    """Whoever counts looks, metrics for one."""

    def looked(self, look: Look) -> None:
        """Be told of each look, whatever it found."""
        ...


class ManifestSync:
    """Looks at one source, again and again.

    Args:
        store: the open database, with the rights of a front-end.
        settings: which source, and how often.
        source: instead of the one that the settings name.
        observer: told of every look.

    Raises:
        ConfigError: the settings name no source.
    """

    def __init__(
        self,
        store: Store,
        settings: SyncSettings,
        *,
        source: ManifestSource | None = None,
        observer: SyncObserver | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._source = source or choose_source(settings)
        self._observer = observer
        self._apart = Apart("manifests")
        self._known: tuple[str, Bundle | ManifestError] | None = None
        self._told: SourceFault | None = None
        self._grace_s = GRACE_S
        self._beat_at_s = 0.0

    async def run(self) -> None:
        """Look every so often, until cancelled; the time of a look is not added to the pause."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            found = await self.look()
            if found.differences is not None or loop.time() >= self._beat_at_s:
                await self.beat()
                self._beat_at_s = loop.time() + BEAT_S
            await asyncio.sleep(max(0.0, began_s + self._settings.every_s - loop.time()))

    async def beat(self) -> None:
        """Keep that the source is followed: one that dies without a word is missed by that."""
        name = self._source.name
        try:
            async with begin(self._store, f"sync:{name}") as work:
                await tell_followed(work, name, self._settings.every_s)
        except StoreError as error:
            log.warning(events.SOURCE_NOT_STORED, source=name, error=str(error))

    async def look(self) -> Look:
        """Look once; whatever is wrong with the source is told in the answer."""
        fetched = ""
        try:
            fetched, read = await self._load()
            if isinstance(read, ManifestError):
                found = await self._reject(fault_of(read, fetched))
            else:
                found = await self._apply(read)
        except (ManifestError, CommandError, ConfigError, InvalidValue, StoreError) as error:
            found = await self._reject(fault_of(error, fetched))
        if self._observer is not None:
            self._observer.looked(found)
        return found

    async def _load(self) -> tuple[str, Bundle | ManifestError]:
        """Fetch and check; gives the revision, and what it declares or what is wrong with it."""
        limit_s = self._settings.timeout_s
        try:
            return await self._apart.run(self._read, limit_s + self._grace_s)
        except TimeoutError as error:
            raise ManifestSourceUnavailable(
                f"{self._source.name} could not be read within {limit_s:g} s"
            ) from error
        except StillBusy as error:
            raise ManifestSourceUnavailable(
                f"{self._source.name} is still being read since an earlier look"
            ) from error

    def _read(self) -> tuple[str, Bundle | ManifestError]:
        """Fetch and check, in the other thread; what was checked before is not checked again."""
        files = self._source.fetch()
        if self._known is None or self._known[0] != files.revision:
            try:
                self._known = files.revision, read_bundle(files)
            except ManifestError as error:
                self._known = files.revision, error
        return self._known

    async def _apply(self, bundle: Bundle) -> Look:
        async with self._store.reading() as session:
            # Compared each time, not only when the revision is new: a database that was restored
            # from a backup is to say again what the manifests say.
            differences = await plan_bundle(session, bundle)
            row = await session.get(ManifestSourceRow, bundle.source)
        if not differences and row is not None and is_applied(row, bundle):
            self._tell(None)
            return self._found(bundle.revision, bundle.revision)
        async with begin(self._store, f"sync:{bundle.source}") as work:
            applied = await apply_bundle(work, bundle)
        if row is not None and row.error_code:
            log.info(events.SOURCE_RECOVERED, source=bundle.source, revision=bundle.revision)
        if applied.differences or row is None or row.applied_revision != bundle.revision:
            log.info(
                events.MANIFEST_LOADED,
                source=bundle.source,
                revision=bundle.revision,
                differences=len(applied.differences),
            )
        self._tell(None)
        return self._found(bundle.revision, bundle.revision, differences=applied.differences)

    async def _reject(self, fault: SourceFault) -> Look:
        self._tell(fault)
        name = self._source.name
        applied = ""
        try:
            async with self._store.reading() as session:
                row = await session.get(ManifestSourceRow, name)
                applied = "" if row is None else row.applied_revision
            if fault.reason is not FaultReason.OTHER and is_news(row, fault):
                async with begin(self._store, f"sync:{name}") as work:
                    await record_fault(work, name, fault)
        except StoreError as error:
            # Nothing can be stored now: the log and the observer tell it.
            log.warning(events.SOURCE_NOT_STORED, source=name, error=str(error))
        return self._found(fault.fetched, applied, fault=fault)

    def _tell(self, fault: SourceFault | None) -> None:
        """Log a fault once, not at every look that finds it again."""
        if fault is not None and fault != self._told:
            log.warning(
                events.MANIFEST_REJECTED,
                source=self._source.name,
                revision=fault.fetched,
                reason=fault.reason.value,
                error=fault.message,
                places=[f"{f['file']}:{f['line']}:{f['column']}" for f in fault.faults[:_PLACES]],
            )
        self._told = fault

    def _found(
        self,
        fetched: str,
        applied: str,
        *,
        differences: tuple[Difference, ...] | None = None,
        fault: SourceFault | None = None,
    ) -> Look:
        name, now = self._source.name, self._store.clock.now()
        return Look(name, fetched, applied, now, differences, fault)
