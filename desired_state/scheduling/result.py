"""What `place_keys` answers: rows to write, and what could not be done, with reasons.

Made by `draft`, written by the caller in one transaction. Not here: decisions.
"""

from dataclasses import dataclass

from desired_state.model.ids import KeyId, NodeName, Revision
from desired_state.model.placement import Placement
from desired_state.model.policy import MoveOrder


@dataclass(frozen=True, slots=True)
class Move:
    """A person's choice that a key leaves a node, or goes to one.

    `from_node` None: the key lived nowhere then, or on one node only. `to_node` None: wherever the
    selector leads. `order` None: as the policy of the node that it leaves says. A move whose
    `from_node` does not hold the key any more has been made; callers leave out moves that are older
    than the placement they would end.
    """

    key: KeyId
    from_node: NodeName | None = None
    to_node: NodeName | None = None
    order: MoveOrder | None = None
    revision: Revision = Revision(0)


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """A key that lacks `missing` nodes, and why no node took it."""

    key: KeyId
    missing: int
    reason: str


@dataclass(frozen=True, slots=True)
class RefusedMove:
    """A move that cannot be made now; its key stays where it is."""

    move: Move
    reason: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """A key that is to leave a node and cannot; it stays, and `reason` says why."""

    key: KeyId
    node: NodeName
    reason: str


@dataclass(frozen=True, slots=True)
class BalanceStep:
    """What one pass did for one wish to rebalance.

    `wish` None: the policy's. `made`: moves begun; `left`: those that still have to wait; `going`: begun,
    now or earlier, and not ended. All 0: done.
    """

    wish: int | None
    made: int
    left: int
    going: int


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """What to write, sorted by key and node; moves in the order in which they were tried.

    `ended`: present placements with `leaving` set. `added`: new rows. `freed`: present placements that
    wait no more for the node that they replace, which is given up. `waits`: something goes on later, by
    itself or when a key is proved live elsewhere. `looks`: nodes that are to be looked at first: a key is to
    leave another one on their word.
    """

    added: tuple[Placement, ...] = ()
    ended: tuple[Placement, ...] = ()
    unschedulable: tuple[Unschedulable, ...] = ()
    refused_moves: tuple[RefusedMove, ...] = ()
    freed: tuple[Placement, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    balanced: tuple[BalanceStep, ...] = ()
    waits: bool = False
    looks: tuple[NodeName, ...] = ()
