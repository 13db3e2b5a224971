"""What a command shows: a page, as a table for people or as one line of JSON for scripts.

A page holds both. Colour and fitting to the width of the window only on a terminal; elsewhere every
cell is printed whole. What a panel chose reaches no terminal raw. Callers: commands. Not here: what a
page says, errors (`exits`), progress.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from cyclopts import Parameter

from desired_state.model.legible import legible, legible_json

WIDE = 10_000
"""Columns of a console that is no window: nothing is ever cut there."""
GAP = 2
LAST = 30
"""Columns that the last column of a table has at least; a narrower window folds lines itself."""


class Output(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output,
    Parameter(name="--output", help="table for people; json: one line, stable, see docs/cli.md"),
]


class Tone(StrEnum):
    """What a cell means; a colour on terminals."""

    PLAIN = ""
    GOOD = "green"
    WARN = "yellow"
    BAD = "bold red"
    DIM = "dim"
    HEAD = "bold"


@dataclass(frozen=True, slots=True)
class Text:
    """A text with its meaning."""

    text: str
    tone: Tone = Tone.PLAIN


Cell = str | int | Text


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headings; a grid without rows says `empty` instead."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = "nothing to show"


Block = str | Text | Grid


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: `document` for scripts, `blocks` for people."""

    document: Mapping[str, Any]
    blocks: tuple[Block, ...] = field(default=())


def show(page: Page, output: Output) -> None:
    """Print a page on stdout."""
    if output is Output.JSON:
        sys.stdout.write(to_json(page.document) + "\n")
        sys.stdout.flush()
        return
    show_blocks(page.blocks)


def show_blocks(blocks: Iterable[Block]) -> None:
    """Print blocks for people on stdout."""
    # Imported here: loading rich costs as much as everything else that `--help` does.
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    console = Console(
        force_terminal=is_terminal,
        no_color=None if is_terminal else True,
        width=None if is_terminal else WIDE,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for block in blocks:
        with console.capture() as capture:
            _print(console, block)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _print(console: Any, block: Block) -> None:  # noqa: ANN401 - a console of rich
    from rich.table import Table

    if not isinstance(block, Grid):
        console.print(_styled(block, keep="\n"), soft_wrap=not console.is_terminal)
        return
    if not block.rows:
        console.print(_styled(Text(block.empty, Tone.DIM)))
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, column in enumerate(block.columns):
        counts = all(isinstance(row[number], int) for row in block.rows)
        table.add_column(
            column,
            justify="right" if counts else "left",
            no_wrap=number < len(block.columns) - 1,
            overflow="fold",
        )
    for row in block.rows:
        table.add_row(*(_styled(cell) for cell in row))
    # Without this a narrow window would squeeze the last column to a letter a line.
    *others, last = _widths(block)
    least = sum(others) + GAP * len(others) + min(last, LAST)
    table.width = least if least > console.width else None
    console.print(table, crop=False)


def _widths(grid: Grid) -> list[int]:
    rows = (grid.columns, *grid.rows)
    texts = [[_shown(cell).text for cell in row] for row in rows]
    return [max(len(row[number]) for row in texts) for number in range(len(grid.columns))]


def _styled(cell: Cell, *, keep: str = "") -> Any:  # noqa: ANN401 - a text of rich
    from rich.text import Text as RichText

    shown = _shown(cell, keep=keep)
    return RichText(shown.text, style=shown.tone.value)


def _shown(cell: Cell, *, keep: str = "") -> Text:
    """Make the text of a cell, or of a block whose lines are kept, as a terminal may have it."""
    text = cell if isinstance(cell, Text) else Text(str(cell))
    return Text(legible(text.text, keep=keep), text.tone)


def to_json(document: Mapping[str, Any]) -> str:
    """Write a document as one line; moments as ISO 8601 in UTC."""
    return legible_json(json.dumps(document, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    message = f"{type(value).__name__} has no form in JSON"
    raise TypeError(message)


def count(number: int, noun: str) -> str:
    """Say how many: `1 node`, `3 nodes`, `2 policies`."""
    if number == 1:
        return f"1 {noun}"
    plural = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeo" else noun + "s"
    return f"{number} {plural}"


def day(moment: datetime | None) -> str:
    """Write a day, or that there is none."""
    return "no end" if moment is None else f"{moment:%Y-%m-%d}"


def ago(moment: datetime | None, now: datetime) -> str:
    """Write how long ago something was, in its largest unit: `3 min`, `2 h`, `5 d`."""
    if moment is None:
        return ""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
