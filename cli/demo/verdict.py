"""What the panels themselves say of the demo: nothing here is taken from our own reports.

Pure: states of panels (as their control ports tell them) in, numbers out. Callers: `command`. Not
here: talking to panels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]
Place = tuple[int, str]
"""An inbound's id and an email."""
KEPT = (
    "id", "password", "auth", "flow", "subId", "enable", "totalGB", "expiryTime", "limitIp",
)  # fmt: skip
"""What makes two looks at a client equal; a panel's own timestamps do not."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done by hand on one panel; `foreign`: every email there that is not ours."""

    node: str
    deleted: str
    edited: str
    foreign: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The line of JSON that the demo ends with, and whether all of it is as it should be."""

    nodes: int
    keys: int
    healed: int
    damaged: int
    foreign_untouched: int
    foreign: int
    second_cycle_writes: int
    in_place: bool
    in_sync: bool

    @property
    def converged(self) -> bool:
        """Whether panels hold what they should, damage is undone and nothing else was touched."""
        return (
            self.in_place
            and self.in_sync
            and self.healed == self.damaged
            and self.foreign_untouched == self.foreign
            and self.second_cycle_writes == 0
        )

    def document(self) -> dict[str, Any]:
        """Make the last line of `--output json`."""
        return {
            "converged": self.converged,
            "nodes": self.nodes,
            "keys": self.keys,
            "healed": self.healed,
            "foreign_untouched": self.foreign_untouched,
            "second_cycle_writes": self.second_cycle_writes,
        }


def clients_of(state: State) -> dict[Place, dict[str, Any]]:
    """Return every client of every inbound, as far as two looks are compared."""
    return {
        (inbound["id"], client["email"]): {name: client.get(name) for name in KEPT}
        for inbound in state["inbounds"]
        for client in inbound["settings"].get("clients", ())
    }


def ours(state: State, foreign: Iterable[str]) -> tuple[str, ...]:
    """Return the emails that were not made by hand, sorted."""
    strangers = set(foreign)
    return tuple(sorted({email for _, email in clients_of(state)} - strangers))


def keys_on(state: State, keys: Iterable[str], foreign: Iterable[str]) -> dict[str, set[int]]:
    """Return which keys a panel holds, each with the inbounds that carry it switched on.

    An email that is neither foreign nor of one of the keys counts as a key of its own, so that a
    leftover is never overlooked.
    """
    known, strangers = tuple(keys), set(foreign)
    found: dict[str, set[int]] = {}
    for (inbound, email), client in clients_of(state).items():
        if email not in strangers:
            key = next((key for key in known if key in email), email)
            places = found.setdefault(key, set())
            if client["enable"]:
                places.add(inbound)
    return found


def is_in_place(state: State, wanted: Iterable[str], foreign: Iterable[str]) -> bool:
    """Tell whether a panel holds exactly the wanted keys, each once on each of its inbounds."""
    expected = set(wanted)
    inbounds = {inbound["id"] for inbound in state["inbounds"]}
    entries = sum(email not in set(foreign) for _, email in clients_of(state))
    listed = sum(len(inbound["settings"].get("clients", ())) for inbound in state["inbounds"])
    return (
        keys_on(state, expected, foreign) == dict.fromkeys(expected, inbounds)
        and entries == len(expected) * len(inbounds)
        # No entry stands twice under one email.
        and listed == len(clients_of(state))
    )


def healed(before: State, after: State, emails: Iterable[str]) -> int:
    """Count damaged clients that are again, everywhere, what they were before the damage."""
    then, now = clients_of(before), clients_of(after)
    return sum(_of(then, email) == _of(now, email) != {} for email in emails)


def untouched(before: State, after: State, emails: Iterable[str]) -> int:
    """Count clients of which a panel holds, to the last field, what it held."""
    return sum(_all_of(before, email) == _all_of(after, email) for email in emails)


def writes_of(requests: Iterable[Mapping[str, Any]]) -> int:
    """Count requests that could change the panel."""
    return sum(bool(request["write"]) for request in requests)


def _of(clients: Mapping[Place, Any], email: str) -> dict[int, Any]:
    return {inbound: client for (inbound, owner), client in clients.items() if owner == email}


def _all_of(state: State, email: str) -> list[Any]:
    """Everything that is stored under an email: entries, record, traffic row."""
    entries = [
        (inbound["id"], client)
        for inbound in state["inbounds"]
        for client in inbound["settings"].get("clients", ())
        if client["email"] == email
    ]
    records = [record for record in state["clients"] if record["email"] == email]
    rows = [row for row in state["traffic"] if row["email"] == email]
    return [entries, records, rows]
