"""What holds of keys on more nodes than they are owed: enough stay, the best of them, in order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.key import Key
from desired_state.model.placement import DeleteReason
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult
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


@given(RESTING)
def test_where_everything_is_live_no_key_keeps_more_nodes_than_it_is_owed(world) -> None:
    once = world.after(place(world, EVERYWHERE))

    assert all(len(lives(once)[key.id]) <= key.nodes.count for key in counted(once))


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
