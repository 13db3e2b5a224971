"""`x3fleet nodes probe`: one look at one panel, now; nothing is written on it.

Beside a controller that stays it is a request like any other: one session at a panel is enough.

Not here: looking (`controller`), what a look found before (`show`).
"""

from typing import TYPE_CHECKING, Any

from cli.exits import Exit
from cli.following import ask_and_follow, is_served
from cli.nodes.change import NodeArgument
from cli.opening import LogOption, opened_controller
from cli.render import Output, OutputOption, Page, show
from cli.reports import exit_code, node_document, plan_blocks
from cli.told import run_blocks, run_exit
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.render import Block
    from controller.runtime.report import FleetReport


async def probe(
    node: NodeArgument,
    /,
    *,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Look at one panel now; a controller that is at work is asked to. Writes nothing on the panel."""
    name = NodeName(node)
    async with opened_controller(log_level) as controller:
        if await is_served(controller.store):
            # Its session is open already, and one at a time is at a panel.
            kind = RequestKind.PROBE
            (view,) = await ask_and_follow(controller.store, kind, (name,), output)
            return _show_answer(view.answers[0].detail, output)
        report = await controller.plan((name,))
    show(Page(node_document(report.nodes[0]), tuple(_told(report))), output)
    return exit_code(report)


def _show_answer(answer: dict[str, Any], output: Output) -> Exit:
    """Show what a controller that is at work found, as a look of our own is shown."""
    document = {key: value for key, value in answer.items() if key != "in_sync"}
    whole: dict[str, Any] = {"in_sync": answer.get("in_sync", False), "nodes": [document]}
    # What concerns the whole fleet is not asked by a probe.
    whole |= {"unschedulable": [], "refused_moves": []}
    lines: list[Block] = []
    if not document["error"]:
        lines.append(
            f"{document['node']} answers: 3x-ui {document['version']} (API {document['family']}), "
            f"Xray {document['xray']}, {document['duration_s']:.2f} s"
        )
    lines += run_blocks(whole)
    show(Page(document, tuple(lines)), output)
    return run_exit(whole)


def _told(report: "FleetReport") -> "Iterator[Block]":
    node = report.nodes[0]
    if not node.failed:
        status = node.status
        inbounds = 0 if node.last is None else len(node.last.remaining.survey.bound)
        yield (
            f"{node.node} answers: 3x-ui {status.version} (API {status.family}), "
            f"Xray {status.xray}, {inbounds} inbounds bound, {node.duration_s:.2f} s"
        )
    yield from plan_blocks(report, every=False)
