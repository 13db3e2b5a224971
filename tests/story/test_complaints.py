"""Every complaint has tests that would have caught it, and each of these is there and runs."""

import ast

import pytest

from tests.architecture.source import ROOT, dotted, tree
from tests.story.complaints import COMPLAINTS, COUNTED, DOUBLED, MISSING, RESTORED, UNDEAD, WIPED


@pytest.mark.parametrize("name", COMPLAINTS)
def test_a_complaint_is_answered_by_tests_that_are_there(name: str) -> None:
    answer = COMPLAINTS[name]

    assert answer.tests, answer.text
    assert [] == [test for test in answer.tests if not is_there(test)]


def test_no_complaint_stands_twice() -> None:
    """Of six kinds: absent, undead, wiped, doubled, miscounted, not restored."""
    kinds = (MISSING, UNDEAD, WIPED, DOUBLED, COUNTED, RESTORED)

    assert sum(map(len, kinds)) == len(COMPLAINTS)
    assert len(COMPLAINTS) == len({one.text for one in COMPLAINTS.values()})


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert not is_there("story/test_fleets.py::test_that_nobody_wrote")
    assert not is_there("story/test_nothing.py::test_a_node_is_there")


def is_there(test: str) -> bool:
    """Tell whether a function is defined in that file, and neither skipped nor expected to fail."""
    file, _, function = test.partition("::")
    path = ROOT / "tests" / file
    if not path.is_file():
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name == function
        and not {"pytest.mark.skip", "pytest.mark.xfail"} & {_mark(d) for d in node.decorator_list}
        for node in ast.walk(tree(path))
    )


def _mark(decorator: ast.expr) -> str:
    return dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
