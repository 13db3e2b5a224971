"""Conditions and status of a node, and the checker that tests and runtime share.

Callers: reconcile (makes), runtime (stores), queries by way of the stored rows. Not here: SQL.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from controller.core.backoff import Backoff
from desired_state.model.ids import Digest, Revision


class ConditionType(StrEnum):
    """The seven conditions of a node."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    BLOCKED = "Blocked"
    STALLED = "Stalled"
    UNREACHABLE = "Unreachable"
    DRIFTED = "Drifted"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition that holds: why, since when, seen at which revision.

    A type may hold for several reasons at once; `Ready` with `status` False says that it does not.
    """

    type: ConditionType
    reason: str
    message: str = ""
    status: bool = True
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class BlockedSet:
    """What a guard withheld and a person may approve: kind, digest, the emails that were meant."""

    kind: str
    digest: Digest
    emails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Clients of one node as last seen: ours that are wanted and live, waiting, owed, and not ours."""

    desired: int = 0
    live: int = 0
    pending: int = 0
    deleting: int = 0
    foreign: int = 0
    quarantined: int = 0
    drift: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What is stored of a node after a turn. Holds nothing that changes by itself.

    `owned_seen`: clients of ours that the last look showed, for the shrink guard.
    `placed_seen`: keys that were wanted here, for `Blocked/EmptyDesired`. `backoff`: how it fares.
    `certificate_until`: see `Observation`.
    """

    conditions: tuple[Condition, ...] = ()
    version: str = ""
    family: str = ""
    guid: str | None = None
    xray: str = ""
    observed_revision: Revision = Revision(0)
    counts: Counts = Counts()
    owned_seen: int = 0
    placed_seen: int = 0
    blocked_sets: tuple[BlockedSet, ...] = ()
    plan_digest: Digest = Digest("")
    refused_fingerprint: str = ""
    """Keyed fingerprint of credentials that the panel refused."""
    backoff: Backoff = Backoff()
    certificate_until: datetime | None = None
    restart_owed: bool = False
    """Clients were edited, and the panel's Xray may serve them only once it is restarted."""

    def find(self, kind: ConditionType) -> Condition | None:
        """Return the first condition of a type, if any."""
        return next((c for c in self.conditions if c.type is kind), None)


def keep_since(
    conditions: tuple[Condition, ...], before: tuple[Condition, ...], now: datetime
) -> tuple[Condition, ...]:
    """Carry `since` over from equal conditions; new ones begin now.

    A node that is out of reach stays so while its reason changes: a failover counts from the first.
    What a clock that ran ahead left in the future begins now, and waits no longer than anything else.
    """
    known = {_continued(c): None if c.since is None else min(c.since, now) for c in before}
    return tuple(replace(c, since=known.get(_continued(c)) or now) for c in conditions)


def _continued(condition: Condition) -> tuple[ConditionType, str, bool]:
    lost = condition.type is ConditionType.UNREACHABLE
    return condition.type, "" if lost else condition.reason, condition.status


NEGATIVE = (
    ConditionType.BLOCKED,
    ConditionType.STALLED,
    ConditionType.UNREACHABLE,
    ConditionType.PAUSED,
)


def check_conditions(status: NodeStatus, revision: Revision) -> tuple[str, ...]:
    """Return what is contradictory in a status; empty when it is sound."""
    held = {c.type for c in status.conditions if c.status}
    faults: list[str] = []
    if not any(c.type is ConditionType.READY for c in status.conditions):
        faults.append("Ready is missing")
    if ConditionType.READY in held and held & set(NEGATIVE):
        faults.append("Ready beside a negative condition")
    if ConditionType.RECONCILING in held and held & {ConditionType.STALLED, ConditionType.BLOCKED}:
        faults.append("Reconciling beside Stalled or Blocked")
    if status.observed_revision > revision:
        faults.append("observed revision above the revision")
    return tuple(faults)
