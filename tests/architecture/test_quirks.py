"""Every oddity of a panel that the code bows to is tagged; each tag has a test, each test a tag."""

import ast
import re
from functools import cache

from tests.architecture.source import files_of_tests, product_files, rel, tree

TAG = re.compile(r"#\s*QUIRK\b(?P<rest>.*)")
FORM = re.compile(r"^\((?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*), 3x-ui [^)]+\): \S")


@cache
def tags() -> dict[str, list[str]]:
    """Slugs of `# QUIRK(slug, 3x-ui versions): what` in product code, with their places."""
    found: dict[str, list[str]] = {}
    for path in product_files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if tag := TAG.search(line):
                form = FORM.match(tag["rest"])
                slug = form["slug"] if form else f"malformed: {line.strip()}"
                found.setdefault(slug, []).append(f"{rel(path)}:{number}")
    return found


@cache
def proved() -> dict[str, str]:
    """Slugs of every `test_quirk_<slug>` below tests/."""
    return {
        node.name.removeprefix("test_quirk_").replace("_", "-"): rel(path)
        for path in files_of_tests()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_quirk_")
    }


def test_every_tag_has_its_form() -> None:
    """`# QUIRK(add-forces-enable, 3x-ui 3.1.0+): add stores enable=true.`."""
    assert [] == [f"{place} {slug}" for slug, at in tags().items() for place in at if " " in slug]


def test_every_tagged_quirk_has_a_test() -> None:
    untested = {slug: at for slug, at in tags().items() if slug not in proved() and " " not in slug}

    assert {} == untested


def test_every_test_of_a_quirk_has_a_tag() -> None:
    untagged = {slug: file for slug, file in proved().items() if slug not in tags()}

    assert {} == untagged


def test_the_form_refuses_a_tag_without_versions() -> None:
    assert FORM.match("(add-forces-enable, 3x-ui 3.1.0+): add stores enable=true.")
    assert not FORM.match("(add-forces-enable): add stores enable=true.")
    assert not FORM.match("(Add Forces, 3x-ui 3.1.0+): x")
