"""A progress bar while a run goes over the fleet: on a terminal only, on stderr.

Callers: `plan` and `reconcile now`. Not here: what a run did (`reports`).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.render import Output

if TYPE_CHECKING:
    from controller.runtime.report import NodeProgress

    OnEvent = Callable[[NodeProgress], None]


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
