"""`x3fleet plan`, `x3fleet reconcile now`, `x3fleet approve`.

Not here: planning and doing (`controller`), what a report looks like (`reports`).
"""

from typing import Annotated

from cyclopts import Parameter

from cli.exits import Exit
from cli.following import ask_and_follow, run_document
from cli.opening import LogOption, opened_controller, unit_of_work
from cli.progress import following
from cli.render import Output, OutputOption, Page, count, show
from cli.reports import exit_code, fleet_document, plan_blocks, summary
from cli.told import run_blocks, run_exit, run_summary
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind

NodesOption = Annotated[
    tuple[str, ...], Parameter(name="--node", help="only this one; may be repeated")
]


async def plan(
    *,
    node: NodesOption = (),
    every: Annotated[bool, Parameter(name="--all", help="list every action")] = False,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Show what reconcile would do; exits 2 on drift, 3 if blocked."""
    from desired_state.queries.blocked import list_blocked

    async with opened_controller(log_level) as controller:
        with following(output, "looking") as on_event:
            report = await controller.plan(_names(node), on_event=on_event)
        async with controller.store.reading() as session:
            stored = {(one.node, one.digest) for one in await list_blocked(session)}
    blocks = (*plan_blocks(report, every=every, stored=stored), summary(report, planned=True))
    show(Page(fleet_document(report), blocks), output)
    return exit_code(report)


async def now(
    *,
    node: NodesOption = (),
    wait: Annotated[bool, Parameter(help="for another run to end, instead of giving up")] = False,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Make panels as they should be, and prove it; a controller that is at work is asked to."""
    from controller.runtime.errors import AlreadyRunning, HolderKind

    async with opened_controller(log_level) as controller:
        try:
            with following(output, "reconciling") as on_event:
                report = await controller.reconcile(_names(node), on_event=on_event, wait=wait)
            document = fleet_document(report)
        except AlreadyRunning as refused:
            if refused.holder.kind not in (HolderKind.DAEMON, HolderKind.REPLICA):
                raise
            store = controller.store
            views = await ask_and_follow(store, RequestKind.RECONCILE, _names(node), output)
            document = await run_document(controller, views)
    show(Page(document, (*run_blocks(document), run_summary(document))), output)
    return run_exit(document)


async def approve(
    digest: Annotated[str, Parameter(name="DIGEST", help="its first eight digits or more")],
    /,
    *,
    node: Annotated[
        str | None, Parameter(help="needed only where two nodes withhold the same set")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Let pass what a guard withholds under a digest, and nothing else."""
    from desired_state.commands.requests import approve as approve_set

    async with unit_of_work() as work:
        approved = await approve_set(work, digest, node=NodeName(node) if node else None)
    document = {
        "node": approved.node,
        "kind": approved.kind,
        "digest": approved.digest,
        "emails": list(approved.emails),
    }
    line = (
        f"approved on {approved.node}: {approved.kind} of {count(len(approved.emails), 'client')};"
        f" x3fleet reconcile now --node {approved.node} must begin within 15 minutes"
    )
    show(Page(document, (line,)), output)
    return Exit.DONE


def _names(nodes: tuple[str, ...]) -> tuple[NodeName, ...]:
    return tuple(NodeName(node) for node in nodes)
