"""What holds of keys on more nodes than they are owed: enough stay, the best of them, in order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.key import Key
from desired_state.model.node import Mode, Node
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import policy_for
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.eligible import NodeState
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult
from tests.builders import make_node_spec
from tests.property.test_placement import KEYS, NAMES, RESTING, World

LIVE = st.frozensets(st.tuples(st.sampled_from(KEYS), st.sampled_from(NAMES)))
EVERYWHERE = frozenset((key, node) for key in KEYS for node in NAMES)


def place(world: World, live: frozenset[tuple[str, str]]) -> PlacementResult:
    return place_keys(world.keys, world.nodes, world.placements, policies=world.policies, live=live)


def counted(world: World) -> list[Key]:
    """Wanted keys of so many nodes."""
    keys = (key for key in world.keys if key.is_wanted and key.pinned is None)
    return [key for key in keys if key.nodes.count is not None]


def lives(world: World) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {key.id: set() for key in world.keys}
    for row in world.placements:
        if row.leaving is None and row.key in found:
            found[row.key].add(row.node)
    return found


def serving(world: World) -> set[str]:
    """Nodes that serve the keys they have: looked at, healthy, whether they take new keys or not."""
    return {
        state.node.name
        for state in world.nodes
        if not state.node.orphaned
        and state.node.mode is not Mode.PAUSED
        and not any(name.startswith("Stalled") for name in state.conditions)
        and (
            state.xray_running is not False
            or not policy_for(world.policies, state.node.spec.labels).require_xray
        )
    }


@given(RESTING)
def test_where_everything_is_live_and_serves_no_key_keeps_more_nodes_than_it_is_owed(world) -> None:
    once = world.after(place(world, EVERYWHERE))
    before, serves = lives(world), serving(world)

    assert all(
        len(lives(once)[key.id]) <= key.nodes.count
        for key in counted(once)
        if before[key.id] <= serves
    )


@given(RESTING, LIVE)
def test_a_surplus_ends_only_where_all_that_stay_serve_the_key(world, live) -> None:
    result = place(world, live)
    after, serves = lives(world.after(result)), serving(world)
    added = {(row.key, row.node) for row in result.added}

    for row in result.ended:
        if row.leaving is DeleteReason.SURPLUS:
            assert {node for node in after[row.key] if (row.key, node) not in added} <= serves


DOWN = {
    "Xray stands": {"xray_running": False},
    "out of reach": {"conditions": ("Unreachable/Timeout",)},
    "stalled": {"conditions": ("Stalled/StaleDesired",)},
}


@pytest.mark.parametrize("down", DOWN.values(), ids=DOWN)
@pytest.mark.parametrize("schedulable", [True, False], ids=["open", "cordoned"])
def test_the_one_node_that_serves_a_key_is_not_left_for_one_that_does_not(
    down, schedulable
) -> None:
    """The labels choose nl-1, which serves nobody: the key stays in Germany until it does."""
    key = Key("k1", "s1", 1, NodeSelector((("country", "nl"),), 1))
    dutch = Node(make_node_spec("nl-1", labels=(("country", "nl"),), schedulable=schedulable))
    german = NodeState(Node(make_node_spec("de-1", labels=(("country", "de"),))), xray_running=True)
    rows = [Placement("k1", node, "earlier") for node in ("nl-1", "de-1")]
    both = frozenset({("k1", "nl-1"), ("k1", "de-1")})

    waiting = place_keys([key], [NodeState(dutch, **down), german], rows, live=both)
    served = place_keys([key], [NodeState(dutch, xray_running=True), german], rows, live=both)

    assert ((), True) == (waiting.ended, waiting.waits)
    assert ["de-1"] == [row.node for row in served.ended]


@given(RESTING, LIVE)
def test_nobody_loses_more_than_the_surplus(world, live) -> None:
    """Drained nodes apart: those are left for a reason of their own."""
    before = lives(world)
    ended = Counter(
        row.key for row in place(world, live).ended if row.leaving is DeleteReason.SURPLUS
    )

    for key in counted(world):
        assert ended[key.id] <= max(0, len(before[key.id]) - key.nodes.count)


@given(RESTING, LIVE)
def test_a_surplus_ends_only_where_all_that_stay_are_proved_live(world, live) -> None:
    result = place(world, live)
    after = lives(world.after(result))
    added = {(row.key, row.node) for row in result.added}

    for row in result.ended:
        if row.leaving is DeleteReason.SURPLUS:
            stay = {(row.key, node) for node in after[row.key]} - added
            assert stay <= live


@given(RESTING)
def test_no_node_that_the_labels_choose_is_left_for_one_that_they_do_not(world) -> None:
    result = place(world, EVERYWHERE)
    states = {state.node.name: state.node for state in world.nodes}
    after = lives(world.after(result))

    for row in result.ended:
        if row.leaving is not DeleteReason.SURPLUS or row.node not in states:
            continue
        wanted = world.key(row.key).nodes
        if wanted.matches(states[row.node].spec.labels):
            stay = (states[name] for name in after[row.key] if name in states)
            assert all(n.is_draining or wanted.matches(n.spec.labels) for n in stay)


@given(RESTING, LIVE)
def test_what_was_thinned_out_is_not_filled_up_again(world, live) -> None:
    once = world.after(place(world, live))
    again = place(once, live)
    surplus = {row.key for row in place(world, live).ended if row.leaving is DeleteReason.SURPLUS}

    assert not surplus & {row.key for row in (*again.added, *again.ended)}
