"""Faults: what may go wrong between a caller and the panel, chosen by request.

Callers: `gate` for each request, `control` to arm and remove them.
Not here: what each kind does (`fault_kinds`).
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.state import State
from simulator.wire import Call, Reply

if TYPE_CHECKING:
    from simulator.app import Panel
    from simulator.gate import Connection

# Faults of list reads, which would make no sense elsewhere.
LIST_KINDS = frozenset({"stale_list", "empty_list", "null_obj", "half_list"})


@dataclass
class Fault:
    """One armed fault.

    `count` is how often it may still happen (None: until removed), `after` how many matching
    requests pass first. `parameters` are the kind's own.
    """

    id: int
    kind: str
    method: str | None = None
    path: str | None = None
    count: int | None = 1
    after: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    hits: int = 0
    snapshot: State | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is meant.

        Without a path, only calls below `/panel/` are: logins have to be named.
        """
        if self.kind in LIST_KINDS and self.method is None and method != "GET":
            return False
        if self.method is not None and self.method.upper() != method:
            return False
        if self.path is None:
            wanted = r"/list$" if self.kind in LIST_KINDS else r"^/panel/"
            return re.search(wanted, path) is not None
        return self.path in path or _search(self.path, path)

    def view(self) -> dict[str, Any]:
        """The fault as the control port shows it."""
        shown = {
            "id": self.id,
            "kind": self.kind,
            "method": self.method,
            "path": self.path,
            "count": self.count,
            "after": self.after,
            "hits": self.hits,
        }
        return shown | self.parameters


def _search(pattern: str, path: str) -> bool:
    try:
        return re.search(pattern, path) is not None
    except re.error:
        return False


class FaultBook:
    """The armed faults of one panel."""

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel
        self._faults: dict[int, Fault] = {}
        self._last_id = 0

    def arm(self, spec: dict[str, Any]) -> int:
        """Arm a fault; give its id.

        Raises:
            ValueError: unknown kind.
        """
        from simulator.fault_kinds import KINDS  # noqa: PLC0415 - kinds need this module

        values = dict(spec)
        kind = str(values.pop("kind", ""))
        if kind not in KINDS:
            message = f"unknown fault {kind!r}; known: {', '.join(sorted(KINDS))}"
            raise ValueError(message)
        self._last_id += 1
        fault = Fault(
            self._last_id,
            kind,
            values.pop("method", None),
            values.pop("path", None),
            values.pop("count", 1),
            values.pop("after", 0),
            values,
        )
        if kind == "stale_list":
            fault.snapshot = self._panel.state.copy()
        self._faults[fault.id] = fault
        return fault.id

    def list(self) -> list[dict[str, Any]]:
        """The armed faults."""
        return [fault.view() for fault in self._faults.values()]

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that happens to this request, if any; the first one armed wins."""
        for fault in list(self._faults.values()):
            if not fault.matches(method, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.hits += 1
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    del self._faults[fault.id]
            return fault
        return None

    async def serve(self, call: Call, path: str, connection: "Connection") -> Reply | None:
        """Answer a request, with its fault if it has one; None when the fault answered."""
        from simulator.fault_kinds import KINDS  # noqa: PLC0415 - kinds need this module

        fault = self.take(call.method, path)
        if fault is None:
            return self._panel.answer(call)
        return await KINDS[fault.kind](fault, call, connection)
