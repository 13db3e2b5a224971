"""The project stands alone: no file names where it was written, no excuse lacks its reason."""

import re
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, product_files, rel, text_files

# Words are written in two halves, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.{}$)-])/(?:wo" + r"rk|ro" + r"ot)(?:/|\b)"),
    "a folder outside the project": re.compile(r"\bsha" + r"red/"),
    "a document outside the project": re.compile(
        r"\b(?:panel" + r"-api|contr" + r"ollers|des" + r"ign|complai" + r"nts)\.md\b"
    ),
    "a package registry": re.compile(
        "|".join(("pyp" + r"i\.org", "pythonho" + "sted", "npm" + r"js\.", "crat" + r"es\.io"))
    ),
    "an issue of another place": re.compile(r"\biss" + r"ue #?\d"),
}
EXCUSES = {
    "a TODO without a reason": re.compile(r"#\s*TO" + r"DO(?!\([^)]{8,}\):)"),
    "a noqa without code and reason": re.compile(
        r"#\s*no" + r"qa(?!: [A-Z]+\d+(?:, ?[A-Z]+\d+)*\s+\S.{7,})"
    ),
    "a type-ignore without code and reason": re.compile(
        r"#\s*type: ig" + r"nore(?!\[[\w, -]+\]\s+\S.{7,})"
    ),
}
# A test bends a type on purpose, and says so by the code alone.
BARE = {
    "a noqa without code": re.compile(r"#\s*no" + r"qa(?!: [A-Z]+\d)"),
    "a type-ignore without code": re.compile(r"#\s*type: ig" + r"nore(?!\[[\w, -]+\])"),
    "a TODO without a reason": EXCUSES["a TODO without a reason"],
}
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<to>[^)\s]+)\)")


def lines(paths: tuple[Path, ...], patterns: dict[str, re.Pattern[str]]) -> list[str]:
    """Places where a pattern stands, with what it is."""
    return [
        f"{rel(path)}:{number}: {what}: {line.strip()[:80]}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for what, pattern in patterns.items()
        if pattern.search(line)
    ]


def test_nothing_names_the_place_where_it_was_written() -> None:
    assert [] == lines(text_files(), FORBIDDEN)


def test_exceptions_from_the_rules_give_their_code_and_their_reason() -> None:
    assert [] == lines(product_files(), EXCUSES)


def test_no_exception_from_the_rules_is_bare_in_tests() -> None:
    python = tuple(path for path in text_files() if path.suffix == ".py")

    assert [] == lines(python, BARE)


def test_requirements_hold_no_address() -> None:
    """Every line is a pin or a hash; the index is the business of whoever installs."""
    pin = re.compile(
        r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    files = sorted((ROOT / "requirements").glob("*.txt"))

    assert ["dev.txt", "runtime.txt"] == [file.name for file in files]
    for file in files:
        assert [] == [line for line in file.read_text().splitlines() if not pin.fullmatch(line)]


def test_what_runs_is_tested_with_the_same_pins() -> None:
    runtime, dev = (
        set(re.findall(r"^\S+==\S+", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))
        for name in ("runtime", "dev")
    )

    assert set() == runtime - dev


def test_relative_links_of_documents_lead_somewhere() -> None:
    documents = [path for path in text_files() if path.suffix == ".md"]
    dead = [
        f"{rel(path)}: {link['to']}"
        for path in documents
        for link in LINK.finditer(path.read_text())
        if "://" not in link["to"] and not link["to"].startswith("#")
        if not (path.parent / link["to"].split("#")[0]).exists()
    ]

    assert [] == dead


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # no" + "qa",
        "x = 1  # no" + "qa: S101",
        "x = f()  # type: ig" + "nore",
        "x = f()  # type: ig" + "nore[arg-type]",
        "# TO" + "DO: later",
    ],
)
def test_a_bare_excuse_is_seen(line: str) -> None:
    assert any(pattern.search(line) for pattern in EXCUSES.values())


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # no" + "qa: S101  # the panel wants it",
        "x = 1  # no" + "qa: S101 - the panel wants it",
        "x = f()  # type: ig" + "nore[arg-type]  # a stub is wrong",
    ],
)
def test_an_excuse_with_its_reason_passes(line: str) -> None:
    assert not any(pattern.search(line) for pattern in EXCUSES.values())


@pytest.mark.parametrize(
    "line",
    [
        "see /wo" + "rk/main",
        "cd /ro" + "ot",
        "from ../sha" + "red/x",
        "https://pyp" + "i.org/simple",
    ],
)
def test_a_foreign_place_is_seen(line: str) -> None:
    assert any(pattern.search(line) for pattern in FORBIDDEN.values())
