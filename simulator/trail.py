"""What requests did to a panel's clients: who came, who went, who was changed, and by whom.

The request log tells what was asked; this tells what came of it, so that an audit needs no trust in
whoever asked. Off until the control port switches it on: it compares all clients around every write.
Callers: `app`, `control`. Not here: what people do by hand, and the panel's own jobs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.wire import Call, Reply

if TYPE_CHECKING:
    from simulator.app import Panel

_STAMPS = frozenset({"created_at", "updated_at", "createdAt", "updatedAt"})
"""What a panel writes beside every change, and sometimes without one."""

Holdings = dict[str, object]


@dataclass
class TrailLine:
    """One write that did something. `agent`: the caller's own name for itself (`User-Agent`)."""

    agent: str
    path: str
    at_ms: int
    came: list[str]
    went: list[str]
    changed: list[str]


@dataclass
class Trail:
    """The lines of one panel, oldest first."""

    is_on: bool = False
    lines: list[TrailLine] = field(default_factory=list)

    def begin(self, *, on: bool) -> None:
        """Forget what was, and follow from now on, or no more."""
        self.is_on = on
        self.lines.clear()

    def follow(self, panel: "Panel", call: Call, serve: Callable[[], Reply]) -> Reply:
        """Serve a write and keep what it did; one that did nothing leaves no line."""
        if not self.is_on:
            return serve()
        before = _holdings(panel)
        try:
            return serve()
        finally:
            self._keep(panel, call, before, _holdings(panel))

    def _keep(self, panel: "Panel", call: Call, before: Holdings, after: Holdings) -> None:
        line = TrailLine(
            agent=call.headers.get("user-agent", ""),
            path=panel.inner_path(call.path) or call.path,
            at_ms=panel.clock.now_ms(),
            came=sorted(after.keys() - before.keys()),
            went=sorted(before.keys() - after.keys()),
            changed=sorted(e for e in before.keys() & after.keys() if before[e] != after[e]),
        )
        if line.came or line.went or line.changed:
            self.lines.append(line)


def _holdings(panel: "Panel") -> Holdings:
    """Every email with all that is stored under it, whatever the version's tables are."""
    found: dict[str, list[object]] = {}
    for inbound in panel.state.inbounds.values():
        for entry in inbound.settings.clients:
            found.setdefault(entry.email, []).append((inbound.id, _plain(entry.data)))
    for record in panel.state.records.values():
        # Copied: a record is changed in place.
        found.setdefault(record.email, []).append(("record", _plain(record.fields)))
    return dict(found)


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name not in _STAMPS}
