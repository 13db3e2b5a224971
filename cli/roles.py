"""`x3fleet controller` and `x3fleet run`: processes that stay, until SIGTERM or Ctrl-C ends them.

The first signal ends them in order; a second one at once. Not here: what a controller does
(`controller.daemon`), checks before the start (`preflight`).
"""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.findings import Finding, Level
from cli.preflight import Read, examine, read_settings
from cli.render import count

if TYPE_CHECKING:
    from controller.daemon import Extra
    from controller.jobs.backups import Cabinet
    from desired_state.manifests.settings import SyncSettings
    from desired_state.store.engine import Store

ServiceLevel = Literal["error", "warning", "info", "debug"]
ServiceLog = Annotated[
    ServiceLevel, Parameter(name="--log-level", help="the least that its log shows, on stderr")
]


async def controller(*, log_level: ServiceLog = "info") -> Exit:
    """Keep panels as they should be, until SIGTERM."""
    return await _serve(log_level)


async def run(*, log_level: ServiceLog = "info") -> Exit:
    """Do everything in one process, until SIGTERM: the controller, and manifests from their source."""
    return await _serve(log_level, syncs=True)


async def _serve(log_level: ServiceLevel, *, syncs: bool = False) -> Exit:
    from controller.daemon import Daemon
    from controller.parts import equip
    from controller.runtime.errors import HolderKind
    from controller.service import open_controller
    from controller.telemetry.logging import configure_logging
    from controller.telemetry.observers import PanelExchanges

    read = read_settings()
    findings = await examine(read)
    if not _may_start(findings) or read.settings is None:
        return Exit.ERROR
    configure_logging(level=log_level)
    _log(findings)
    with told_to_stop() as stop:
        async with open_controller(
            read.settings, kind=HolderKind.DAEMON, observer=PanelExchanges()
        ) as opened:
            daemon = Daemon(opened)
            equip(daemon, read.settings.service, _cabinet(read))
            if syncs:
                daemon.extras += _front_end(opened.store, read.sync)
            clean = await daemon.run(stop)
    return Exit.DONE if clean else Exit.ERROR


def _cabinet(read: "Read") -> "Cabinet | None":
    """Where backups go; None where nobody says where."""
    from cli.backup.place import cabinet_of

    if read.settings is None or read.backups is None:
        return None
    return cabinet_of(read.settings.store, read.backups)


def _front_end(store: "Store", settings: "SyncSettings | None") -> "Iterator[Extra]":
    """Retention of what was declared, and manifests where there is a source of them."""
    from controller.daemon import Extra
    from desired_state.commands.removal import Removal
    from desired_state.commands.retention import Retention
    from desired_state.commands.settings import load_prune_settings
    from desired_state.commands.sync import ManifestSync

    yield Extra("removal of empty nodes", Removal(store).run)
    yield Extra("retention of desired state", Retention(store, load_prune_settings()).run)
    if settings is not None and settings.is_configured:
        yield Extra("manifest sync", ManifestSync(store, settings).run)


def _may_start(findings: tuple[Finding, ...]) -> bool:
    """Tell everything that forbids a start, each with what to do; nothing does: True."""
    bad = [one for one in findings if one.level is Level.BAD]
    for one in bad:
        sys.stderr.write(f"x3fleet: {one}\n")
    if bad:
        sys.stderr.write(f"x3fleet: not started: {count(len(bad), 'thing')} to correct\n")
    return not bad


def _log(findings: tuple[Finding, ...]) -> None:
    """Tell what does not forbid a start, where it is looked for later."""
    import structlog

    from controller.telemetry import events

    log = structlog.get_logger(__name__)
    for one in findings:
        if one.level is Level.WARN:
            log.warning(
                events.START_WARNED, subject=one.subject, message=one.message, hint=one.hint
            )


@contextmanager
def told_to_stop() -> Iterator[asyncio.Event]:
    """Set an event at the first SIGTERM or SIGINT; the second one cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
