"""Every event that the code logs is listed, with its fields, in an events.py."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, at, dotted, product_files, tree

METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
EVENT_FILES = tuple(
    f for f in product_files() if f.name == "events.py" and "queries" not in f.parts
)


def listed() -> set[str]:
    """Snake-case strings that stand as constants or keys in the lists of events."""
    return {
        node.value
        for path in EVENT_FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.isidentifier() and node.value == node.value.lower()
    }


def constants() -> set[str]:
    """Names of the constants that the lists of events define."""
    return {
        target.id
        for path in EVENT_FILES
        for node in ast.walk(tree(path))
        for target in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    }


def logged() -> list[tuple[Path, ast.Call]]:
    """Every call of a logger's method."""
    return [
        (path, node)
        for path in product_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in METHODS
        and dotted(node.func.value).split(".")[-1] in {"log", "_log", "logger"}
    ]


@pytest.mark.skipif(not EVENT_FILES, reason="no events.py exists yet")
def test_every_logged_event_is_listed() -> None:
    """An event is a literal of the list, or a constant of an events.py; never built at run time."""
    unlisted = [f"{at(p, c)} {ast.unparse(c)[:80]}" for p, c in logged() if not _is_listed(c)]

    assert [] == unlisted


def documented() -> dict[str, str]:
    """What docs/events.md says of each event."""
    rows = [line.split("|") for line in (ROOT / "docs/events.md").read_text().splitlines()]
    return {row[1].strip(" `"): row[2].strip() for row in rows if len(row) == 4 and "`" in row[1]}


def described() -> dict[str, str]:
    """What the lists say: a constant, and the text under it."""
    pairs = [pair for path in EVENT_FILES for pair in pairwise(tree(path).body)]
    return {
        one.value.value: " ".join(ast.literal_eval(text.value).split())
        for one, text in pairs
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        if isinstance(text, ast.Expr)
    }


def test_every_event_stands_in_its_document_word_for_word() -> None:
    assert described() == documented()
    assert len(documented()) > 50


def test_nobody_logs_before_events_are_listed() -> None:
    if not EVENT_FILES:
        assert [] == [at(p, c) for p, c in logged()]


def test_nobody_prints() -> None:
    """Output is the cli's, through its renderer; the simulator prints its one line of addresses."""
    rooms = {"cli", "simulator"}
    prints = [
        at(path, node)
        for path in product_files()
        if not rooms & set(path.parts)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    ]

    assert [] == prints


def _is_listed(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant):
        return first.value in listed()
    return first is not None and dotted(first).split(".")[-1] in constants()
