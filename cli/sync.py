"""`x3fleet sync`, `x3fleet manifests status|transfer`: manifests from their source, how it was found.

Not here: looking and applying (`desired_state.commands.sync`), retention, `x3fleet run`, which does both
beside a controller.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Block, Output, OutputOption, Page, Text, Tone, ago, count, show
from cli.roles import ServiceLog, told_to_stop

if TYPE_CHECKING:
    from datetime import datetime

    from desired_state.commands.sync import Look
    from desired_state.manifests.settings import SyncSettings
    from desired_state.queries.sources import SourceView
    from desired_state.store.engine import Store

Once = Annotated[bool, Parameter(name="--once", help="look once and end; exits 1 if it is refused")]


async def sync(
    *, once: Once = False, log_level: ServiceLog = "info", output: OutputOption = Output.TABLE
) -> Exit:
    """Apply manifests from their source, revision by revision, until SIGTERM."""
    from controller.telemetry.logging import configure_logging
    from desired_state.manifests.settings import load_sync_settings

    settings = load_sync_settings()
    configure_logging(level="critical" if once else log_level)
    async with opened_store() as store:
        if once:
            return await _once(store, settings, output)
        with told_to_stop() as stop:
            await _until(stop, *_parts(store, settings))
    return Exit.DONE


async def status(*, output: OutputOption = Output.TABLE) -> Exit:
    """Show sources of manifests: fetched, applied, what is wrong; exits 2 if anything is."""
    from desired_state.queries.sources import list_sources

    async with opened_store() as store, store.reading() as session:
        now = store.clock.now()
        sources = await list_sources(session)
    blocks: list[Block] = []
    for source in sources:
        blocks += _told(source, now)
    if not sources:
        blocks.append("no manifests were applied yet; x3fleet manifests apply DIR, or x3fleet sync")
    show(Page({"sources": [_document(source) for source in sources]}, tuple(blocks)), output)
    return Exit.DONE if all(source.in_force for source in sources) else Exit.DRIFT


async def transfer(
    source: Annotated[str, Parameter(name="SOURCE", help="as manifests status names it")],
    /,
    *,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Let the source of the settings own what another declared: from a folder into git, say."""
    from desired_state.commands import sources
    from desired_state.manifests.settings import load_sync_settings
    from desired_state.manifests.sources.choose import choose_source

    new = choose_source(load_sync_settings()).name
    async with unit_of_work() as work:
        moved = await sources.hand_over(work, source, new)
    told = f"{new} owns what {source} declared: {count(moved, 'thing')}"
    show(Page({"before": source, "source": new, "moved": moved}, (told,)), output)
    return Exit.DONE


def _parts(store: "Store", settings: "SyncSettings") -> tuple[Awaitable[None], ...]:
    from desired_state.commands.removal import Removal
    from desired_state.commands.retention import Retention
    from desired_state.commands.settings import load_prune_settings
    from desired_state.commands.sync import ManifestSync

    syncing, pruning = ManifestSync(store, settings), Retention(store, load_prune_settings())
    return syncing.run(), pruning.run(), Removal(store).run()


async def _until(stop: asyncio.Event, *parts: Awaitable[None]) -> None:
    """Let parts run until somebody says stop; one that breaks ends all, with its error."""
    tasks = [asyncio.ensure_future(part) for part in (stop.wait(), *parts)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _once(store: "Store", settings: "SyncSettings", output: Output) -> Exit:
    from desired_state.commands.sync import ManifestSync

    look = await ManifestSync(store, settings).look()
    show(Page(_look_document(look), tuple(_look_told(look))), output)
    return Exit.DONE if look.fault is None else Exit.ERROR


# -- what is shown ---------------------------------------------------------------------------------


def _look_document(look: "Look") -> dict[str, Any]:
    fault = look.fault
    return {
        "source": look.source,
        "fetched": look.fetched or None,
        "applied": look.applied or None,
        "differences": len(look.differences or ()),
        "error": None if fault is None else _error(fault.code, fault.message, fault.faults),
    }


def _look_told(look: "Look") -> list[Block]:
    if look.fault is not None:
        lines: list[Block] = [Text(f"{look.source}: {look.fault.message}", Tone.BAD)]
        kept = look.applied[:12]
        lines += [f"  {_place(fault)}" for fault in look.fault.faults]
        lines.append(f"{kept} stays in force" if kept else "nothing was ever applied of it")
        return lines
    if look.differences is None:
        return [f"{look.source}: {look.fetched[:12]} is in force, nothing is new"]
    changes = count(len(look.differences), "difference")
    return [Text(f"{look.source}: {look.fetched[:12]} applied, {changes}", Tone.GOOD)]


def _told(source: "SourceView", now: "datetime") -> list[Block]:
    state = Text("in force", Tone.GOOD) if source.in_force else Text("not in force", Tone.BAD)
    lines: list[Block] = [
        Text(f"{source.source}: {state.text}", state.tone),
        f"  fetched  {_revision(source.fetched_revision, source.fetched_at, now)}",
        f"  applied  {_revision(source.applied_revision, source.applied_at, now)}",
        f"  nodes    {source.nodes}",
    ]
    if source.code:
        lines.append(Text(f"  failing  since {ago(source.since, now)}: {source.error}", Tone.BAD))
        lines += [f"    {_place(fault)}" for fault in source.faults]
    for orphan in source.orphans:
        becomes = "its keys are to leave" if orphan.draining else "kept with its keys, takes none"
        lines.append(Text(f"  orphaned {orphan.node}: {becomes}", Tone.WARN))
    return lines


def _revision(revision: str, at: "datetime | None", now: "datetime") -> str:
    return f"{revision[:12]}, {ago(at, now)}" if revision else "nothing yet"


def _place(fault: dict[str, Any]) -> str:
    where = f"{fault['file']}:{fault['line']}:{fault['column']}"
    field = f" {fault['field']}:" if fault["field"] else ""
    hint = f" ({fault['hint']})" if fault["hint"] else ""
    return f"{where}:{field} {fault['message']}{hint}"


def _document(source: "SourceView") -> dict[str, Any]:
    return {
        "source": source.source,
        "in_force": source.in_force,
        "fetched": source.fetched_revision or None,
        "fetched_at": source.fetched_at,
        "applied": source.applied_revision or None,
        "applied_at": source.applied_at,
        "error": _error(source.code, source.error, source.faults) if source.code else None,
        "since": source.since,
        "checked_at": source.checked_at,
        "looked_at": source.looked_at,
        "nodes": source.nodes,
        "orphans": [{"node": one.node, "draining": one.draining} for one in source.orphans],
    }


def _error(code: str, message: str, faults: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {"code": code, "message": message, "faults": list(faults)}
