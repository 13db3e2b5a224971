"""The drill's audit can fail: each rule finds the one book that breaks it, and clean books break none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.drill.audit import Account, Books, Reign, Row, audit

START = datetime(2026, 11, 2, 12, tzinfo=UTC)
OLD, NEW, OTHER = "x3f-aaaaaaaaaa-g1", "x3f-aaaaaaaaaa-g2", "x3f-bbbbbbbbbb-g1"


def at(seconds):
    return int((START + timedelta(seconds=seconds)).timestamp() * 1000)


def line(seconds, agent="one", *, came=(), went=(), changed=()):
    return {
        "agent": agent, "path": "/panel/api/clients/x", "at_ms": at(seconds),
        "came": list(came), "went": list(went), "changed": list(changed),
    }  # fmt: skip


def request(seconds, agent="one", *, write=True):
    return {"agent": agent, "path": "/panel/api/x", "at_ms": at(seconds), "write": write}


def row(email, *, gone=None, reason="rotated"):
    gone_at = None if gone is None else START + timedelta(seconds=gone)
    state = "live" if gone is None else "gone"
    return Row("n", email, email[4:14], state, None if gone is None else reason, gone_at)


TRAIL = (
    line(1, came=[OLD, OTHER]), line(5, went=[OLD]), line(7, came=[NEW]),
    line(20, "two", changed=[OTHER]),
)  # fmt: skip
ACCOUNT = Account(
    "n", TRAIL, tuple(request(s, a) for s, a in ((1, "one"), (5, "one"), (7, "one"), (20, "two"))),
    ({"friend": {"id": 1}}, {"friend": {"id": 1}}),
)  # fmt: skip
BOOKS = Books(
    journal=(row(OLD, gone=6), row(NEW), row(OTHER)),
    reigns=(Reign("n", 1, "one", START), Reign("n", 2, "two", START + timedelta(seconds=15))),
    recorded=(("n", 1), ("n", 1), ("n", 2)),
    cycles=({"looks": 1, "writes": 0}, {"looks": 4, "writes": 3}),
)


def lines(*more):
    return replace(ACCOUNT, trail=(*TRAIL, *more))


def requests(*more):
    return replace(ACCOUNT, requests=(*ACCOUNT.requests, *more))


def journal(*rows):
    kept = [one for one in BOOKS.journal if one.email not in {new.email for new in rows}]
    return replace(BOOKS, journal=(*kept, *rows))


BROKEN = {
    "S1 a stranger is changed": (lines(line(21, "two", changed=["friend"])), BOOKS),
    "S1 a stranger is gone at the end": (
        replace(ACCOUNT, strangers=({"friend": {"id": 1}}, {"friend": None})), BOOKS,
    ),
    "S2 the new one comes before the old one goes": (
        replace(ACCOUNT, trail=(line(1, came=[OLD, OTHER]), line(4, came=[NEW]), *TRAIL[1:2])),
        journal(row(OLD, gone=6)),
    ),
    "S3 finalised while it is there": (ACCOUNT, journal(row(OLD, gone=4))),
    "S3 finalised and back again": (lines(line(22, "two", came=[OLD])), BOOKS),
    "S4 a paused panel is asked": (replace(ACCOUNT, unseen=True, trail=()), BOOKS),
    "S4 a node that is only observed is written to": (replace(ACCOUNT, untouched=True), BOOKS),
    "S5 nobody knows why it went": (ACCOUNT, journal(row(OLD, gone=6, reason=None))),
    "S5 nobody ever journalled it": (
        lines(line(23, "two", went=["x3f-cccccccccc-g1"])), BOOKS,
    ),
    "S6 an old epoch records after a new one": (
        ACCOUNT, replace(BOOKS, recorded=(("n", 1), ("n", 2), ("n", 1))),
    ),
    "S7 the last holder writes on": (requests(request(16, "one")), BOOKS),
    "S7 somebody writes who never held it": (requests(request(3, "three")), BOOKS),
    "S8 a turn looks and looks": (
        ACCOUNT, replace(BOOKS, cycles=({"looks": 5, "writes": 1},)),
    ),
    "D1 the same client is created twice": (
        lines(line(24, "two", went=[NEW]), line(25, "two", came=[NEW])),
        journal(row(NEW, gone=30)),
    ),
}  # fmt: skip


def test_books_of_a_good_drill_break_no_rule():
    found = audit([ACCOUNT], BOOKS)

    assert [] == found.broken
    assert {"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "D1", "D2"} == set(found.checked)


@pytest.mark.parametrize("what", BROKEN)
def test_books_that_break_a_promise_are_found_out(what):
    account, books = BROKEN[what]

    found = audit([account], books)

    assert what.split()[0] in {fault.split(":")[0] for fault in found.broken}
