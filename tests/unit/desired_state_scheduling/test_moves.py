"""A person's moves: delete-first, create-first, refused, done."""

from datetime import UTC, datetime

import pytest

from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder, Policy
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import Move, PlacementResult, RefusedMove

MOVED = DeleteReason.MOVED
CREATE_FIRST = MoveOrder.CREATE_FIRST


@pytest.fixture
def fleet(node):
    return [node("nl-1"), node("nl-2"), node("de-1")]


def test_a_move_to_a_node_waits_for_the_one_it_replaces(fleet, key, placed) -> None:
    result = place_keys([key()], fleet, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1", "de-1")])

    assert (
        PlacementResult(
            added=(Placement("k1", "de-1", "moved from nl-1", replaces="nl-1"),),
            ended=(placed("k1", "nl-1", leaving=MOVED),),
        )
        == result
    )


def test_a_move_to_a_named_node_asks_for_no_label(fleet, key, placed) -> None:
    result = place_keys(
        [key(labels={"country": "nl"})],
        fleet,
        [placed("k1", "nl-1")],
        moves=[Move("k1", "nl-1", "de-1")],
    )

    assert ["de-1"] == [placement.node for placement in result.added]


def test_a_move_without_a_target_goes_where_the_selector_leads(fleet, key, placed) -> None:
    result = place_keys(
        [key(labels={"country": "nl"})], fleet, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1")]
    )

    assert (Placement("k1", "nl-2", "moved from nl-1", replaces="nl-1"),) == result.added


def test_a_key_may_move_off_a_node_whose_labels_fit_no_more(fleet, key, placed) -> None:
    result = place_keys(
        [key(labels={"country": "de"})], fleet, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1")]
    )

    assert (Placement("k1", "de-1", "moved from nl-1", replaces="nl-1"),) == result.added


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(Move("k1", "nl-2", "de-1"), id="left-that-node-already"),
        pytest.param(Move("k1", "nl-1", "nl-1"), id="to-where-it-is"),
        pytest.param(Move("k1", None, "nl-1"), id="is-there-already"),
        pytest.param(Move("k1"), id="says-nothing"),
        pytest.param(Move("k9", "nl-1", "de-1"), id="unknown-key"),
    ],
)
def test_a_move_that_is_made_changes_nothing(fleet, key, placed, move) -> None:
    assert PlacementResult() == place_keys([key()], fleet, [placed("k1", "nl-1")], moves=[move])


def test_making_the_same_move_again_changes_nothing(fleet, key, placed) -> None:
    moves = [Move("k1", "nl-1")]
    first = place_keys([key()], fleet, [placed("k1", "nl-1")], moves=moves)

    again = place_keys([key()], fleet, [*first.added, *first.ended], moves=moves)

    assert PlacementResult() == again


def test_moves_are_made_in_the_order_in_which_they_were_asked_for(fleet, key, placed) -> None:
    """The later one waits: nothing exists on nl-2 yet that de-1 could wait for instead of nl-1."""
    late, early = Move("k1", "nl-2", "de-1", revision=8), Move("k1", "nl-1", "nl-2", revision=7)
    new = Placement("k1", "nl-2", "moved from nl-1", replaces="nl-1")

    first = place_keys([key()], fleet, [placed("k1", "nl-1")], moves=[late, early])
    finalised = place_keys([key()], fleet, [new], moves=[late, early])

    reason = "the key is still moving from nl-1 to nl-2: wait until it is gone there"
    assert (
        PlacementResult(
            added=(new,),
            ended=(placed("k1", "nl-1", leaving=MOVED),),
            refused_moves=(RefusedMove(late, reason),),
        )
        == first
    )
    assert (Placement("k1", "de-1", "moved from nl-2", replaces="nl-2"),) == finalised.added


def test_a_placement_that_is_moved_on_before_it_was_written_leaves_no_trace(fleet, key) -> None:
    moves = [Move("k1", None, "nl-1", revision=1), Move("k1", "nl-1", "de-1", revision=2)]

    result = place_keys([key()], fleet, [], moves=moves)

    assert (
        PlacementResult(added=(Placement("k1", "de-1", "moved from nl-1", replaces="nl-1"),))
        == result
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"schedulable": False}, "de-1 is declared unschedulable", id="unschedulable"),
        pytest.param({"keys": 1}, "de-1 is full: 1 of 1 keys", id="full"),
        pytest.param({"drain": True}, "de-1 is being drained", id="draining"),
    ],
)
def test_a_move_to_a_node_that_takes_no_keys_is_refused(node, key, placed, changes, reason) -> None:
    nodes = [node("nl-1"), node("de-1", **changes)]
    move = Move("k1", "nl-1", "de-1")

    result = place_keys([key()], nodes, [placed("k1", "nl-1"), placed("k2", "de-1")], moves=[move])

    assert PlacementResult(refused_moves=(RefusedMove(move, reason),)) == result


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        pytest.param(Move("k1", "nl-1", "fi-9"), "fi-9 is not declared", id="undeclared"),
        pytest.param(Move("k1", "nl-1", "nl-2"), "nl-2 is still losing it", id="leaving"),
        pytest.param(
            Move("k1", "nl-1"),
            "of 2 nodes for country=nl: 2 holding or losing this key already",
            id="no-other-node",
        ),
    ],
)
def test_a_move_with_nowhere_to_go_is_refused_and_the_key_stays(
    fleet, key, placed, move, reason
) -> None:
    present = [placed("k1", "nl-1"), placed("k1", "nl-2", leaving=MOVED)]

    result = place_keys([key(labels={"country": "nl"})], fleet, present, moves=[move])

    assert PlacementResult(refused_moves=(RefusedMove(move, reason),)) == result


@pytest.mark.parametrize("mode", [Mode.UPSERT_ONLY, Mode.OBSERVE, Mode.PAUSED])
def test_no_key_leaves_delete_first_where_nothing_is_deleted(node, key, placed, mode) -> None:
    nodes = [node("nl-1", mode=mode), node("nl-2")]
    move = Move("k1", "nl-1", "nl-2")

    result = place_keys([key()], nodes, [placed("k1", "nl-1")], moves=[move])

    reason = f"nl-1 is {mode} and deletes nothing: ask for create-first, or change its mode"
    assert PlacementResult(refused_moves=(RefusedMove(move, reason),)) == result


def test_create_first_ends_the_old_placement_when_the_new_one_is_proved(node, key, placed) -> None:
    nodes = [node("nl-1", mode=Mode.UPSERT_ONLY), node("nl-2")]
    old, new = placed("k1", "nl-1"), Placement("k1", "nl-2", "moved from nl-1")
    moves = [Move("k1", "nl-1", "nl-2", CREATE_FIRST)]

    first = place_keys([key()], nodes, [old], moves=moves)
    waiting = place_keys([key()], nodes, [old, new], moves=moves)
    proved = place_keys([key()], nodes, [old, new], moves=moves, live={("k1", "nl-2")})

    assert PlacementResult(added=(new,)) == first
    assert PlacementResult() == waiting
    assert PlacementResult(ended=(placed("k1", "nl-1", leaving=MOVED),)) == proved


def test_create_first_without_a_target_adds_one_node_only(fleet, key, placed) -> None:
    moves = [Move("k1", "nl-1", None, CREATE_FIRST)]
    present = [placed("k1", "nl-1")]

    first = place_keys([key()], fleet, present, moves=moves)
    both = [*present, *first.added]
    (new,) = first.added

    assert PlacementResult() == place_keys([key()], fleet, both, moves=moves)
    assert (placed("k1", "nl-1", leaving=MOVED),) == place_keys(
        [key()], fleet, both, moves=moves, live={("k1", new.node)}
    ).ended


def test_the_order_is_that_of_the_policy_of_the_node_that_is_left(fleet, key, placed) -> None:
    policies = (Policy("nl", selector=(("country", "nl"),), move_order=CREATE_FIRST),)

    result = place_keys(
        [key()],
        fleet,
        [placed("k1", "nl-1")],
        policies=policies,
        moves=[Move("k1", "nl-1", "de-1")],
    )

    assert PlacementResult(added=(Placement("k1", "de-1", "moved from nl-1"),)) == result


def test_a_move_that_came_before_any_placement_places(fleet, key) -> None:
    result = place_keys([key()], fleet, [], moves=[Move("k1", None, "de-1")])

    assert PlacementResult(added=(Placement("k1", "de-1", "placed by a person"),)) == result


def test_a_key_that_lives_nowhere_is_placed_whatever_its_move_says(fleet, key) -> None:
    result = place_keys([key(labels={"country": "de"})], fleet, [], moves=[Move("k1", "nl-1")])

    assert PlacementResult(added=(Placement("k1", "de-1", "best of country=de"),)) == result


def test_a_move_from_nowhere_takes_the_only_node_that_the_key_lives_on(fleet, key, placed) -> None:
    """The scheduler was quicker than the person knew."""
    result = place_keys([key()], fleet, [placed("k1", "nl-1")], moves=[Move("k1", None, "de-1")])

    assert (Placement("k1", "de-1", "moved from nl-1", replaces="nl-1"),) == result.added


def test_a_move_from_nowhere_of_a_key_on_several_nodes_is_refused(fleet, key, placed) -> None:
    move = Move("k1", None, "de-1")
    present = [placed("k1", "nl-1"), placed("k1", "nl-2")]

    result = place_keys([key(count=2)], fleet, present, moves=[move])

    reason = "the key lives on several nodes: say which one it leaves"
    assert PlacementResult(refused_moves=(RefusedMove(move, reason),)) == result


def test_a_pinned_key_moves_to_its_new_pin(fleet, key, placed) -> None:
    result = place_keys(
        [key(pinned="de-1")], fleet, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1")]
    )

    assert (Placement("k1", "de-1", "moved from nl-1", replaces="nl-1"),) == result.added


def test_a_key_that_lives_everywhere_leaves_no_node_that_is_meant(fleet, key, placed) -> None:
    move = Move("k1", "nl-1")
    present = [placed("k1", "nl-1"), placed("k1", "nl-2"), placed("k1", "de-1")]

    result = place_keys([key(count=None)], fleet, present, moves=[move])

    reason = "the key is to live on every node, and nl-1 is one: cordon or drain the node"
    assert PlacementResult(refused_moves=(RefusedMove(move, reason),)) == result


def test_a_key_with_a_new_selector_leaves_the_old_nodes_for_the_new_ones(node, key, placed) -> None:
    """Every new placement that can wait for an old one does."""
    nodes = [node("nl-1"), node("nl-2"), node("de-1"), node("de-2"), node("de-3")]
    present = [placed("k1", "nl-1"), placed("k1", "nl-2")]
    moves = [Move("k1", "nl-1"), Move("k1", "nl-2")]

    result = place_keys([key(count=None, labels={"country": "de"})], nodes, present, moves=moves)

    assert ["de-1", "de-2", "de-3"] == [placement.node for placement in result.added]
    assert {None, "nl-1", "nl-2"} == {placement.replaces for placement in result.added}
    assert ["nl-1", "nl-2"] == [placement.node for placement in result.ended]


def test_a_key_on_every_new_node_already_only_leaves_the_old_one(fleet, key, placed) -> None:
    present = [placed("k1", "nl-1"), placed("k1", "de-1")]

    result = place_keys(
        [key(count=None, labels={"country": "de"})], fleet, present, moves=[Move("k1", "nl-1")]
    )

    assert PlacementResult(ended=(placed("k1", "nl-1", leaving=MOVED),)) == result


def test_a_move_frees_room_for_another_key(node, key, placed) -> None:
    nodes = [node("nl-1", 1), node("de-1", 1)]
    keys = [key("k1"), key("k2", labels={"country": "nl"})]

    result = place_keys(keys, nodes, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1", "de-1")])

    assert [("k1", "de-1"), ("k2", "nl-1")] == [(p.key, p.node) for p in result.added]


def test_moves_of_revoked_keys_are_not_made(fleet, key, placed) -> None:
    revoked = key(deleted_at=datetime(2026, 11, 23, tzinfo=UTC))

    result = place_keys(
        [revoked], fleet, [placed("k1", "nl-1")], moves=[Move("k1", "nl-1", "de-1")]
    )

    assert PlacementResult(ended=(placed("k1", "nl-1", leaving=DeleteReason.REVOKED),)) == result
