"""What a run over the fleet did, node by node: turns added up, ready to be shown.

Pure. Callers: `rounds` and the service make it, the cli renders it. Not here: storing, rendering.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from controller.core.conditions import BlockedSet, Condition, NodeStatus
from controller.core.result import Result
from controller.runtime.worker import TurnReport
from desired_state.model.ids import Digest, NodeName
from desired_state.model.node import Mode
from desired_state.model.placement import Placement
from desired_state.scheduling.result import RefusedMove, Unschedulable


class Stage(StrEnum):
    """What a progress line is about."""

    PLACED = "placed"
    STARTED = "started"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """One step of a run, as it happens. `node` "" for the fleet; `turn` set when one finished."""

    stage: Stage
    round: int
    node: NodeName = NodeName("")
    done: int = 0
    total: int = 0
    turn: TurnReport | None = None


def left_of(result: Result) -> int:
    """Count what a turn left to do, or waiting."""
    return len(result.remaining.actions) + len(result.remaining.waiting)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All turns of one node, added up. `last`: the result of the last turn that did not break off.

    `first`: that of the first one: its plan is what there was to do. `error`: why the last turn broke
    off. `least_left`: actions that the best turn left. Seconds in `duration_s`.
    """

    node: NodeName
    rounds: int = 0
    created: int = 0
    deleted: int = 0
    updated: int = 0
    healed: int = 0
    writes: int = 0
    looks: int = 0
    duration_s: float = 0.0
    out_of_time: bool = False
    error: str = ""
    first: Result | None = None
    last: Result | None = None
    least_left: int | None = None

    def plus(self, turn: TurnReport) -> "NodeReport":
        """Add a turn."""
        result = turn.result
        counted = replace(
            self,
            rounds=self.rounds + 1,
            duration_s=self.duration_s + turn.duration_s,
            out_of_time=turn.out_of_time,
            error=turn.error,
        )
        if result is None:
            return counted
        return replace(
            counted,
            created=self.created + result.created,
            deleted=self.deleted + result.deleted,
            updated=self.updated + result.updated,
            healed=self.healed + result.healed,
            writes=self.writes + result.writes,
            looks=self.looks + result.looks,
            first=self.first or result,
            last=result,
            least_left=min(left for left in (self.least_left, left_of(result)) if left is not None),
        )

    @property
    def verified(self) -> int:
        """Clients that the last look showed as they should be."""
        return 0 if self.last is None else self.last.verified

    @property
    def withheld(self) -> int:
        """Actions that a guard or the mode withholds."""
        return 0 if self.last is None else self.last.withheld

    @property
    def waiting(self) -> int:
        """Clients that wait for something: an older generation, another node, 60 s."""
        return 0 if self.last is None else len(self.last.remaining.waiting)

    @property
    def actions_left(self) -> int:
        """Actions of the last plan: in a dry run, everything that there is to do."""
        return 0 if self.last is None else len(self.last.remaining.actions)

    @property
    def blocked_sets(self) -> tuple[BlockedSet, ...]:
        """What a person may approve."""
        return () if self.last is None else self.last.status.blocked_sets

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """Emails that the panel refused in the last turn, and why."""
        return () if self.last is None else self.last.refused

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions after the last turn."""
        return () if self.last is None else self.last.status.conditions

    @property
    def status(self) -> NodeStatus:
        """Status after the last turn."""
        return NodeStatus() if self.last is None else self.last.status

    @property
    def mode(self) -> Mode | None:
        """Mode in the last turn; None when there was none."""
        return None if self.last is None else self.last.mode

    @property
    def plan_digest(self) -> Digest:
        """Digest of the first plan; empty when there was nothing to do."""
        if self.first is None or not self.first.plan.actions:
            return Digest("")
        return self.first.plan.digest

    @property
    def is_in_sync(self) -> bool:
        """Whether the node was seen, serves every key, and nothing is left, waiting or withheld."""
        return (
            self.last is not None and not self.error and self.last.is_in_sync and not self.waiting
        )

    @property
    def is_blocked(self) -> bool:
        """Whether a person is asked to approve something, or to correct a guard's cause."""
        return any(c.status and c.type.value == "Blocked" for c in self.conditions)

    @property
    def failed(self) -> bool:
        """Whether the node could not be worked on: not seen, or broken off."""
        return bool(self.error) or self.last is None or self.last.not_observed is not None


@dataclass(frozen=True, slots=True)
class FleetReport:
    """One run over some nodes. `rounds`: how many there were; placements are the fleet's."""

    nodes: tuple[NodeReport, ...] = ()
    rounds: int = 0
    placed: tuple[Placement, ...] = ()
    ended: tuple[Placement, ...] = ()
    unschedulable: tuple[Unschedulable, ...] = ()
    refused_moves: tuple[RefusedMove, ...] = ()
    duration_s: float = 0.0
    totals: dict[str, int] = field(default_factory=dict)

    @property
    def in_sync(self) -> bool:
        """Whether every node is, and every key has its nodes."""
        return (
            all(node.is_in_sync for node in self.nodes)
            and not self.unschedulable
            and not self.refused_moves
        )

    @property
    def blocked(self) -> tuple[NodeReport, ...]:
        """Nodes on which a guard waits for a person."""
        return tuple(node for node in self.nodes if node.is_blocked)

    @property
    def failed(self) -> tuple[NodeReport, ...]:
        """Nodes that could not be worked on."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def writes(self) -> int:
        """Calls that may have changed panels."""
        return sum(node.writes for node in self.nodes)


def add_up(nodes: tuple[NodeReport, ...]) -> dict[str, int]:
    """Sum what is counted over nodes."""
    names = (
        "created", "deleted", "updated", "healed", "verified", "withheld", "waiting", "writes",
        "looks",
    )  # fmt: skip
    return {name: sum(getattr(node, name) for node in nodes) for name in names}
