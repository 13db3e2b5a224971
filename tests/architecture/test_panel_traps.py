"""Every trap of docs/panels.md is held by tests that exist, and one of them is of x3fleet itself."""

import ast
import re
from functools import cache

import pytest

from tests.architecture.source import ROOT, files_of_tests, product_files, rel, tree

ROW = re.compile(r"^\| (?P<number>\d+) \|(?P<texts>.+)\|(?P<tests>[^|]+)\|$", re.MULTILINE)
TEST = re.compile(r"`(test_[a-z0-9_]+)`")
TAG = re.compile(r"# QUIRK\(([a-z0-9-]+),")


def rows() -> dict[int, list[str]]:
    """Names of tests by the number of the row that they hold."""
    text = (ROOT / "docs/panels.md").read_text()
    return {int(row["number"]): TEST.findall(row["tests"]) for row in ROW.finditer(text)}


@cache
def defined() -> dict[str, list[str]]:
    """Files that define a test of a name."""
    found: dict[str, list[str]] = {}
    for path in files_of_tests():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, []).append(rel(path))
    return found


def test_every_trap_has_its_row() -> None:
    """Twenty-six were seen on running panels; further ones follow without a gap."""
    numbers = list(rows())

    assert list(range(1, len(numbers) + 1)) == numbers
    assert len(numbers) >= 26


def test_every_test_that_a_row_names_exists_once() -> None:
    known = defined()
    named = [name for tests in rows().values() for name in tests]

    assert {} == {name: known.get(name, []) for name in named if len(known.get(name, [])) != 1}


@pytest.mark.parametrize(("number", "tests"), rows().items(), ids=lambda value: f"{value}"[:20])
def test_a_trap_is_held_by_a_test_of_our_own_side(number: int, tests: list[str]) -> None:
    """That the simulator does what panels do says nothing yet about what x3fleet does."""
    known = defined()
    ours = [
        name
        for name in tests
        for file in known.get(name, [])
        if not file.startswith("tests/simulator/")
    ]

    assert ours, f"trap {number} is held by the simulator alone"


def test_every_quirk_that_the_controller_bows_to_stands_in_a_row() -> None:
    slugs = {
        slug
        for path in product_files()
        if rel(path).startswith("controller/")
        for slug in TAG.findall(path.read_text())
    }
    named = {name for tests in rows().values() for name in tests}

    assert slugs
    assert set() == {slug for slug in slugs if f"test_quirk_{slug.replace('-', '_')}" not in named}
