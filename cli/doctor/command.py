"""`x3fleet doctor`: gathers facts from settings, database and panels, and changes nothing.

Not here: what the facts mean (`checks`, `endpoints`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.config import describe
from cli.doctor.checks import (
    NodeFacts,
    check_doubles,
    check_inbounds,
    check_node,
    check_variables,
)
from cli.doctor.endpoints import DeclaredNode, Endpoint, default_port
from cli.environment import own_variables
from cli.exits import Exit
from cli.findings import Finding, Level
from cli.opening import LogLevel, LogOption, opened_controller, require_database, shown_url
from cli.preflight import (
    check_backups,
    check_files,
    check_recovery,
    check_secrets,
    failed,
    read_settings,
)
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
    read = read_settings()
    for finding in read.findings:
        yield finding
    settings = read.settings
    if settings is None:
        return
    nodes: tuple[NodeFacts, ...] | None = None
    for finding in (*check_files(settings), *check_backups(read)):
        yield finding
    try:
        require_database(settings.store)
        async with opened_controller(log_level) as controller:
            yield await check_secrets(controller.store, settings)
            for finding in await check_recovery(controller.store):
                yield finding
            nodes = await _look_at_all(controller, output)
    except X3FleetError as error:
        yield failed("database", shown_url(settings.store), error)
    # Without nodes it is not known which variables their credentials are read from.
    for finding in () if nodes is None else _judge(settings, nodes):
        yield finding


def _judge(settings: "ControllerSettings", nodes: tuple[NodeFacts, ...]) -> Iterator[Finding]:
    for node in nodes:
        yield from check_node(node)
    yield from check_doubles(nodes)
    yield from check_variables(own_variables(), describe(settings), nodes)
    yield from check_inbounds(nodes)


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


def _rows(findings: list[Finding]) -> Iterator[tuple[Cell, ...]]:
    for one in findings:
        yield Text(one.level.value, _TONES[one.level]), str(one)


def _summary(findings: list[Finding], worst: Level) -> Text:
    bad = sum(one.level is Level.BAD for one in findings)
    odd = sum(one.level is Level.WARN for one in findings)
    if worst is Level.OK:
        return Text("nothing is wrong", Tone.GOOD)
    told = [f"{count(bad, 'thing')} wrong"] if bad else []
    told += [f"{count(odd, 'thing')} unexplained"] if odd else []
    return Text(", ".join(told), _TONES[worst])
