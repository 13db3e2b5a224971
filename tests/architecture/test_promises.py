"""Every promise of docs/architecture.md has a test, or stands in the list of those to come."""

import re

from tests.architecture.source import ROOT, marks

PROMISE = re.compile(r"^\| (?P<id>[SLIDM]\d+) \| (?P<text>.+?) \|", re.MULTILINE)

# What this stage does not build; each with the room that will prove it.
OUTSTANDING: dict[str, str] = {}


def promises() -> dict[str, str]:
    """Promises as the document numbers them."""
    text = (ROOT / "docs/architecture.md").read_text()
    return {found["id"]: found["text"] for found in PROMISE.finditer(text)}


def test_the_document_lists_the_promises() -> None:
    expected = [*(f"S{n}" for n in range(1, 9)), "L1", "L2", "L3", "I1", "D1", "D2", "D3", "M1"]

    assert expected == list(promises())


def test_every_promise_has_a_test_or_is_outstanding() -> None:
    tested = marks("promise")

    assert [] == [p for p in promises() if p not in tested and p not in OUTSTANDING]


def test_no_outstanding_promise_has_a_test_already() -> None:
    tested = marks("promise")

    assert {} == {p: tested[p] for p in OUTSTANDING if p in tested}


def test_every_mark_names_a_promise() -> None:
    known = promises()

    assert {} == {p: at for p, at in marks("promise").items() if p not in known}
