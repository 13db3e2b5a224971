"""The lease branch of the error tree: who may control, and when.

LeaseError               this process may not act, or no longer
├── LeaseLost            the node's epoch is another one by now: nothing was written
├── ClockWasSet          the wall clock was set since the turn began: its time is not ours any more
└── AlreadyRunning       another controller holds the lock (holder)

Callers: `single`, `records` and the worker raise, the service and the cli map. Not here: panels, the
database.
"""

from dataclasses import dataclass
from enum import StrEnum

from desired_state.model.errors import X3FleetError


class HolderKind(StrEnum):
    """What kind of controller holds the lock."""

    ONE_SHOT = "one-shot"
    """A `reconcile now`: it ends by itself, and waiting for it makes sense."""
    DAEMON = "daemon"
    """A controller that stays: ask it, by a request."""
    REPLICA = "replica"
    """One of several controllers that share the nodes: ask it, by a request."""
    UNKNOWN = "unknown"
    """It took the lock and had not written its name yet."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock. `pid` 0: unknown. `host`: where it runs, if not known to be here."""

    kind: HolderKind
    pid: int = 0
    host: str = ""


_HINTS = {
    HolderKind.DAEMON: "it works by itself; x3fleet reconcile now asks it to look at once",
    HolderKind.REPLICA: "replicas work by themselves; x3fleet replicas list shows them",
}


class LeaseError(X3FleetError):
    """This process may not act, or no longer."""

    code = "lease"


class LeaseLost(LeaseError):
    """The epoch of an effect is not the node's any more."""

    code = "lease_lost"


class ClockWasSet(LeaseError):
    """A turn decides by the moment at which it began, and that moment is another one by now."""

    code = "clock_was_set"

    def __init__(self) -> None:
        super().__init__("the wall clock was set in the middle of a turn: it begins anew")


class AlreadyRunning(LeaseError):
    """Another controller works on this database."""

    code = "already_running"

    def __init__(self, holder: Holder) -> None:
        who = f"{holder.kind.value} controller"
        if holder.pid:
            who += f" with process id {holder.pid}"
        if holder.host:
            who += f" on {holder.host}"
        super().__init__(
            f"another controller is at work: a {who}",
            hint=_HINTS.get(holder.kind, "wait for it to end, or repeat with --wait"),
        )
        self.holder = holder
