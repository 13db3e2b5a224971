"""What the doctor says: facts in, findings out, each with what to do.

Pure. Callers: `command`. Not here: gathering facts, scanning texts (`endpoints`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.advice import advise, full_name
from cli.doctor.endpoints import (
    DeclaredNode,
    Endpoint,
    endpoints_in,
    is_local,
    proxies_in,
    unexplained,
)
from cli.findings import Finding, Level
from cli.render import count

if TYPE_CHECKING:
    from controller.core.observed import NotObserved, Observation
    from controller.runtime.report import NodeReport

DATABASE_URL = "X3FLEET_DATABASE__URL"
REPOSITORY = "X3FLEET_SYNC__REPOSITORY"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One declared node: what is stored of it, and what its panel said just now."""

    declared: DeclaredNode
    report: "NodeReport"
    look: "Observation | NotObserved | None" = None
    orphaned: bool = False
    guid: str | None = None
    secrets: tuple[str, ...] = field(default=())
    """Variables that its credentials are read from."""


def check_variables(
    variables: Mapping[str, str], known: Iterable[str], nodes: tuple[NodeFacts, ...]
) -> Iterator[Finding]:
    """Find variables with our prefix that mean nothing, and endpoints in any of them."""
    settings = set(known)
    secrets = {name for node in nodes for name in node.secrets}
    declared = [node.declared for node in nodes if not node.orphaned]
    for name, value in variables.items():
        if name not in settings | secrets:
            yield Finding(
                "settings", name, Level.WARN, "is no setting, and no node reads it",
                "correct its name, or take it away",
            )  # fmt: skip
        if name in (DATABASE_URL, REPOSITORY):
            # Other servers than panels, by their own meaning.
            continue
        for told in unexplained(endpoints_in(value), declared):
            yield Finding(
                "endpoints", name, Level.WARN, f"names an endpoint: {told}",
                "declare the node, or take the variable away",
            )  # fmt: skip


def check_node(facts: NodeFacts) -> Iterator[Finding]:
    """Say how one node's panel answers."""
    name, report = facts.declared.name, facts.report
    if facts.orphaned:
        yield Finding(
            "endpoints", name, Level.WARN,
            f"{facts.declared.panel} is still in the database; no manifest declares the node",
            "declare it again, or move its keys away",
        )  # fmt: skip
    held = [c for c in report.conditions if c.status and c.type.value not in _QUIET]
    if report.error:
        yield Finding("nodes", name, Level.BAD, report.error)
    elif not report.failed:
        yield Finding("nodes", name, Level.OK, _answers(report))
    for condition in held:
        level = Level.WARN if condition.type.value == "Drifted" else Level.BAD
        message = f"{full_name(condition.type.value, condition.reason)}: {condition.message}"
        hint = advise(condition.reason, name, condition.message)
        yield Finding("nodes", name, level, message, hint)


_QUIET = frozenset({"Ready", "Reconciling", "Paused"})


def _answers(report: "NodeReport") -> str:
    if any(c.type.value == "Paused" and c.status for c in report.conditions):
        return "is paused: not contacted"
    status = report.status
    bound = 0 if report.last is None else len(report.last.remaining.survey.bound)
    return (
        f"reachable, logged in, 3x-ui {status.version}, API {status.family}, "
        f"Xray {status.xray}, {count(bound, 'inbound')} bound"
    )


def check_inbounds(nodes: tuple[NodeFacts, ...]) -> Iterator[Finding]:
    """Find hosts in the panels' own inbounds that no declared node explains."""
    declared = [node.declared for node in nodes if not node.orphaned]
    for node in nodes:
        for inbound in getattr(node.look, "inbounds", ()):
            hosts = [] if is_local(inbound.listen) else [inbound.listen.lower()]
            hosts += proxies_in(inbound.stream)
            for told in unexplained((Endpoint(host) for host in hosts), declared):
                yield Finding(
                    "endpoints", node.declared.name, Level.WARN,
                    f"inbound {inbound.id} sends customers to another host: {told}",
                    "declare that host as a node's address, or correct the inbound",
                )  # fmt: skip


def check_doubles(nodes: tuple[NodeFacts, ...]) -> Iterator[Finding]:
    """Find one panel behind two nodes: by its address, and by its GUID."""
    panels: dict[str, list[str]] = {}
    for node in nodes:
        address = f"address {node.declared.panel}{node.declared.path}"
        panels.setdefault(address, []).append(node.declared.name)
        guid = getattr(node.look, "guid", None) or node.guid
        if guid:
            panels.setdefault(f"GUID {guid[:8]}", []).append(node.declared.name)
    for what, names in sorted(panels.items()):
        if len(names) > 1:
            yield Finding(
                "nodes", ", ".join(names), Level.BAD, f"are one panel: the same {what}",
                "declare a panel once: each node takes the other's clients for strangers",
            )  # fmt: skip
