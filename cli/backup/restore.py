"""`x3fleet backup restore`, `difference` and `accept`: the way back from a lost database.

Nothing is written to any panel until a person has accepted what was shown. Not here: restoring
(`desired_state.commands.restore`), what a node in recovery may do (`controller.core.modes`).
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.backup.difference import difference_blocks, difference_document
from cli.backup.place import read_place, with_keys
from cli.backup.show import FileArgument
from cli.exits import Exit
from cli.opening import ACTOR, LogOption, opened_controller, unit_of_work
from cli.progress import following
from cli.render import Block, Output, OutputOption, Page, Text, Tone, count, show
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from desired_state.commands.restore import Restored
    from desired_state.queries.recovery import RecoveryView

NodesOption = Annotated[
    tuple[str, ...], Parameter(name="--node", help="only this one; may be repeated")
]


async def restore(
    file: FileArgument,
    /,
    *,
    replace: Annotated[
        bool, Parameter(help="put a database that holds something aside, under another name")
    ] = False,
    look: Annotated[
        bool, Parameter(name="--look", negative="--no-look", help="at the panels afterwards")
    ] = True,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Restore the database; every node then observes until `backup accept`."""
    from controller.runtime.errors import HolderKind
    from controller.runtime.single import hold_lock
    from desired_state.commands.restore import Order
    from desired_state.commands.restore import restore as restore_database
    from desired_state.store.backup.folder import find_backup
    from desired_state.store.clock import SystemClock
    from desired_state.store.engine import open_store

    place = read_place()
    backup = find_backup(place.folder, file, SystemClock().now())
    order = Order(backup, place.keys, ACTOR, replace)
    async with open_store(with_keys(place)) as store, hold_lock(store, HolderKind.ONE_SHOT):
        restored = await restore_database(store, order)
        served = not store.is_sqlite
    document = _restored_document(restored)
    blocks: list[Block] = [*_restored_blocks(restored)]
    if restored.granted:
        blocks.append(f"{', '.join(restored.granted)} have their rights on it again")
    elif served:
        blocks.append(
            "if roles are to work on it: x3fleet db grants --apply gives them their rights"
        )
    code = Exit.BLOCKED
    if look:
        shown, more, found = await _look(log_level, output)
        document["difference"] = shown
        blocks += more
        code = found
    blocks.append(Text("nothing is written to any panel until x3fleet backup accept", Tone.WARN))
    show(Page(document, tuple(blocks)), output)
    return code


async def difference(*, log_level: LogOption = "off", output: OutputOption = Output.TABLE) -> Exit:
    """Show what a restored database would do to the panels; writes nothing."""
    document, blocks, code = await _look(log_level, output)
    show(Page(document, tuple(blocks)), output)
    return code


async def accept(
    *,
    node: NodesOption = (),
    deletes: Annotated[
        bool, Parameter(help="also what deletes, switches off or shortens; it ends the recovery")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Let nodes be written to again after a restore: first all that takes nothing away."""
    from desired_state.commands.recovery import accept as accept_nodes

    async with unit_of_work() as work:
        accepted = await accept_nodes(work, [NodeName(name) for name in node], deletes=deletes)
    document = {
        "accepted": list(accepted.nodes),
        "recovery": accepted.recovery.value or None,
        "waiting": list(accepted.left),
    }
    told = (
        "is written to as ever"
        if deletes
        else "creates and mends; nothing is deleted, switched off or shortened until x3fleet backup"
        " accept --deletes"
    )
    lines = [f"{count(len(accepted.nodes), 'node')} accepted: each {told}"]
    if accepted.left:
        lines.append(f"still waiting: {', '.join(accepted.left)}")
    show(Page(document, tuple(lines)), output)
    return Exit.DONE


async def _look(log_level: "LogOption", output: Output) -> tuple[dict[str, Any], list[Block], Exit]:
    from desired_state.queries.recovery import read_recovery

    async with opened_controller(log_level) as controller:
        async with controller.store.reading() as session:
            recovery = await read_recovery(session)
        names = () if recovery is None else tuple(name for name, _ in recovery.nodes)
        if recovery is None or not names:
            return _nothing(recovery)
        with following(output, "looking") as on_event:
            report = await controller.plan(names, on_event=on_event)
    document = difference_document(recovery, report)
    code = Exit.ERROR if report.failed else Exit.BLOCKED
    return document, list(difference_blocks(recovery, document)), code


def _nothing(recovery: "RecoveryView | None") -> tuple[dict[str, Any], list[Block], Exit]:
    if recovery is None:
        return {"recovery": None, "nodes": []}, ["no node is in recovery"], Exit.DONE
    return {"recovery": recovery.backup, "nodes": []}, ["no node is declared"], Exit.DONE


def _restored_document(restored: "Restored") -> dict[str, Any]:
    contents, dropped = restored.contents, restored.dropped
    return {
        "restored": True,
        "taken_at": contents.taken_at,
        "schema": contents.schema,
        "installation": contents.installation,
        "rows": sum(contents.tables.values()),
        "replaced": restored.replaced or None,
        "granted": list(restored.granted),
        "dropped": {
            "requests": dropped.requests,
            "approvals": dropped.approvals,
            "rebalances": dropped.rebalances,
            "replays": dropped.replays,
        },
    }


def _restored_blocks(restored: "Restored") -> tuple[Block, ...]:
    contents = restored.contents
    lines: list[Block] = [
        Text(
            f"restored: the database as it was at {contents.taken_at:%Y-%m-%d %H:%M:%S} UTC,"
            f" {count(sum(contents.tables.values()), 'row')}",
            Tone.GOOD,
        )
    ]
    if restored.replaced:
        lines.append(f"what was there is kept as {restored.replaced}")
    return tuple(lines)
