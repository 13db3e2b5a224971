"""What holds of drains, failovers and rebalances whatever the fleet."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.key import Key
from desired_state.model.node import Node, NodeOverrides
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import LoadWeights, MoveOrder, Policy
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.balance import Balance, Wish
from desired_state.scheduling.eligible import NodeLoad, NodeState, count_keys
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult
from tests.builders import make_node_spec

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FREE = Policy(max_delete_share=1.0, failover_after_s=60)
"""Moves as many at once as there are."""
EVERYWHERE = Balance((Wish(1),))


def a_node(name: str, keys: int | None = None, **changes: object) -> NodeState:
    """Make a node that takes keys."""
    of_state = {"conditions", "unreachable_since", "failures", "watched_s", "load"}
    state = {field: value for field, value in changes.items() if field in of_state}
    draining = bool(changes.pop("draining", False))
    spec = {field: value for field, value in changes.items() if field not in of_state}
    made = make_node_spec(name, capacity_keys=keys, **spec)
    return NodeState(Node(made, NodeOverrides(draining=draining)), **state)


def a_key(number: int, count: int | None = 1, **labels: str) -> Key:
    """Make a wanted key."""
    selector = NodeSelector(tuple(sorted(labels.items())), count)
    return Key(f"k{number:04}", f"s{number}", 1, selector)


def write(placements: tuple[Placement, ...], result: PlacementResult) -> tuple[Placement, ...]:
    """Write an answer down, and let everything that leaves be gone."""
    rows = {(p.key, p.node): p for p in placements}
    rows |= {(p.key, p.node): p for p in (*result.added, *result.ended, *result.freed)}
    staying = (p for p in rows.values() if p.leaving is None)
    return tuple(replace(p, replaces=None) for p in staying)


def run(
    keys: list[Key],
    nodes: list[NodeState],
    placements: tuple[Placement, ...],
    *,
    balance: Balance = EVERYWHERE,
    policy: Policy = FREE,
    passes: int = 40,
) -> tuple[tuple[Placement, ...], int]:
    """Make passes until one decides nothing; gives what stands then and how many moves it took."""
    moves = 0
    for _ in range(passes):
        live = {(p.key, p.node) for p in placements}
        result = place_keys(
            keys, nodes, placements, policies=(policy,), live=live, now=NOW, balance=balance
        )
        moves += len(result.ended)
        placements = write(placements, result)
        if not (result.added or result.ended):
            return placements, moves
    raise AssertionError("it never comes to rest")


def spread(counts: list[int], names: list[str]) -> tuple[Placement, ...]:
    """Put so many keys on each of these nodes."""
    placed = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    return tuple(Placement(f"k{i:04}", name, "earlier") for i, name in enumerate(placed))


FLEETS = st.lists(
    st.tuples(
        st.integers(0, 60), st.sampled_from([10, 20, 100, 200]), st.sampled_from([0.5, 1, 2])
    ),
    min_size=2,
    max_size=7,
)


@given(FLEETS)
def test_after_a_rebalance_every_node_is_within_a_tenth_of_its_fair_share_or_one_key(fleet) -> None:
    """Shares by capacity and weight, as far as capacity goes: filled like vessels that communicate."""
    names = [f"n{i}" for i in range(len(fleet))]
    counts = [min(count, capacity) for count, capacity, _ in fleet]
    nodes = [a_node(n, c, weight=w) for n, (_, c, w) in zip(names, fleet, strict=True)]
    keys = [a_key(i) for i in range(sum(counts))]

    after, _ = run(keys, nodes, spread(counts, names))

    fair = vessels(len(keys), [(c, w) for _, c, w in fleet])
    held = count_keys(after)
    for name, share in zip(names, fair, strict=True):
        # Keys are whole: each node may be rounded up by one, which its neighbours lack.
        above = held.get(name, 0) - share
        assert above <= max(1.0, share * 0.1) + 1e-6, (held, fair)
        assert -above <= len(fleet) - 1 + share * 0.1, (held, fair)


def vessels(keys: int, sizes: list[tuple[int, float]]) -> list[float]:
    """Share keys out so that load by weight is equal, and no node holds more than it can."""
    low, high = 0.0, 1_000.0
    for _ in range(80):
        level = (low + high) / 2
        low, high = (level, high) if poured(level, sizes) < keys else (low, level)
    return [min(float(capacity), high * capacity * weight) for capacity, weight in sizes]


def poured(level: float, sizes: list[tuple[int, float]]) -> float:
    """How many keys stand in vessels that are filled to a level."""
    return sum(min(float(capacity), level * capacity * weight) for capacity, weight in sizes)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=7))
def test_a_rebalance_moves_the_fewest_keys(counts) -> None:
    """Equal nodes: as many as stand above the range, or are missing below it; whichever is more."""
    names = [f"n{i}" for i in range(len(counts))]
    nodes = [a_node(name, 1_000) for name in names]
    keys = [a_key(i) for i in range(sum(counts))]

    after, moves = run(keys, nodes, spread(counts, names))

    low, rest = divmod(sum(counts), len(counts))
    high = low + bool(rest)
    most = max(high, (high - 1) * 11 // 10)
    least = min(low, -(-(low + 1) * 9 // 10))
    needed = max(sum(max(0, c - most) for c in counts), sum(max(0, least - c) for c in counts))
    mean = sum(counts) / len(counts)
    assert all(abs(held - mean) <= max(1, mean / 10) for held in count_keys(after).values())
    # A node's own share is low or high, by the digests of their names: one key either way.
    assert needed <= moves <= needed + len(counts)


@given(FLEETS, st.randoms(use_true_random=False))
def test_a_rebalance_is_the_same_whatever_the_order_of_inputs(fleet, random) -> None:
    names = [f"n{i}" for i in range(len(fleet))]
    counts = [min(count, capacity) for count, capacity, _ in fleet]
    nodes = [a_node(n, c, weight=w) for n, (_, c, w) in zip(names, fleet, strict=True)]
    keys = [a_key(i) for i in range(sum(counts))]
    placements = spread(counts, names)

    def once(*parts):
        return place_keys(*parts, policies=(FREE,), now=NOW, balance=EVERYWHERE)

    shuffled = (random.sample(list(some), len(some)) for some in (keys, nodes, placements))
    assert once(keys, nodes, placements) == once(*shuffled)


@given(FLEETS, st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([None, 0, 1, 5]))
def test_a_pass_of_a_rebalance_moves_no_more_than_guards_let_pass(fleet, share, left) -> None:
    names = [f"n{i}" for i in range(len(fleet))]
    counts = [min(count, capacity) for count, capacity, _ in fleet]
    nodes = [a_node(n, c, weight=w) for n, (_, c, w) in zip(names, fleet, strict=True)]
    keys = [a_key(i) for i in range(sum(counts))]
    policy = replace(FREE, max_delete_share=share)

    result = place_keys(
        keys, nodes, spread(counts, names),
        policies=(policy,), now=NOW, balance=Balance((Wish(1),), left),
    )  # fmt: skip

    ended = Counter(p.node for p in result.ended)
    for name, count in zip(names, counts, strict=True):
        assert ended[name] <= max(1, int(share * count))
    assert left is None or sum(ended.values()) <= left


@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=5),
    st.integers(1, 3),
    st.sampled_from(list(MoveOrder)),
)
def test_a_drained_node_runs_empty_where_others_have_room_and_nobody_else_moves(
    counts, wanted, order
) -> None:
    names = [f"n{i}" for i in range(len(counts))]
    nodes = [a_node(name, None, draining=name == "n0") for name in names]
    placements = spread(counts, names)
    keys = [a_key(i, count=1) for i in range(sum(counts))]

    after, moves = run(
        keys, nodes, placements, balance=Balance(), policy=replace(FREE, move_order=order)
    )

    assert 0 == count_keys(after).get("n0", 0)
    assert counts[0] == moves
    stayed = {(p.key, p.node) for p in placements if p.node != "n0"}
    assert stayed <= {(p.key, p.node) for p in after}
    assert {key.id for key in keys} == {p.key for p in after}


@given(st.lists(st.integers(0, 9), min_size=3, max_size=5), st.integers(1, 4))
def test_keys_leave_no_node_when_nobody_else_has_room(counts, room) -> None:
    """Capacity holds in drains, too; what finds no room stays, and says so."""
    names = [f"n{i}" for i in range(len(counts))]
    nodes = [a_node(names[0], None, draining=True)]
    nodes += [a_node(n, max(c, room)) for n, c in zip(names[1:], counts[1:], strict=True)]
    keys = [a_key(i) for i in range(sum(counts))]
    placements = spread(counts, names)

    result = place_keys(keys, nodes, placements, policies=(FREE,), now=NOW)

    free = sum(max(c, room) - c for c in counts[1:])
    assert min(counts[0], free) == len(result.ended)
    assert max(0, counts[0] - free) == len(result.stuck)
    assert all(stuck.node == "n0" and "full" in stuck.reason for stuck in result.stuck)


FALLEN = st.builds(
    lambda ago, failures, watched_s: {
        "conditions": ("Unreachable/Timeout",),
        "unreachable_since": NOW - timedelta(seconds=ago),
        "failures": failures,
        "watched_s": watched_s,
    },
    st.sampled_from([0, 59, 60, 600]),
    st.sampled_from([1, 2, 9]),
    st.sampled_from([0.0, 59.0, 60.0, 600.0]),
)


@given(st.integers(1, 9), FALLEN)
def test_keys_leave_a_dead_node_only_after_its_time_and_wait_for_nothing(number, fallen) -> None:
    """Twice looked at in vain, and watched for long enough: elsewhere at once, and a debt is left behind."""
    nodes = [a_node("n0", **fallen), a_node("n1"), a_node("n2")]
    keys = [a_key(i) for i in range(number)]

    result = place_keys(keys, nodes, spread([number, 0, 0], ["n0", "n1", "n2"]),
                        policies=(FREE,), now=NOW)  # fmt: skip

    long_ago = NOW - fallen["unreachable_since"] >= timedelta(minutes=1)
    is_due = fallen["failures"] >= 2 and long_ago and fallen["watched_s"] >= 60
    assert (number if is_due else 0) == len(result.ended)
    assert all(p.leaving is DeleteReason.FAILED_OVER for p in result.ended)
    assert all(p.replaces is None for p in result.added)
    assert {p.key for p in result.added} == {p.key for p in result.ended}


@given(st.integers(1, 9))
def test_a_node_that_flaps_gets_nothing_back_and_loses_nothing_more(number) -> None:
    """Keys that were failed over stay where they are, whatever their old node does."""
    dead = {
        "conditions": ("Unreachable/Timeout",),
        "unreachable_since": NOW - timedelta(minutes=5),
        "failures": 3,
        "watched_s": 300.0,
    }
    keys = [a_key(i) for i in range(number)]
    after, _ = run(
        keys, [a_node("n0", **dead), a_node("n1")], spread([number, 0], ["n0", "n1"]),
        balance=Balance(),
    )  # fmt: skip

    for again in ({}, dead, {}):
        result = place_keys(
            keys, [a_node("n0", **again), a_node("n1")], after, policies=(FREE,), now=NOW
        )

        assert PlacementResult() == result


def test_what_waits_for_a_dead_node_waits_no_more() -> None:
    dead = {"conditions": ("Unreachable/Timeout",), "failures": 2, "watched_s": 3600.0}
    nodes = [a_node("n0", unreachable_since=NOW - timedelta(minutes=2), **dead), a_node("n1")]
    leaving = Placement("k0000", "n0", "earlier", leaving=DeleteReason.MOVED)
    waiting = Placement("k0000", "n1", "moved from n0", replaces="n0")

    result = place_keys([a_key(0)], nodes, [leaving, waiting], policies=(FREE,), now=NOW)

    assert (replace(waiting, replaces=None),) == result.freed


def test_a_key_that_lives_everywhere_leaves_a_drained_node_and_no_dead_one() -> None:
    dead = {"conditions": ("Unreachable/Timeout",), "failures": 2, "watched_s": 3600.0}
    key, placed = a_key(0, count=None), spread([1, 0], ["n0", "n1"])
    both = (*placed, Placement("k0000", "n1", "earlier"))

    drained = place_keys([key], [a_node("n0", draining=True), a_node("n1")], both, now=NOW)
    lost = place_keys(
        [key], [a_node("n0", unreachable_since=NOW - timedelta(days=1), **dead), a_node("n1")],
        both, now=NOW,
    )  # fmt: skip

    assert [("n0", DeleteReason.DRAINED)] == [(p.node, p.leaving) for p in drained.ended]
    assert PlacementResult() == lost


@given(st.sampled_from(["traffic", "cpu", "memory"]), st.integers(0, 30))
def test_an_overloaded_node_is_not_chosen_however_few_keys_it_holds(measure, others) -> None:
    load = NodeLoad(**{measure: 1.0})
    policy = Policy(load=LoadWeights(**{measure: 1.0}))
    nodes = [a_node("n0", 100, load=load), a_node("n1", 100)]

    result = place_keys(
        [a_key(0)], nodes, spread([0, others], ["n0", "n1"])[1:], policies=(policy,)
    )
    alone = place_keys([a_key(0)], nodes[:1], [], policies=(policy,))

    assert all("n1" == p.node for p in result.added)
    assert "1 overloaded" in alone.unschedulable[0].reason


def test_a_rebalance_takes_keys_from_a_node_whose_keys_work_harder() -> None:
    policy = replace(FREE, load=LoadWeights(cpu=1.0))
    names = ["n0", "n1"]
    nodes = [a_node("n0", 100, load=NodeLoad(cpu=0.8)), a_node("n1", 100, load=NodeLoad(cpu=0.1))]
    keys = [a_key(i) for i in range(40)]

    after, _ = run(keys, nodes, spread([20, 20], names), policy=policy, passes=60)

    assert count_keys(after)["n0"] < 15


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4))
def test_a_rebalance_of_some_nodes_leaves_all_others_alone(counts) -> None:
    names = ["nl-0", "nl-1", "de-0", "de-1"]
    nodes = [a_node(name, 1_000) for name in names]
    keys = [a_key(i) for i in range(sum(counts))]
    placements = spread(counts, names)
    balance = Balance((Wish(1, (("country", "nl"),)),))

    after, _ = run(keys, nodes, placements, balance=balance)

    held = count_keys(after)
    assert counts[2:] == [held.get(name, 0) for name in names[2:]]
    assert abs(held.get("nl-0", 0) - held.get("nl-1", 0)) <= max(1, 0.2 * sum(counts[:2]) / 2)


@given(st.integers(2, 30))
def test_a_create_first_rebalance_ends_the_old_place_once_the_new_one_is_proved(number) -> None:
    policy = replace(FREE, move_order=MoveOrder.CREATE_FIRST)
    nodes = [a_node("n0", 1_000), a_node("n1", 1_000)]
    keys = [a_key(i) for i in range(number)]
    placements = spread([number, 0], ["n0", "n1"])

    first = place_keys(keys, nodes, placements, policies=(policy,), now=NOW, balance=EVERYWHERE)
    unproved = place_keys(
        keys, nodes, write(placements, first), policies=(policy,), now=NOW, balance=EVERYWHERE
    )
    after, _ = run(keys, nodes, placements, policy=policy)

    assert () == first.ended == unproved.ended == unproved.added
    assert first.waits
    assert number == len(after)
    assert abs(Counter(p.node for p in after)["n1"] - number / 2) <= max(1, number * 0.05)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=4), st.sampled_from([0.1, 0.3, 0.5]))
def test_a_create_first_rebalance_moves_no_more_while_nothing_is_proved(counts, share) -> None:
    """Moves that were on their way counted where they came from: every pass began others besides."""
    policy = replace(FREE, move_order=MoveOrder.CREATE_FIRST, max_delete_share=share)
    names = [f"n{i}" for i in range(len(counts))]
    nodes = [a_node(name, 1_000) for name in names]
    keys = [a_key(i) for i in range(sum(counts))]
    placements, fair = spread(counts, names), sum(counts) / len(counts)
    bound = {(p.key, p.node) for p in placements}

    for _ in range(12):
        result = place_keys(
            keys, nodes, placements, policies=(policy,), live=bound, now=NOW, balance=EVERYWHERE
        )
        placements = write(placements, result)

    begun = Counter(
        p.reason.removeprefix("rebalanced from ")
        for p in placements
        if (p.key, p.node) not in bound
    )
    for name, count in zip(names, counts, strict=True):
        assert begun[name] <= max(1, int(share * count))
        assert begun[name] <= max(0.0, count - fair + 1)
    after, _ = run(keys, nodes, placements, policy=policy, passes=80)
    assert all(
        abs(held - fair) <= max(len(names), fair * 0.1) for held in count_keys(after).values()
    )
