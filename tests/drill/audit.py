"""The audit of a drill: every promise, from what panels and database tell, with trust in nobody.

Panels tell who sent what and what came of it (`trail`, `requests`); the database tells who held a node
when, what is finalised and what was recorded under which epoch. Each rule returns sentences about what
is broken; none is trust. Callers: the drill, and the test that breaks each rule on purpose.
Not here: fetching the books.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

OURS = re.compile(r"x3f-(?P<key>[a-z2-7]{10})-g(?P<generation>\d+)(-i\d+)?$")
PLACEHOLDER = re.compile(r"x3f-.*-g0|placeholder")
CLOCK_MS = 2
"""Moments are cut to milliseconds by whoever notes them."""


@dataclass(frozen=True)
class Account:
    """One panel's own account. `strangers`: clients of other people, before and after.

    `untouched`: nothing may have been written here; `unseen`: it may not even have been asked.
    """

    node: str
    trail: tuple[Mapping[str, Any], ...]
    requests: tuple[Mapping[str, Any], ...] = ()
    strangers: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    untouched: bool = False
    unseen: bool = False


@dataclass(frozen=True)
class Reign:
    """One epoch of one node: who held it, and since when."""

    node: str
    epoch: int
    holder: str
    taken_at: datetime


@dataclass(frozen=True)
class Row:
    """One row of the journal. `key` None: a placeholder."""

    node: str
    email: str
    key: str | None
    state: str
    delete_reason: str | None
    gone_at: datetime | None


@dataclass(frozen=True)
class Books:
    """What the database tells. `recorded`: node and epoch of every line of history, in its order."""

    journal: tuple[Row, ...] = ()
    reigns: tuple[Reign, ...] = ()
    recorded: tuple[tuple[str, int], ...] = ()
    cycles: tuple[Mapping[str, int], ...] = ()


@dataclass
class Findings:
    """What was checked, by promise, and what is broken."""

    checked: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def hold(self, promise: str, faults: Iterable[str], of: int) -> None:
        """Note one rule: how many things it looked at, and its faults."""
        self.checked[promise] += of
        self.broken += [f"{promise}: {fault}" for fault in faults]


def audit(accounts: Iterable[Account], books: Books) -> Findings:
    """Hold every promise against the books."""
    found = Findings()
    reigns = defaultdict(list)
    for reign in sorted(books.reigns, key=lambda one: one.epoch):
        reigns[reign.node].append(reign)
    for account in accounts:
        lines = sorted(account.trail, key=lambda line: line["at_ms"])
        rows = {row.email: row for row in books.journal if row.node == account.node}
        writes = [line for line in account.requests if line["write"]]
        found.hold("S1", strangers_touched(account, lines), len(lines))
        found.hold("S2", generations_together(account.node, lines), len(lines))
        found.hold("S3", finalised_too_soon(account.node, lines, rows), len(rows))
        found.hold("S4", asked_in_vain(account, writes), len(account.requests))
        found.hold("S5", deletes_without_reason(account.node, lines, rows), len(lines))
        found.hold(
            "S7", writes_without_right(account.node, writes, reigns[account.node]), len(writes)
        )
        found.hold("D1", more_than_once(account.node, lines, "came"), len(lines))
        found.hold("D2", more_than_once(account.node, lines, "went"), len(lines))
    found.hold("S6", epochs_going_back(books.recorded), len(books.recorded))
    found.hold("S8", turns_without_bounds(books.cycles), len(books.cycles))
    return found


def strangers_touched(account: Account, lines: list[Mapping[str, Any]]) -> Iterator[str]:
    """Clients that are not ours, in any write of ours, or otherwise at the end than before.

    A client without a name is ours between the write that took it from one of ours and its delete.
    """
    unnamed = 0
    for line in lines:
        taken = "" in line["came"] and any(map(OURS.match, line["went"]))
        unnamed += taken
        for email in (*line["came"], *line["went"], *line["changed"]):
            if OURS.match(email) or PLACEHOLDER.search(email) or (not email and unnamed):
                continue
            yield f"{account.node}: {line['agent']} touched {email!r} by {line['path']}"
        unnamed -= "" in line["went"]
    before, after = account.strangers
    if dict(before) != dict(after):
        yield f"{account.node}: strangers were {sorted(before)} and are {sorted(after)}, or changed"


def generations_together(node: str, lines: list[Mapping[str, Any]]) -> Iterator[str]:
    """Two generations of one key on a panel at any moment."""
    present: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        for email in line["went"]:
            if found := OURS.match(email):
                present[found["key"]].discard(email)
        for email in line["came"]:
            if not (found := OURS.match(email)):
                continue
            present[found["key"]].add(email)
            held = {OURS.match(e)["generation"] for e in present[found["key"]]}  # type: ignore[index] # it matched above
            if len(held) > 1:
                yield f"{node}: generations {sorted(held)} of key {found['key']} together"


def finalised_too_soon(
    node: str, lines: list[Mapping[str, Any]], rows: Mapping[str, Row]
) -> Iterator[str]:
    """Rows that say gone of a client that the panel held then, or that came back."""
    held: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for line in lines:
        for email in line["went"]:
            held[email].append((line["at_ms"], False))
        for email in line["came"]:
            held[email].append((line["at_ms"], True))
    for row in rows.values():
        if row.gone_at is None:
            continue
        gone_ms = _ms(row.gone_at) + CLOCK_MS
        story = held.get(row.email, [])
        before = [is_there for at_ms, is_there in story if at_ms <= gone_ms]
        if before and before[-1]:
            yield f"{node}: {row.email} was finalised while the panel held it"
        if any(is_there for at_ms, is_there in story if at_ms > gone_ms):
            yield f"{node}: {row.email} came after it was finalised"


def asked_in_vain(account: Account, writes: list[Mapping[str, Any]]) -> Iterator[str]:
    """Writes to a node whose mode forbids them, requests to one that is paused."""
    if account.unseen and account.requests:
        yield f"{account.node}: a paused panel was asked {len(account.requests)} times"
    if account.untouched and writes:
        yield f"{account.node}: {writes[0]['path']} although nothing may be written here"


def deletes_without_reason(
    node: str, lines: list[Mapping[str, Any]], rows: Mapping[str, Row]
) -> Iterator[str]:
    """Clients of ours that went without a row that says why."""
    for line in lines:
        for email in line["went"]:
            row = rows.get(email)
            if row is None or (row.key is not None and not row.delete_reason):
                yield f"{node}: {email} was deleted by {line['agent']} and nothing says why"


def writes_without_right(
    node: str, writes: list[Mapping[str, Any]], reigns: list[Reign]
) -> Iterator[str]:
    """Writes that a panel received from somebody who did not hold its node at that moment."""
    starts = [_ms(reign.taken_at) for reign in reigns]
    for line in writes:
        before = [n for n, start in enumerate(starts) if start <= line["at_ms"] + CLOCK_MS]
        holder = reigns[before[-1]].holder if before else "nobody"
        if line["agent"] != holder:
            yield f"{node}: {line['agent']} sent {line['path']} while {holder} held the node"


def more_than_once(node: str, lines: list[Mapping[str, Any]], what: str) -> Iterator[str]:
    """Emails that came, or went, again."""
    times = Counter(email for line in lines for email in line[what] if email)
    for email, number in times.items():
        if number > 1:
            yield f"{node}: {email} {what} {number} times"


def epochs_going_back(recorded: Iterable[tuple[str, int]]) -> Iterator[str]:
    """History that was written under an epoch when a later one had begun to write."""
    epochs = defaultdict(list)
    for node, epoch in recorded:
        epochs[node].append(epoch)
    for node, seen in epochs.items():
        for earlier, later in pairwise(seen):
            if later < earlier:
                yield f"{node}: a record of epoch {later} after one of epoch {earlier}"


def turns_without_bounds(cycles: Iterable[Mapping[str, int]]) -> Iterator[str]:
    """Turns that looked more often than once, and twice for each slice of writes."""
    for counts in cycles:
        if counts["looks"] > 2 + 2 * counts["writes"]:
            yield f"a turn of {counts['writes']} writes looked {counts['looks']} times"


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
