"""`x3fleet doctor`: gathers facts from settings, database and panels, and changes nothing.

Not here: what the facts mean (`checks`, `endpoints`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.config import describe
from cli.doctor.checks import (
    Finding,
    Level,
    NodeFacts,
    check_doubles,
    check_inbounds,
    check_node,
    check_variables,
)
from cli.doctor.endpoints import DeclaredNode, Endpoint, default_port
from cli.environment import own_variables
from cli.exits import Exit
from cli.opening import LogLevel, LogOption, opened_controller, require_database, shown_url
from cli.progress import following
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, count, show
from desired_state.model.errors import ConfigError, X3FleetError
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from controller.core.observed import NotObserved, Observation
    from controller.runtime.report import NodeReport
    from controller.service import Controller
    from controller.settings import ControllerSettings
    from desired_state.queries.node import NodeDetail

AT_ONCE = 32
_TONES = {Level.OK: Tone.GOOD, Level.WARN: Tone.WARN, Level.BAD: Tone.BAD}
_EXITS = {Level.OK: Exit.DONE, Level.WARN: Exit.DRIFT, Level.BAD: Exit.ERROR}


async def doctor(*, log_level: LogOption = "off", output: OutputOption = Output.TABLE) -> Exit:
    """Check settings, database, every panel, every address; exits 1 if something does not work.

    Exits 2 if there is something that nothing explains.
    """
    findings = [finding async for finding in _examine(log_level, output)]
    worst = max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)
    document = {
        "healthy": worst is Level.OK,
        "checks": [
            {
                "area": one.area,
                "subject": one.subject,
                "level": one.level.value,
                "message": one.message,
                "hint": one.hint or None,
            }
            for one in findings
        ],
    }
    grid = Grid(("", "FINDING"), tuple(_rows(findings)))
    show(Page(document, (grid, _summary(findings, worst))), output)
    return _EXITS[worst]


async def _examine(log_level: LogLevel, output: Output) -> AsyncIterator[Finding]:
    from controller.settings import load_settings

    try:
        settings = load_settings()
    except ConfigError as error:
        yield _failed("settings", "X3FLEET_*", error)
        return
    yield Finding("settings", "X3FLEET_*", Level.OK, "can be read")
    nodes: tuple[NodeFacts, ...] | None = None
    for finding in _readable_by_all(settings):
        yield finding
    try:
        require_database(settings.store)
        async with opened_controller(log_level) as controller:
            yield await _database(controller, settings)
            nodes = await _look_at_all(controller, output)
    except X3FleetError as error:
        yield _failed("database", shown_url(settings.store), error)
    # Without nodes it is not known which variables their credentials are read from.
    for finding in () if nodes is None else _judge(settings, nodes):
        yield finding


def _readable_by_all(settings: "ControllerSettings") -> Iterator[Finding]:
    from desired_state.store.keyring import key_file

    keys = None if settings.store.encryption_keys else key_file(settings.store)
    for path in (settings.store.database.sqlite_path, keys):
        if path is not None and path.is_file() and path.stat().st_mode & 0o007:
            yield Finding(
                "database", str(path), Level.WARN, "is open to everybody on this machine",
                f"chmod o= {path}",
            )  # fmt: skip


def _judge(settings: "ControllerSettings", nodes: tuple[NodeFacts, ...]) -> Iterator[Finding]:
    for node in nodes:
        yield from check_node(node)
    yield from check_doubles(nodes)
    yield from check_variables(own_variables(), describe(settings), nodes)
    yield from check_inbounds(nodes)


async def _database(controller: "Controller", settings: "ControllerSettings") -> Finding:
    """Prove that the installation's secret opens: the keys are those of this database."""
    from desired_state.store.installation import read_ownership
    from desired_state.store.version import current

    at = await current(controller.store)
    async with controller.store.reading() as session:
        await read_ownership(session, controller.store.vault)
    message = f"at version {at}, its secrets can be read"
    return Finding("database", shown_url(settings.store), Level.OK, message)


async def _look_at_all(controller: "Controller", output: Output) -> tuple[NodeFacts, ...]:
    with following(output, "looking") as on_event:
        report = await controller.plan(on_event=on_event)
    details = {node.node: await _detail(controller, node.node) for node in report.nodes}
    at_once = asyncio.Semaphore(AT_ONCE)

    async def look(node: "NodeReport") -> "Observation | NotObserved | None":
        # What did not answer once is not asked twice: a refused login least of all.
        if node.failed or node.mode is None or node.mode.value == "paused":
            return None
        async with at_once:
            return await controller.look(node.node)

    looks = await asyncio.gather(*(look(node) for node in report.nodes))
    return tuple(
        _facts(details[node.node], node, seen)
        for node, seen in zip(report.nodes, looks, strict=True)
    )


async def _detail(controller: "Controller", node: NodeName) -> "NodeDetail":
    from desired_state.queries.node import show_node

    async with controller.store.reading() as session:
        detail = await show_node(session, node)
    if detail is None:
        raise ConfigError(f"node {node} vanished meanwhile", hint="run it again")
    return detail


def _facts(
    detail: "NodeDetail", report: "NodeReport", look: "Observation | NotObserved | None"
) -> NodeFacts:
    url = urlsplit(detail.url)
    panel = Endpoint((url.hostname or "").lower(), url.port or default_port(url.scheme))
    return NodeFacts(
        declared=DeclaredNode(report.node, panel, detail.address, url.path),
        report=report,
        look=look,
        orphaned=detail.summary.orphaned,
        guid=detail.guid,
        secrets=tuple(
            place.removeprefix("env ") for _, place in detail.auth if place.startswith("env ")
        ),
    )


def _failed(area: str, subject: str, error: X3FleetError) -> Finding:
    return Finding(area, subject, Level.BAD, error.message, error.hint or "")


def _rows(findings: list[Finding]) -> Iterator[tuple[Cell, ...]]:
    for one in findings:
        hint = f" ({one.hint})" if one.hint else ""
        level = Text(one.level.value, _TONES[one.level])
        yield level, f"{one.subject}: {one.message}{hint}"


def _summary(findings: list[Finding], worst: Level) -> Text:
    bad = sum(one.level is Level.BAD for one in findings)
    odd = sum(one.level is Level.WARN for one in findings)
    if worst is Level.OK:
        return Text("nothing is wrong", Tone.GOOD)
    told = [f"{count(bad, 'thing')} wrong"] if bad else []
    told += [f"{count(odd, 'thing')} unexplained"] if odd else []
    return Text(", ".join(told), _TONES[worst])
