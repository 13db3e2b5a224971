"""Files and functions stay small enough to be read in one go."""

import ast
import tomllib

import pytest

from tests.architecture.source import ROOT, at, product_files, rel, tree

FILE_LINES = 400
FUNCTION_LINES = 50


def test_no_product_file_is_longer_than_400_lines() -> None:
    lengths = {rel(f): len(f.read_text().splitlines()) for f in product_files()}

    assert {} == {name: length for name, length in lengths.items() if length > FILE_LINES}


def test_no_function_is_longer_than_50_lines() -> None:
    """The docstring is not counted."""
    too_long = {
        f"{at(path, node)} {node.name}": length
        for path in product_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := _code_lines(node)) > FUNCTION_LINES
    }

    assert {} == too_long


@pytest.mark.parametrize("rule", ["C901", "PLR0913", "PLR0915", "PLR0917", "D", "D1", "BLE", "PGH"])
def test_ruff_keeps_the_rules_that_sizes_and_docstrings_rest_on(rule: str) -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]

    assert ["ALL"] == lint["select"]
    assert rule not in lint["ignore"]
    assert 10 == lint["mccabe"]["max-complexity"]
    assert 5 == lint["pylint"]["max-positional-args"]


def test_product_code_makes_no_exception_of_docstrings_and_sizes() -> None:
    """Whole folders of product code never switch a rule of sizes or docstrings off."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    sized = ("D1", "C901", "PLR09")

    excepted = {
        folder: rules
        for folder, rules in lint["per-file-ignores"].items()
        if not folder.startswith(("tests/", "benchmarks/"))
        if any(rule.startswith(sized) for rule in rules)
    }

    assert {} == excepted


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    doc = ast.get_docstring(node, clean=False)
    first = node.body[0]
    doc_lines = (first.end_lineno or 0) - first.lineno + 1 if doc is not None else 0
    return (node.end_lineno or 0) - node.lineno + 1 - doc_lines


def test_counting_leaves_the_docstring_out() -> None:
    code = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'

    function = ast.parse(code).body[0]

    assert isinstance(function, ast.FunctionDef)
    assert 2 == _code_lines(function)
