"""What holds of placement whatever the fleet: capacity, sticky, fixed, complete, explained."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.key import Key
from desired_state.model.node import Mode, Node, NodeOverrides
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import LoadWeights, MoveOrder, Policy, policy_for
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.eligible import (
    NodeLoad,
    NodeState,
    count_keys,
    explain_key,
    refuse_node,
)
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import Move, PlacementResult
from tests.builders import make_node_spec

NAMES = tuple(f"n{i}" for i in range(5))
KEYS = tuple(f"k{i}" for i in range(6))
LABELS = st.sampled_from([(), (("c", "x"),), (("c", "y"),), (("c", "x"), ("t", "z"))])
DELETED_AT = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """Everything that `place_keys` is given."""

    keys: tuple[Key, ...]
    nodes: tuple[NodeState, ...]
    placements: tuple[Placement, ...]
    policies: tuple[Policy, ...]
    moves: tuple[Move, ...] = ()

    def place(self) -> PlacementResult:
        return place_keys(
            self.keys, self.nodes, self.placements, policies=self.policies, moves=self.moves
        )

    def key(self, name: str) -> Key:
        return next(key for key in self.keys if key.id == name)

    def after(self, result: PlacementResult) -> "World":
        """Write down the answer."""
        rows = {(row.key, row.node): row for row in self.placements}
        rows |= {(row.key, row.node): row for row in (*result.added, *result.ended)}
        return replace(self, placements=tuple(rows.values()))

    def capacity(self, name: str) -> int | None:
        return next(s for s in self.nodes if s.node.name == name).node.spec.capacity_keys


def node_states(name: str) -> st.SearchStrategy[NodeState]:
    """A node in any state, more often than not one that takes keys."""
    shares = st.sampled_from([0.0, 0.3, 1.2])
    spec = st.builds(
        lambda **changes: make_node_spec(name, **changes),
        labels=LABELS,
        capacity_keys=st.sampled_from([None, 1, 2, 5]),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        priority=st.sampled_from([100, 100, 50]),
        mode=st.sampled_from([Mode.ENFORCE] * 5 + list(Mode)),
        schedulable=st.sampled_from([True, True, True, False]),
    )
    node = st.builds(
        Node,
        spec,
        overrides=st.sampled_from([NodeOverrides()] * 4 + [NodeOverrides(draining=True)]),
        orphaned=st.sampled_from([False] * 5 + [True]),
    )
    return st.builds(
        NodeState,
        node,
        conditions=st.sampled_from([(), (), (), ("Drifted/Fighting",), ("Stalled/StaleDesired",)]),
        xray_running=st.sampled_from([None, True, True, False]),
        load=st.builds(NodeLoad, shares, shares, shares),
    )


def keys_of(name: str) -> st.SearchStrategy[Key]:
    """A key that is wanted somewhere, pinned or revoked."""
    return st.builds(
        Key,
        st.just(name),
        st.just(f"s-{name}"),
        st.just(1),
        st.builds(NodeSelector, LABELS, st.sampled_from([1, 1, 2, 3, None])),
        pinned=st.sampled_from([None, None, None, *NAMES[:2], "n9"]),
        deleted_at=st.sampled_from([None, None, None, DELETED_AT]),
    )


def make_world(*parts: Any) -> World:
    """Put a world together; whoever has neither node nor key stays out."""
    nodes, keys, placed, policies, moves = parts
    rows = tuple(
        Placement(key, node, "earlier", leaving=leaving)
        for (key, node), leaving in sorted(placed.items())
    )
    return World(tuple(keys), tuple(nodes), rows, policies, tuple(moves))


def some(names: tuple[str, ...], one: Callable[[str], st.SearchStrategy[Any]]) -> st.SearchStrategy:
    """Some of these, each at most once."""
    all_ = st.tuples(*map(one, names))
    return st.builds(lambda values, count: values[:count], all_, st.integers(0, len(names)))


POLICIES = st.sampled_from(
    [
        (),
        (Policy(require_xray=False),),
        (
            Policy(load=LoadWeights(1, 1, 1, 1)),
            Policy("x", selector=(("c", "x"),), move_order=MoveOrder.CREATE_FIRST),
        ),
    ]
)
PLACED = st.dictionaries(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(NAMES)),
    st.sampled_from([None, None, None, DeleteReason.MOVED]),
    max_size=8,
)
MOVES = st.lists(
    st.builds(
        Move,
        st.sampled_from(KEYS),
        st.sampled_from([None, *NAMES]),
        st.sampled_from([None, *NAMES]),
        st.sampled_from([None, *MoveOrder]),
        st.integers(0, 5),
    ),
    max_size=4,
)
# Made once: putting strategies together takes longer than drawing from them.
PARTS = (some(NAMES, node_states), some(KEYS, keys_of), PLACED, POLICIES)
RESTING = st.builds(make_world, *PARTS, st.just(()))
MOVING = st.builds(make_world, *PARTS, MOVES)


@given(MOVING)
def test_no_node_takes_a_key_beyond_its_capacity(world) -> None:
    result = world.place()

    after = count_keys(world.after(result).placements)
    for name in {placement.node for placement in result.added}:
        capacity = world.capacity(name)
        assert capacity is None or after[name] <= capacity


@given(RESTING)
def test_without_a_move_only_revoked_keys_leave_and_those_of_drained_nodes(world) -> None:
    result = world.place()

    revoked = {key.id for key in world.keys if not key.is_wanted}
    live = {row for row in world.placements if row.leaving is None and row.key in revoked}
    left = {replace(row, leaving=DeleteReason.REVOKED) for row in live}
    drained = {state.node.name for state in world.nodes if state.node.is_draining}
    assert left <= set(result.ended)
    assert all(
        row.leaving is DeleteReason.DRAINED and row.node in drained
        for row in set(result.ended) - left
    )


@given(MOVING)
def test_with_moves_only_what_a_person_named_leaves(world) -> None:
    result = world.place()

    moved = {move.key for move in world.moves}
    assert all(
        row.key in moved and world.key(row.key).is_wanted
        for row in result.ended
        if row.leaving is DeleteReason.MOVED
    )


@given(MOVING, st.randoms(use_true_random=False))
def test_the_order_of_inputs_means_nothing(world, random) -> None:
    def shuffled(values: tuple) -> tuple:
        return tuple(random.sample(values, len(values)))

    other = World(
        shuffled(world.keys),
        shuffled(world.nodes),
        shuffled(world.placements),
        shuffled(world.policies),
        shuffled(world.moves),
    )

    assert world.place() == other.place()


@given(RESTING)
def test_a_second_pass_finds_nothing_to_do(world) -> None:
    first = world.place()

    second = world.after(first).place()

    assert ((), ()) == (second.added, second.ended)
    assert first.unschedulable == second.unschedulable


@given(MOVING)
def test_nothing_is_added_twice_or_beside_what_is_there(world) -> None:
    result = world.place()

    present = {(row.key, row.node) for row in world.placements}
    added = Counter((row.key, row.node) for row in result.added)
    assert set() == present & set(added)
    assert not added or max(added.values()) == 1
    assert not {(row.key, row.node) for row in result.ended} - present


@given(RESTING)
def test_every_new_placement_is_on_a_node_that_takes_keys_and_is_covered(world) -> None:
    result = world.place()

    states = {state.node.name: state for state in world.nodes}
    before = count_keys(
        row
        for row in world.placements
        if row not in {replace(e, leaving=None) for e in result.ended}
    )
    for row in result.added:
        key, state = world.key(row.key), states[row.node]
        policy = policy_for(world.policies, state.node.spec.labels)
        assert key.is_wanted
        assert refuse_node(state, policy, before.get(row.node, 0)) is None
        assert key.pinned == row.node or (
            key.pinned is None and key.nodes.matches(state.node.spec.labels)
        )


@given(RESTING)
def test_all_covers_every_node_that_takes_keys(world) -> None:
    after = world.after(world.place())

    counts = count_keys(after.placements)
    for key in world.keys:
        if key.is_wanted and key.pinned is None and key.nodes.count is None:
            own = [row for row in after.placements if row.key == key.id]
            verdicts = explain_key(key, world.nodes, own, world.policies, counts)
            assert all(verdict.placed or verdict.refusal for verdict in verdicts)


@given(RESTING)
def test_a_key_is_short_exactly_when_it_is_told_and_the_reason_is_a_sentence(world) -> None:
    result = world.place()
    after = world.after(result)

    told = {short.key: short for short in result.unschedulable}
    for key in world.keys:
        live = sum(row.key == key.id and row.leaving is None for row in after.placements)
        wanted = 1 if key.pinned is not None or key.nodes.count is None else key.nodes.count
        is_short = key.is_wanted and live < wanted
        assert is_short == (key.id in told)
        if is_short:
            assert told[key.id].missing >= 1
            assert len(told[key.id].reason) > len("n0 ")


@given(RESTING)
def test_a_key_is_short_only_when_no_node_would_take_it(world) -> None:
    result = world.place()
    after = world.after(result)

    counts = count_keys(after.placements)
    for short in result.unschedulable:
        own = [row for row in after.placements if row.key == short.key]
        verdicts = explain_key(world.key(short.key), world.nodes, own, world.policies, counts)
        assert [] == [v.node for v in verdicts if not v.placed and v.refusal is None]


@given(MOVING)
def test_every_delete_first_move_waits_for_a_placement_that_is_ending(world) -> None:
    result = world.place()

    leaving = {(row.key, row.node) for row in (*result.ended, *world.placements) if row.leaving}
    added = {(row.key, row.replaces) for row in result.added if row.replaces is not None}
    from_scratch = {
        (move.key, move.from_node)
        for move in world.moves
        if not any(row.key == move.key and row.leaving is None for row in world.placements)
    }
    assert added <= leaving | from_scratch


@given(st.integers(1, 5), st.integers(0, 60))
def test_equal_nodes_get_equal_shares(nodes, keys) -> None:
    states = [NodeState(Node(make_node_spec(name, labels=()))) for name in NAMES[:nodes]]
    wanted = [Key(f"k{i:03}", f"s{i}", 1, NodeSelector()) for i in range(keys)]

    result = place_keys(wanted, states, [])

    counts = Counter(row.node for row in result.added)
    assert keys == counts.total()
    assert not counts or max(counts.values()) - min(counts.get(n, 0) for n in NAMES[:nodes]) <= 1
