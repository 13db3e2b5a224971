"""Which nodes may get a key, and why the others may not.

Called by `place` and, to answer `keys show`, by way of `explain`. Pure: conditions and loads arrive
as values. Not here: which of the eligible ones is best (`score`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from desired_state.model.ids import NodeName
from desired_state.model.key import Key
from desired_state.model.node import Mode, Node
from desired_state.model.placement import Placement
from desired_state.model.policy import Policy, policy_for
from desired_state.model.tariff import Labels

UNHEALTHY = ("Unreachable", "Stalled", "Blocked")
CONFIRMED_BY = 2
"""Failed looks in a row without which no node is given up: one may be an accident of our own."""
LATE = timedelta(minutes=1)
"""A look may come so late: it waits for the panel before, or for another replica to take over."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """Measured shares of what a node can bear: 0 idle, 1 full, more is possible.

    Keys are not in it: placement counts them itself, with those that it is placing.
    """

    traffic: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as the scheduler sees it.

    `conditions`: those that hold, as `Type/Reason`. `xray_running` None: nobody has looked yet, which
    does not keep keys off a new node. `unreachable_since`: None while its panel answers; `failures`: looks
    in a row that failed; `watched_s`: for how long a controller saw that, its own stops left out;
    `next_look_at`: when the next one is due.
    """

    node: Node
    conditions: tuple[str, ...] = ()
    xray_running: bool | None = None
    load: NodeLoad = NodeLoad()
    unreachable_since: datetime | None = None
    failures: int = 0
    watched_s: float = 0.0
    next_look_at: datetime | None = None


class RefusedBy(StrEnum):
    """Which rule keeps a key off a node."""

    LABELS = "labels"
    PINNED = "pinned"
    ORPHANED = "orphaned"
    DRAINING = "draining"
    UNSCHEDULABLE = "unschedulable"
    PAUSED = "paused"
    CONDITION = "condition"
    XRAY = "xray"
    FULL = "full"
    OVERLOADED = "overloaded"
    LEAVING = "leaving"
    NOT_CHOSEN = "not-chosen"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key is not to go to a node; `message` is a clause that follows the node's name."""

    by: RefusedBy
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scheduler says of one key on one node; `refusal` None: placed, or free to be."""

    node: NodeName
    placed: bool
    refusal: Refusal | None


def refuse_node(state: NodeState, policy: Policy, keys: int) -> Refusal | None:
    """Tell what keeps any new key off a node; None if nothing does.

    Args:
        state: the node.
        policy: the one that counts for this node.
        keys: how many live there and are not leaving.
    """
    return (
        _refuse_by_operator(state.node)
        or refuse_health(state, policy)
        or _refuse_full(state, keys)
        or _refuse_overloaded(state, policy)
    )


def can_serve(state: NodeState, policy: Policy) -> bool:
    """Tell whether a node serves the keys that it has, as far as its last look told.

    One that merely takes no new keys does: cordoned, drained, full, overloaded. One that nobody looks at
    any more, paused or in no manifest, counts as one that does not.
    """
    is_watched = not state.node.orphaned and state.node.mode is not Mode.PAUSED
    return is_watched and refuse_health(state, policy) is None


def is_serving(state: NodeState, policy: Policy) -> bool:
    """Tell whether a node serves what it holds, and is not on probation after a fall either.

    On the word of such a one a key leaves another node.
    """
    return can_serve(state, policy) and not state.failures


def failover_at(state: NodeState, policy: Policy) -> datetime | None:
    """Tell when the keys of a node that cannot be reached are placed elsewhere; None: never, as it is."""
    if state.unreachable_since is None or not policy.failover_after_s:
        return None
    return state.unreachable_since + timedelta(seconds=policy.failover_after_s)


def is_given_up(state: NodeState, policy: Policy, now: datetime) -> bool:
    """Tell whether a node was seen out of reach for so long that its keys are to live elsewhere.

    What counts is the time between failed looks of a controller: a node that fell before a stop of hours is
    not given up on one look after it. Nor is it where nobody has looked for longer than that lately.
    """
    due = failover_at(state, policy)
    if due is None or due > now or state.failures < CONFIRMED_BY:
        return False
    if state.watched_s < policy.failover_after_s:
        return False
    next_look = state.next_look_at
    return next_look is None or now - next_look <= timedelta(seconds=policy.failover_after_s) + LATE


def _refuse_by_operator(node: Node) -> Refusal | None:
    if node.orphaned:
        return Refusal(RefusedBy.ORPHANED, "is in no manifest any more")
    if node.is_draining:
        return Refusal(RefusedBy.DRAINING, "is being drained")
    if not node.is_schedulable:
        by = "cordoned" if node.overrides.cordoned else "declared unschedulable"
        return Refusal(RefusedBy.UNSCHEDULABLE, f"is {by}")
    if node.mode is Mode.PAUSED:
        return Refusal(RefusedBy.PAUSED, "is paused: nothing would be created there")
    return None


def refuse_health(state: NodeState, policy: Policy) -> Refusal | None:
    """Tell what its last look said against a node; None if nothing."""
    for condition in state.conditions:
        if condition.partition("/")[0] in UNHEALTHY:
            return Refusal(RefusedBy.CONDITION, f"is {condition}")
    if policy.require_xray and state.xray_running is False:
        return Refusal(RefusedBy.XRAY, "has no running Xray")
    return None


def _refuse_full(state: NodeState, keys: int) -> Refusal | None:
    capacity = state.node.spec.capacity_keys
    if capacity is not None and keys >= capacity:
        return Refusal(RefusedBy.FULL, f"is full: {keys} of {capacity} keys")
    return None


def _refuse_overloaded(state: NodeState, policy: Policy) -> Refusal | None:
    """Refuse what a measure that the policy weighs says is at its limit, however few keys are there."""
    load, weights = state.load, policy.load
    for name, weight, share in (
        ("traffic", weights.traffic, load.traffic),
        ("CPU", weights.cpu, load.cpu),
        ("memory", weights.memory, load.memory),
    ):
        if weight > 0 and share >= 1:
            return Refusal(RefusedBy.OVERLOADED, f"is overloaded: {name} at {share:.0%}")
    return None


@lru_cache(maxsize=1024)  # asked for once a key, answered once a selector
def render_labels(labels: Labels) -> str:
    """Write a selector as people do: `country=nl,tier=premium`; empty means every node."""
    return ",".join(f"{name}={value}" for name, value in labels) or "every node"


def count_keys(placements: Iterable[Placement]) -> dict[NodeName, int]:
    """Count the keys of each node that are not leaving it."""
    counts: dict[NodeName, int] = {}
    for placement in placements:
        if placement.leaving is None:
            counts[placement.node] = counts.get(placement.node, 0) + 1
    return counts


def explain_key(
    key: Key,
    nodes: Iterable[NodeState],
    placements: Iterable[Placement],
    policies: tuple[Policy, ...],
    counts: Mapping[NodeName, int],
) -> tuple[Verdict, ...]:
    """Say of every node why this key is there, or is not; sorted by node.

    Args:
        key: the key.
        nodes: every node of the fleet.
        placements: this key's own.
        policies: every policy.
        counts: keys of each node, from `count_keys` over all placements.
    """
    own = {placement.node: placement for placement in placements}
    live = sum(placement.leaving is None for placement in own.values())
    verdicts: list[Verdict] = []
    for state in sorted(nodes, key=lambda state: state.node.name):
        name = state.node.name
        present = own.get(name)
        if present is not None and present.leaving is None:
            verdicts.append(Verdict(name, placed=True, refusal=None))
            continue
        policy = policy_for(policies, state.node.spec.labels)
        refusal = (
            _refuse_by_key(key, state, present)
            or refuse_node(state, policy, counts.get(name, 0))
            or _refuse_surplus(key, live)
        )
        verdicts.append(Verdict(name, placed=False, refusal=refusal))
    return tuple(verdicts)


def _refuse_by_key(key: Key, state: NodeState, present: Placement | None) -> Refusal | None:
    if present is not None and present.leaving is not None:
        return Refusal(RefusedBy.LEAVING, f"is being left: {present.leaving}")
    if key.pinned is not None:
        if key.pinned != state.node.name:
            return Refusal(RefusedBy.PINNED, f"is not {key.pinned}, which the key is pinned to")
    elif not key.nodes.matches(state.node.spec.labels):
        return Refusal(RefusedBy.LABELS, f"does not carry {render_labels(key.nodes.labels)}")
    return None


def _refuse_surplus(key: Key, live: int) -> Refusal | None:
    wanted = 1 if key.pinned is not None else key.nodes.count
    if wanted is not None and live >= wanted:
        return Refusal(RefusedBy.NOT_CHOSEN, f"is not needed: the key has {live} of {wanted}")
    return None
