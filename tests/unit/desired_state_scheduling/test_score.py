"""Of two eligible nodes, which comes first."""

import pytest

from desired_state.model.node import Mode
from desired_state.model.policy import LoadWeights
from desired_state.scheduling.eligible import NodeLoad
from desired_state.scheduling.score import UNLIMITED_KEYS, make_scale

KEYS = LoadWeights()
ALL = LoadWeights(keys=1, traffic=1, cpu=1, memory=1)


def first_of(one, other, weights: LoadWeights = KEYS) -> str:
    """Rank two pairs of a node and its keys."""
    ranked = [
        (make_scale(state, weights).rank(keys), state.node.name) for state, keys in (one, other)
    ]
    return min(ranked)[1]


def test_the_higher_priority_comes_first_however_loaded(node) -> None:
    busy, idle = node("nl-1", 100, priority=200), node("nl-2", 100, priority=100)

    assert "nl-1" == first_of((busy, 99), (idle, 0))


def test_a_node_that_is_not_written_to_comes_last_whatever_its_priority(node) -> None:
    watched = node("nl-1", 100, priority=999, mode=Mode.OBSERVE)

    assert "nl-2" == first_of((watched, 0), (node("nl-2", 100), 99))


def test_keys_count_as_a_share_of_the_capacity(node) -> None:
    assert "nl-2" == first_of((node("nl-1", 10), 5), (node("nl-2", 1000), 499))


def test_a_node_without_capacity_counts_as_a_large_one(node) -> None:
    unlimited = node("nl-1", None)

    assert "nl-2" == first_of((unlimited, UNLIMITED_KEYS // 2 + 1), (node("nl-2", 10), 5))
    assert "nl-1" == first_of((unlimited, UNLIMITED_KEYS // 2 - 1), (node("nl-2", 10), 5))


def test_twice_the_weight_takes_twice_the_load(node) -> None:
    heavy, light = node("nl-1", 100, weight=2.0), node("nl-2", 100, weight=1.0)

    assert "nl-1" == first_of((heavy, 19), (light, 10))
    assert "nl-2" == first_of((heavy, 21), (light, 10))


@pytest.mark.parametrize("share", ["traffic", "cpu", "memory"])
def test_what_is_measured_counts_where_the_policy_says_so(node, share) -> None:
    busy = node("nl-1", 100, load=NodeLoad(**{share: 0.5}))
    idle = node("nl-2", 100)

    assert "nl-2" == first_of((busy, 0), (idle, 40), ALL)
    assert "nl-1" == first_of((busy, 0), (idle, 60), ALL)
    assert "nl-1" == first_of((busy, 0), (idle, 1), KEYS)


def test_of_equal_loads_fewer_keys_come_first(node) -> None:
    nothing = LoadWeights(keys=0)

    assert "nl-2" == first_of((node("nl-1", 100), 3), (node("nl-2", 100), 2), nothing)


def test_ties_are_broken_by_a_hash_and_not_by_the_alphabet(node) -> None:
    """Five empty nodes: which comes first is fixed, and is not simply the first by name."""
    names = ["a", "b", "c", "d", "e"]

    ranks = sorted((make_scale(node(name, 10), KEYS).rank(0), name) for name in names)

    assert names[::-1] != [name for _, name in ranks] != names
    assert ranks == sorted((make_scale(node(name, 10), KEYS).rank(0), name) for name in names[::-1])
