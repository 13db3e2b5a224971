"""`x3fleet backup create` and `x3fleet backup extract`: one backup now, and a panel's database out of one.

Not here: making it (`controller.jobs.backups`), putting a database back on a panel, which is its operator's.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cli.backup.documents import contents_blocks, contents_document
from cli.backup.place import read_place
from cli.backup.show import FileArgument
from cli.exits import Exit
from cli.following import follow, is_served
from cli.opening import ACTOR, LogOption, opened_controller
from cli.render import Output, OutputOption, Page, show
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName

if TYPE_CHECKING:
    from cli.backup.place import Place
    from desired_state.store.backup.making import Made
    from desired_state.store.engine import Store

ALL, NONE = "all", "none"


async def create(
    *,
    nodes: Annotated[
        str, Parameter(help="whose panels' databases go in: all, none, or names by commas")
    ] = ALL,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Make a backup of our database and of the panels' own; a service that is at work is asked to."""
    from controller.jobs.backups import Backups, Cabinet

    async with opened_controller(log_level) as controller:
        chosen = await _choose(controller.store, nodes)
        if await is_served(controller.store):
            made = await _ask(controller.store, None if nodes == ALL else chosen, output)
        else:
            place = read_place()
            cabinet = Cabinet(place.folder, place.keys[0], place.settings)
            backups = Backups(controller.store, cabinet, controller.exports.fetch, controller.clock)
            made = await backups.make(chosen)
    document = {
        "backup": str(made.path),
        "bytes": made.bytes,
        "key": made.key,
        **contents_document(made.contents),
    }
    blocks = (f"{made.path}: {made.bytes} bytes", *contents_blocks(made.contents))
    show(Page(document, blocks), output)
    return Exit.ERROR if made.contents.failed else Exit.DONE


async def extract(
    file: FileArgument,
    /,
    *,
    node: Annotated[str, Parameter(help="whose panel's database")],
    to: Annotated[Path, Parameter(help="the file to write; not there yet")],
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Take a panel's own database out of a backup, as the panel gave it."""
    place = read_place()
    path = await asyncio.to_thread(_extract, place, file, node, to)
    document = {"backup": str(path), "node": node, "file": str(to)}
    line = f"{to} is the database of {node}'s panel; it holds credentials in the clear"
    show(Page(document, (line,)), output)
    return Exit.DONE


async def _ask(store: "Store", nodes: tuple[NodeName, ...] | None, output: Output) -> "Made":
    """Have the service make it: it is the one that talks to panels, and knows where backups lie."""
    from desired_state.commands.backups import ask_for_backup
    from desired_state.store.backup.contents import contents_from_json
    from desired_state.store.backup.errors import BackupError
    from desired_state.store.backup.making import Made
    from desired_state.store.unit_of_work import begin

    async with begin(store, ACTOR) as work:
        asked = await ask_for_backup(work, nodes)
    (view,) = await follow(store, (asked.token,), output)
    (answer,) = view.answers
    told = answer.detail
    if told["state"] == "failed":
        raise BackupError(told["error"], hint=told["hint"])
    contents = contents_from_json(told["contents"])
    return Made(Path(told["backup"]), told["bytes"], told["key"], contents)


async def _choose(store: "Store", nodes: str) -> tuple[NodeName, ...]:
    from sqlalchemy import select

    from desired_state.store.tables.desired import NodeRow

    if nodes == NONE:
        return ()
    async with store.reading() as session:
        declared = list(await session.scalars(select(NodeRow.name).order_by(NodeRow.name)))
    chosen = declared if nodes == ALL else [name.strip() for name in nodes.split(",")]
    unknown = sorted(set(chosen) - set(declared))
    if unknown:
        raise ConfigError(
            f"no node {', '.join(unknown)} is declared", hint="x3fleet nodes list shows them"
        )
    return tuple(NodeName(name) for name in chosen)


def _extract(place: "Place", file: str, node: str, to: Path) -> Path:
    from desired_state.store.backup.archive import unpack
    from desired_state.store.backup.folder import find_backup
    from desired_state.store.backup.scratch import scratch_folder
    from desired_state.store.clock import SystemClock
    from desired_state.store.files import take_name

    path = find_backup(place.folder, file, SystemClock().now())
    with scratch_folder(to.absolute().parent) as folder:
        contents = unpack(path, place.keys, folder)
        parts = {panel.node: panel.part for panel in contents.panels}
        part = parts.get(node)
        if part is None:
            raise ConfigError(
                f"{path.name} holds no database of {node}'s panel",
                hint="x3fleet backup verify tells what is in it",
            )
        try:
            take_name(folder / part.member, to)
        except OSError as error:
            raise ConfigError(f"{to}: {error.strerror}") from error
    return path
