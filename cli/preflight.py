"""Whatever can be known to be wrong before anything is begun: all of it at once, with what to do.

A controller looks before it starts, the doctor whenever it is asked; both call this. Nothing is changed
and no panel is contacted. Not here: looking at panels, variables that nothing explains (`doctor`).
"""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cli.findings import Finding, Level
from cli.opening import require_database, shown_url
from desired_state.model.errors import ConfigError, X3FleetError
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from controller.settings import ControllerSettings, MetricsSettings
    from desired_state.manifests.settings import SyncSettings
    from desired_state.store.backup.settings import BackupSettings
    from desired_state.store.engine import Store

T = TypeVar("T")

_NEXT_VARIABLE = re.compile(r"; (?=X3FLEET_)")


@dataclass(frozen=True, slots=True)
class Read:
    """Settings as far as they can be read, and what is wrong with the rest."""

    settings: "ControllerSettings | None"
    sync: "SyncSettings | None"
    backups: "BackupSettings | None"
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """Whether everything could be read."""
        return not any(one.level is Level.BAD for one in self.findings)


def read_settings() -> Read:
    """Read every setting; one that is wrong hides no other."""
    from controller.settings import load_settings
    from desired_state.commands.settings import load_prune_settings
    from desired_state.manifests.settings import load_sync_settings
    from desired_state.store.backup.settings import load_backup_settings

    findings: list[Finding] = []
    settings = _load(load_settings, findings)
    sync = _load(load_sync_settings, findings)
    _load(load_prune_settings, findings)
    backups = _load(load_backup_settings, findings)
    if not findings:
        findings.append(Finding("settings", "X3FLEET_*", Level.OK, "can be read"))
    return Read(settings, sync, backups, tuple(findings))


def check_files(settings: "ControllerSettings") -> Iterator[Finding]:
    """Find files with secrets that everybody on this machine can read."""
    from desired_state.store.keyring import key_file

    keys = None if settings.store.encryption_keys else key_file(settings.store)
    for path in (settings.store.database.sqlite_path, keys):
        if path is not None and path.is_file() and path.stat().st_mode & 0o007:
            yield Finding(
                "database", str(path), Level.WARN, "is open to everybody on this machine",
                f"chmod o= {path}",
            )  # fmt: skip


def check_port(metrics: "MetricsSettings") -> Iterator[Finding]:
    """Find a port for metrics that cannot be had."""
    if not metrics.enabled:
        return
    name = "X3FLEET_CONTROLLER__METRICS__PORT"
    family = socket.AF_INET6 if ":" in metrics.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((metrics.host, metrics.port))
        except OSError as error:
            yield Finding(
                "metrics", name, Level.BAD,
                f"port {metrics.port} of {metrics.host} cannot be listened on: {error.strerror}",
                "choose another one, or set X3FLEET_CONTROLLER__METRICS__ENABLED=false",
            )  # fmt: skip


def check_backups(read: Read) -> Iterator[Finding]:
    """Find out whether anybody makes backups, and whether they can be made."""
    from desired_state.store.backup.keys import read_keys

    settings, backups = read.settings, read.backups
    if settings is None or backups is None:
        return
    name = "X3FLEET_BACKUP__FOLDER"
    if not backups.every_s:
        message = "nobody makes backups by schedule: X3FLEET_BACKUP__EVERY_S is 0"
        yield Finding("backups", name, Level.WARN, message, "x3fleet backup create makes one")
        return
    try:
        folder = backups.place(settings.store)
        # Whether there are keys of secrets, the look at the database tells.
        read_keys(backups.own_keys)
    except X3FleetError as error:
        yield Finding("backups", name, Level.WARN, error.message, error.hint or "")
        return
    yield Finding("backups", str(folder), Level.OK, "is where backups go")


async def check_secrets(store: "Store", settings: "ControllerSettings") -> Finding:
    """Prove that the installation's secret opens: the keys are those of this database.

    Raises:
        StoreError: they are not, or it cannot be read.
    """
    from desired_state.store.installation import read_ownership
    from desired_state.store.version import current

    at = await current(store)
    async with store.reading() as session:
        await read_ownership(session, store.vault)
    message = f"at version {at}, its secrets can be read"
    return Finding("database", shown_url(settings.store), Level.OK, message)


async def check_recovery(store: "Store") -> list[Finding]:
    """Find nodes that wait for a person since the database was restored, and a backup that failed."""
    from desired_state.queries.backups import read_backups
    from desired_state.queries.recovery import read_recovery

    async with store.reading() as session:
        recovery = await read_recovery(session)
        backups = await read_backups(session, store.clock.now())
    found = []
    if recovery is not None and recovery.nodes:
        names = ", ".join(name for name, _ in recovery.nodes)
        found.append(
            Finding(
                "backups", recovery.backup, Level.WARN,
                f"the database was restored from it, and a person has not accepted all of: {names}",
                "x3fleet backup difference shows what waits, x3fleet backup accept lets it pass",
            )
        )  # fmt: skip
    if backups.error:
        hint = "x3fleet backup create tries again now"
        found.append(
            Finding("backups", "the last one", Level.WARN, f"failed: {backups.error}", hint)
        )
    return found


async def check_references(store: "Store") -> list[Finding]:
    """Find nodes whose secrets cannot be had; the others are served all the same."""
    from sqlalchemy import select

    from desired_state.queries.node import TargetUnresolved, node_target
    from desired_state.store.tables.desired import NodeRow

    found = []
    async with store.reading() as session:
        for name in await session.scalars(select(NodeRow.name).order_by(NodeRow.name)):
            try:
                await node_target(session, NodeName(name), store.vault)
            except TargetUnresolved as error:
                message = error.message.removeprefix(f"node {name}: ")
                found.append(Finding("nodes", name, Level.WARN, message, error.hint or ""))
    return found


async def examine(read: Read) -> tuple[Finding, ...]:
    """Look at everything that a controller stands on; what is BAD forbids a start."""
    from desired_state.store.engine import open_store
    from desired_state.store.version import check_version

    settings = read.settings
    if settings is None:
        return read.findings
    found = [
        *read.findings,
        *check_files(settings),
        *check_port(settings.service.metrics),
        *check_backups(read),
    ]
    try:
        require_database(settings.store)
        async with open_store(settings.store) as store:
            await check_version(store)
            found.append(await check_secrets(store, settings))
            found += await check_recovery(store)
            found += await check_references(store)
    except X3FleetError as error:
        found.append(failed("database", shown_url(settings.store), error))
    return tuple(found)


def failed(area: str, subject: str, error: X3FleetError) -> Finding:
    """Make a finding of an error."""
    return Finding(area, subject, Level.BAD, error.message, error.hint or "")


def _load(load: Callable[[], T], findings: list[Finding]) -> T | None:
    try:
        return load()
    except ConfigError as error:
        for fault in _NEXT_VARIABLE.split(error.message):
            name, _, message = fault.partition(": ")
            if not message:
                name, message = "X3FLEET_*", fault
            hint = error.hint or "correct it, or take it away; x3fleet config show shows the rest"
            findings.append(Finding("settings", name, Level.BAD, message, hint))
        return None
