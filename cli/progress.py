"""A progress bar while a run goes over the fleet: on a terminal only, on stderr.

Callers: `plan` and `reconcile now`. Not here: what a run did (`reports`).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.render import Output

if TYPE_CHECKING:
    from typing import Any

    from controller.runtime.report import NodeProgress
    from desired_state.queries.requests import RequestView

    OnEvent = Callable[[NodeProgress], None]


@contextmanager
def watching(output: Output) -> "Iterator[Callable[[tuple[RequestView, ...]], None]]":
    """Show how far a controller is with requests, while the block runs; where anybody would see it."""
    if output is Output.JSON or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asked", total=None)

        def tell(views: "tuple[RequestView, ...]") -> None:
            done = sum(len(view.answers) for view in views)
            total = done + sum(len(view.waiting) for view in views)
            told = [_step(one.node, one.detail) for view in views for one in view.progress]
            title = ", ".join(told[:3]) or "waiting for the controller"
            progress.update(task, description=title, completed=done, total=total)

        yield tell


def _step(node: str, detail: "dict[str, Any]") -> str:
    left = f", {detail['left']} left" if detail.get("left") else ""
    # What is asked of no node is told of none.
    return f"{f'{node}: ' if node else ''}{detail.get('stage', '')}{left}"


@contextmanager
def following(output: Output, verb: str) -> "Iterator[OnEvent | None]":
    """Show a bar while the block runs; None where nobody would see it."""
    if output is Output.JSON or not sys.stderr.isatty():
        yield None
        return
    # Imported here: only a terminal needs it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[node]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=None, node="")

        def on_event(step: "NodeProgress") -> None:
            if step.stage.value == "placed":
                return
            title = verb if step.round <= 1 else f"{verb}, round {step.round}"
            progress.update(
                task, description=title, completed=step.done, total=step.total, node=step.node
            )

        yield on_event
