"""`x3fleet nodes probe`: one look at one panel, now; nothing is written anywhere.

Not here: looking (`controller`), what a look found before (`show`).
"""

from typing import TYPE_CHECKING

from cli.exits import Exit
from cli.nodes.change import NodeArgument
from cli.opening import LogOption, opened_controller
from cli.render import Output, OutputOption, Page, show
from cli.reports import exit_code, node_document, plan_blocks
from desired_state.model.ids import NodeName

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
    """Look at one panel now; writes nothing, here or there."""
    async with opened_controller(log_level) as controller:
        report = await controller.plan((NodeName(node),))
    show(Page(node_document(report.nodes[0]), tuple(_told(report))), output)
    return exit_code(report)


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
