"""The fleet at one moment, as metrics and alerts look at it; plain values.

Callers: `collector` shows it, jobs read it from the database and decide about alerts. Not here: SQL,
what only this process knows (`marks`).
"""

from dataclasses import dataclass, field
from datetime import datetime

from desired_state.model.ids import NodeName, Revision
from desired_state.model.node import Mode
from desired_state.queries.backups import BackupsView
from desired_state.scheduling.capacity import Group, NodeRoom


@dataclass(frozen=True, slots=True)
class SeenCondition:
    """A condition as it is stored; `status` False is said of `Ready` alone."""

    type: str
    reason: str
    status: bool = True
    message: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """A set that waits for a person's approval: kind, digest, how many emails."""

    kind: str
    digest: str
    emails: int


@dataclass(frozen=True, slots=True)
class SeenNode:
    """One declared node with its stored status; `counts` by state, empty before the first look.

    `wanted_revision`: the newest that concerns it; `observed_revision`: as stored, which a turn that
    finds nothing to do does not renew.
    `debt`: deletes owed while its panel cannot be reached; `debt_since`: the oldest of them. `leaving`: keys
    on their way off it, reached or not; `leaving_since`: the oldest. `adopted`: clients taken over.
    """

    name: NodeName
    mode: Mode = Mode.ENFORCE
    orphaned: bool = False
    conditions: tuple[SeenCondition, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    withheld: tuple[Withheld, ...] = ()
    wanted_revision: Revision = Revision(0)
    observed_revision: Revision = Revision(0)
    failures: int = 0
    next_look_at: datetime | None = None
    xray: str = ""
    certificate_until: datetime | None = None
    debt: int = 0
    debt_since: datetime | None = None
    leaving: int = 0
    leaving_since: datetime | None = None
    adopted: int = 0

    def holding(self, *types: str) -> tuple[SeenCondition, ...]:
        """Conditions of these types that hold."""
        return tuple(c for c in self.conditions if c.status and c.type in types)


@dataclass(frozen=True, slots=True)
class SeenSource:
    """Where manifests come from, and the revision in use ("": none yet).

    `fault`: code of what is wrong with it, else ""; `failing_since`: since when something is.
    `fetched`: the newest revision that could be read, good or not. `silent_since`: when whoever follows it
    was last heard of, once that is too long ago.
    """

    name: str
    revision: str
    fetched: str = ""
    fault: str = ""
    failing_since: datetime | None = None
    silent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeenCapacity:
    """How full nodes and groups are. `told`: keys of the signals that people were told of."""

    nodes: tuple[NodeRoom, ...] = ()
    groups: tuple[Group, ...] = ()
    told: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Everything that was read at `at`; nodes sorted by name."""

    at: datetime
    nodes: tuple[SeenNode, ...] = ()
    sources: tuple[SeenSource, ...] = ()
    capacity: SeenCapacity = SeenCapacity()
    backups: BackupsView = BackupsView()
