"""`x3fleet nodes rebuild`: have a panel that lost its clients filled again, with the same credentials.

First it shows what would happen, and a digest; with that digest it does it. Not here: looking and creating
(`controller`), what may be approved (`desired_state.commands.rebuild`).
"""

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.following import follow
from cli.nodes.change import NodeArgument
from cli.opening import ACTOR, LogOption, opened_controller
from cli.progress import following
from cli.render import Grid, Output, OutputOption, Page, Text, Tone, count, show
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind

if TYPE_CHECKING:
    from cli.render import Block
    from controller.service import Controller

ApproveOption = Annotated[
    str | None,
    Parameter(name="--approve", help="the digest that was shown, its first eight digits or more"),
]
WaitOption = Annotated[bool, Parameter(help="until a controller that is at work is done with it")]


async def rebuild(
    node: NodeArgument,
    /,
    *,
    approve: ApproveOption = None,
    wait: WaitOption = False,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Show what a rebuild of a wiped panel would do; with --approve, do it."""
    name = NodeName(node)
    async with opened_controller(log_level) as controller:
        if approve is None:
            document = await _preview(controller, name, output)
            show(Page(document, tuple(_told(document))), output)
            return _exit_of_preview(document)
        document = await _rebuild(controller, name, approve, output, wait=wait)
    show(Page(document, (_report(document),)), output)
    if document["state"] is None:
        return Exit.DONE
    return Exit.DONE if document["state"] == "in sync" else Exit.DRIFT


async def _preview(controller: "Controller", node: NodeName, output: Output) -> dict[str, Any]:
    from controller.runtime.errors import AlreadyRunning
    from desired_state.commands.requests import ask
    from desired_state.store.unit_of_work import begin

    async with begin(controller.store, ACTOR) as work:
        asked = await ask(work, RequestKind.PREVIEW, node=node)
    # One that is at work answers by itself.
    with contextlib.suppress(AlreadyRunning):
        await controller.preview(node, asked.token)
    (view,) = await follow(controller.store, (asked.token,), output)
    document = dict(view.answers[0].detail)
    document.pop("emails", None)
    return document


async def _rebuild(
    controller: "Controller", node: NodeName, digest: str, output: Output, *, wait: bool
) -> dict[str, Any]:
    from controller.runtime.errors import AlreadyRunning
    from desired_state.commands.rebuild import rebuild as ask
    from desired_state.store.unit_of_work import begin

    async with begin(controller.store, ACTOR) as work:
        asked = await ask(work, node, digest)
    document: dict[str, Any] = {
        "node": node, "token": asked.token, "digest": asked.digest, "clients": asked.clients,
        "state": None, "created": None, "verified": None, "error": None,
    }  # fmt: skip
    try:
        with following(output, "rebuilding") as on_event:
            await controller.reconcile((node,), on_event=on_event)
    except AlreadyRunning:
        if not wait:
            return document
    (view,) = await follow(controller.store, (asked.token,), output)
    answer = view.answers[0].detail
    fields = ("state", "created", "verified", "error")
    return document | {name: answer.get(name) for name in fields}


def _exit_of_preview(document: dict[str, Any]) -> Exit:
    states = {"whole": Exit.DONE, "to rebuild": Exit.BLOCKED, "blocked": Exit.BLOCKED}
    return states.get(str(document["state"]), Exit.ERROR)


def _told(document: dict[str, Any]) -> "list[Block]":
    node, state = document["node"], document["state"]
    if state == "failed":
        return [Text(f"{node}: {document['error']}", Tone.BAD)]
    lost = (
        f"{count(document['missing'], 'client')} lost, {document['to_create']} to create, "
        f"{document['to_delete']} to delete, {document['foreign']} foreign"
    )
    told: list[Block] = [
        f"{node} answers: 3x-ui {document['version']}, panel {(document['guid'] or 'unnamed')[:8]}",
        Grid(
            ("INBOUND", "PROTOCOL", "PORT", "TAG"),
            tuple((i["id"], i["protocol"], i["port"], i["tag"]) for i in document["inbounds"]),
            empty="no inbound fits",
        ),
        lost,
    ]
    if state == "whole":
        return [*told, Text("nothing is lost: there is nothing to rebuild", Tone.GOOD)]
    if state == "blocked":
        return [*told, Text(f"a rebuild cannot help: {document['error']}", Tone.BAD)]
    command = f"x3fleet nodes rebuild {node} --approve {document['digest'][:12]}"
    return [*told, f"the same credentials return; if that is right, within 15 minutes: {command}"]


def _report(document: dict[str, Any]) -> str:
    node = document["node"]
    if document["state"] is None:
        return f"{node} is rebuilt by the controller at work; x3fleet moves list follows it"
    created, verified = document["created"], document["verified"]
    error = f"; {document['error']}" if document["error"] else ""
    return f"{node}: {document['state']}; {created} created, {verified} verified{error}"
