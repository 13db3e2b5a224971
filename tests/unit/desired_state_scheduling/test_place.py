"""Where keys go, stay and end."""

from datetime import UTC, datetime

import pytest

from desired_state.model.node import Mode, NodeOverrides
from desired_state.model.placement import DeleteReason, Placement
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult, Unschedulable

REVOKED = {"deleted_at": datetime(2026, 11, 23, tzinfo=UTC)}


def where(result: PlacementResult) -> list[tuple[str, str]]:
    return [(placement.key, placement.node) for placement in result.added]


def why(result: PlacementResult) -> list[str]:
    return [short.reason for short in result.unschedulable]


def test_a_key_goes_to_a_node_that_its_selector_chooses(node, key) -> None:
    result = place_keys([key(labels={"country": "de"})], [node("nl-1"), node("de-1")], [])

    assert PlacementResult(added=(Placement("k1", "de-1", "best of country=de"),)) == result


def test_keys_spread_by_load(node, key) -> None:
    keys = [key(f"k{i}") for i in range(6)]

    result = place_keys(keys, [node("nl-1", 10), node("nl-2", 20)], [])

    assert [2, 4] == [
        sum(placement.node == name for placement in result.added) for name in ("nl-1", "nl-2")
    ]


def test_present_keys_count_as_load_also_those_of_unknown_keys(node, key, placed) -> None:
    present = [placed("other", "nl-1")]

    assert [("k1", "nl-2")] == where(place_keys([key()], [node("nl-1"), node("nl-2")], present))


def test_the_higher_priority_is_filled_first(node, key) -> None:
    keys = [key(f"k{i}") for i in range(3)]
    nodes = [node("nl-1", 2, priority=200), node("nl-2", 10, priority=100)]

    assert [("k0", "nl-1"), ("k1", "nl-1"), ("k2", "nl-2")] == where(place_keys(keys, nodes, []))


def test_count_asks_for_different_nodes(node, key) -> None:
    result = place_keys([key(count=2)], [node("nl-1"), node("nl-2"), node("nl-3", priority=1)], [])

    assert [("k1", "nl-1"), ("k1", "nl-2")] == where(result)


def test_a_key_that_lacks_nodes_gets_those_that_there_are_and_says_so(node, key) -> None:
    result = place_keys([key(count=3)], [node("nl-1"), node("nl-2", schedulable=False)], [])

    assert [("k1", "nl-1")] == where(result)
    assert (
        Unschedulable(
            "k1",
            2,
            "of 2 nodes for every node: 1 holding or losing this key already, 1 unschedulable",
        ),
    ) == result.unschedulable


def test_all_means_every_eligible_node(node, key, placed) -> None:
    nodes = [node("nl-1"), node("nl-2"), node("nl-3", drain=True), node("de-1")]

    result = place_keys([key(count=None, labels={"country": "nl"})], nodes, [placed("k1", "nl-1")])

    assert PlacementResult(added=(Placement("k1", "nl-2", "all of country=nl"),)) == result


def test_all_of_no_eligible_node_is_unschedulable(node, key) -> None:
    result = place_keys(
        [key(count=None)], [node("nl-1", orphaned=True), node("de-1", drain=True)], []
    )

    assert (
        Unschedulable("k1", 2, "of 2 nodes for every node: 1 draining, 1 orphaned"),
    ) == result.unschedulable


def test_a_new_node_gets_every_key_that_is_to_live_everywhere(node, key, placed) -> None:
    keys = [key(f"k{i}", count=None) for i in range(3)]
    present = [placed(f"k{i}", "nl-1") for i in range(3)]

    result = place_keys(keys, [node("nl-1"), node("nl-2")], present)

    assert [("k0", "nl-2"), ("k1", "nl-2"), ("k2", "nl-2")] == where(result)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": ()}, id="labels-fit-no-more"),
        pytest.param({"schedulable": False}, id="unschedulable"),
        pytest.param({"keys": 1}, id="over-capacity"),
        pytest.param({"conditions": ("Stalled/CredentialsRefused",)}, id="stalled"),
        pytest.param({"conditions": ("Unreachable/Timeout",)}, id="failover-comes-later"),
        pytest.param({"xray_running": False}, id="xray-stopped"),
        pytest.param({"orphaned": True}, id="orphaned"),
        pytest.param({"overrides": NodeOverrides(paused=True)}, id="paused"),
        pytest.param({"priority": -5, "weight": 0.01}, id="worst-of-all"),
    ],
)
def test_a_placement_is_never_moved_by_itself(node, key, placed, change) -> None:
    keys = [key(name, labels={"country": "nl"}) for name in ("k1", "k2")]
    present = [placed("k1", "nl-1"), placed("k2", "nl-1")]

    result = place_keys(keys, [node("nl-1", **change), node("nl-2")], present)

    assert PlacementResult() == result


def test_a_lower_count_waits_until_what_stays_is_proved_live(node, key, placed) -> None:
    """A customer who changes to a smaller tariff is served all the time."""
    present = [placed("k1", "nl-1"), placed("k1", "nl-2")]
    nodes = [node("nl-1", priority=50), node("nl-2")]

    waits = place_keys([key(count=1)], nodes, present, live={("k1", "nl-3")})
    done = place_keys([key(count=1)], nodes, present, live={("k1", "nl-1"), ("k1", "nl-2")})

    assert PlacementResult(waits=True) == waits
    assert [("nl-1", DeleteReason.SURPLUS)] == [(p.node, p.leaving) for p in done.ended]


@pytest.mark.parametrize(
    ("worse", "live"),
    [
        pytest.param({"labels": (("country", "de"),)}, {"nl-1", "nl-2"}, id="labels"),
        pytest.param({"drain": True}, {"nl-1", "nl-2"}, id="drained"),
        pytest.param({}, {"nl-2"}, id="not proved live"),
        pytest.param({"priority": 50}, {"nl-1", "nl-2"}, id="priority"),
    ],
)
def test_of_too_many_nodes_the_worse_one_is_left(node, key, placed, worse, live) -> None:
    """Even if it were the better one by everything that weighs less."""
    present = [placed("k1", "nl-1"), placed("k1", "nl-2")]
    nodes = [node("nl-1", **{"weight": 9.0, **worse}), node("nl-2")]

    one = key(count=1, labels={"country": "nl"})
    done = place_keys([one], nodes, present, live={("k1", name) for name in live})

    assert ["nl-1"] == [p.node for p in done.ended]
    assert () == done.added


def test_a_placement_on_a_node_that_nobody_knows_is_left_alone(node, key, placed) -> None:
    assert PlacementResult() == place_keys([key()], [node("nl-1")], [placed("k1", "gone-1")])


def test_a_revoked_key_ends_everywhere_and_what_leaves_keeps_its_reason(node, key, placed) -> None:
    present = [
        placed("k1", "nl-1", replaces="de-1"),
        placed("k1", "nl-2"),
        placed("k1", "de-1", leaving=DeleteReason.MOVED),
        placed("k1", "gone-1"),
    ]

    result = place_keys([key(count=None, **REVOKED)], [node("nl-1"), node("nl-2")], present)

    assert (
        PlacementResult(
            ended=(
                placed("k1", "gone-1", leaving=DeleteReason.REVOKED),
                placed("k1", "nl-1", replaces="de-1", leaving=DeleteReason.REVOKED),
                placed("k1", "nl-2", leaving=DeleteReason.REVOKED),
            )
        )
        == result
    )


def test_what_a_revoked_key_leaves_is_free_for_another(node, key, placed) -> None:
    keys = [key("k1", **REVOKED), key("k2")]

    result = place_keys(keys, [node("nl-1", 1)], [placed("k1", "nl-1")])

    assert [("k2", "nl-1")] == where(result)


def test_no_key_returns_to_a_node_that_it_is_still_leaving(node, key, placed) -> None:
    present = [placed("k1", "nl-1", leaving=DeleteReason.DRAINED)]

    assert [("k1", "nl-2")] == where(place_keys([key()], [node("nl-1"), node("nl-2")], present))
    assert ["of 1 node for every node: 1 holding or losing this key already"] == why(
        place_keys([key()], [node("nl-1")], present)
    )
    assert [] == where(place_keys([key(count=None)], [node("nl-1")], present))


def test_a_pinned_key_goes_to_its_node_whatever_the_labels(node, key) -> None:
    pinned = key(pinned="de-1", labels={"country": "nl"})

    result = place_keys([pinned], [node("nl-1"), node("de-1", priority=-1)], [])

    assert PlacementResult(added=(Placement("k1", "de-1", "pinned"),)) == result


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"schedulable": False}, "de-1 is declared unschedulable", id="unschedulable"),
        pytest.param({"keys": 1}, "de-1 is full: 1 of 1 keys", id="full"),
        pytest.param(
            {"conditions": ("Unreachable/Timeout",)},
            "de-1 is Unreachable/Timeout",
            id="unreachable",
        ),
    ],
)
def test_a_pinned_key_goes_nowhere_rather_than_elsewhere(node, key, placed, change, reason) -> None:
    result = place_keys(
        [key(pinned="de-1")], [node("nl-1"), node("de-1", **change)], [placed("k0", "de-1")]
    )

    assert PlacementResult(unschedulable=(Unschedulable("k1", 1, reason),)) == result


def test_a_key_pinned_to_an_undeclared_node_says_so(node, key) -> None:
    assert ["de-9 is not declared"] == why(place_keys([key(pinned="de-9")], [node()], []))


def test_a_pinned_key_that_is_still_leaving_its_node_waits(node, key, placed) -> None:
    present = [placed("k1", "de-1", leaving=DeleteReason.MOVED)]

    assert ["de-1 is still losing it"] == why(
        place_keys([key(pinned="de-1")], [node("de-1")], present)
    )


def test_a_key_that_nobody_can_take_says_why_not(node, key) -> None:
    nodes = [
        node("nl-1", orphaned=True),
        node("nl-2", drain=True),
        node("nl-3", overrides=NodeOverrides(cordoned=True)),
        node("nl-4", mode=Mode.PAUSED),
        node("nl-5", conditions=("Blocked/TooManyDeletes",)),
        node("nl-6", conditions=("Blocked/TooManyDeletes",)),
        node("nl-7", xray_running=False),
        node("de-1"),
    ]

    assert [
        (
            "of 7 nodes for country=nl: 2 Blocked/TooManyDeletes, 1 draining, 1 orphaned, 1 paused, "
            "1 unschedulable, 1 without a running Xray"
        )
    ] == why(place_keys([key(labels={"country": "nl"})], nodes, []))


def test_a_key_for_labels_that_nobody_carries_says_so(node, key) -> None:
    assert ["no node carries country=us"] == why(
        place_keys([key(labels={"country": "us"})], [node()], [])
    )


def test_a_full_fleet_refuses_the_rest(node, key) -> None:
    result = place_keys([key(f"k{i}") for i in range(4)], [node("nl-1", 2), node("nl-2", 1)], [])

    assert 3 == len(result.added)
    assert (Unschedulable("k3", 1, "of 2 nodes for every node: 2 full"),) == result.unschedulable


def test_selectors_that_overlap_share_the_counts(node, key) -> None:
    """A node that one selector filled is full for the other."""
    keys = [key("k1"), key("k2", labels={"country": "nl"}), key("k3")]

    result = place_keys(keys, [node("nl-1", 1), node("de-1", 2, priority=1)], [])

    assert [("k1", "nl-1"), ("k3", "de-1")] == where(result)
    assert ["of 1 node for country=nl: 1 full"] == why(result)


def test_what_one_selector_placed_counts_as_load_for_the_other(node, key) -> None:
    """The queue of every node knew nl-1 as nearly empty; it must see that it is not any more."""
    nl = [key(name, labels={"country": "nl"}) for name in ("k2", "k3", "k4")]

    result = place_keys(
        [key("k1"), *nl, key("k5"), key("k6")], [node("nl-1", 10), node("de-1", 10)], []
    )

    assert [("k5", "de-1"), ("k6", "de-1")] == where(result)[-2:]


def test_a_node_that_is_only_watched_is_the_last_choice(node, key) -> None:
    nodes = [node("nl-1", mode=Mode.OBSERVE, priority=999), node("nl-2", 1)]

    assert [("k1", "nl-2"), ("k2", "nl-1")] == where(place_keys([key("k1"), key("k2")], nodes, []))


def test_a_key_of_every_node_leaves_a_drained_one_in_the_pass_that_finds_it_another(
    node, key, placed
) -> None:
    present = [placed("k1", "nl-1")]
    nodes = [node("nl-1", overrides=NodeOverrides(draining=True)), node("nl-2")]

    done = place_keys([key(count=None)], nodes, present)

    assert [("k1", "nl-2")] == where(done)
    assert [("nl-1", DeleteReason.DRAINED)] == [(p.node, p.leaving) for p in done.ended]
    assert () == done.stuck
