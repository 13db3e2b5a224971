"""How full the fleet is, when it will be, and when it should grow or shrink: with hysteresis, both ways."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from desired_state.model.ids import NodeName
from desired_state.model.policy import Policy, Scaling
from desired_state.scheduling.capacity import (
    Direction,
    NodeRoom,
    days_left,
    find_signals,
    make_groups,
    slope_a_day,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BY_COUNTRY = (Policy(scaling=Scaling(label="country")),)


def node(name, keys, capacity=100, country="nl", **changes):
    return NodeRoom(NodeName(name), (("country", country),), keys, capacity, **changes)


def signals(nodes, told=None, policies=BY_COUNTRY):
    return find_signals(nodes, make_groups(nodes, policies), told or {})


def said(nodes, told=None, policies=BY_COUNTRY):
    """What is asked for, of which node."""
    return [(s.direction.value, s.node) for s in signals(nodes, told, policies)]


# -- numbers ---------------------------------------------------------------------------------------


def test_a_group_holds_every_node_with_one_value_of_a_label():
    groups = make_groups([node("a", 10), node("b", 20), node("c", 5, country="de")], ())

    assert [("country=de", 5, 100, ("c",)), ("country=nl", 30, 200, ("a", "b"))] == [
        (g.name, g.keys, g.capacity, g.nodes) for g in groups
    ]


def test_only_open_nodes_are_capacity_and_all_keys_need_a_place():
    (group,) = make_groups([node("a", 60), node("b", 60, is_open=False)], ())

    assert (120, 100) == (group.keys, group.capacity)
    assert pytest.approx(-0.2) == group.free_share


def test_a_node_without_a_limit_makes_its_group_one_without():
    (group,) = make_groups([node("a", 60), node("b", 60, capacity=None)], BY_COUNTRY)

    assert (None, None, None) == (group.capacity, group.free_share, group.days_until_full)
    assert [] == said([node("a", 99), node("b", 60, capacity=None)])


@pytest.mark.parametrize(
    ("keys", "capacity", "a_day", "expected"),
    [
        (50, 100, 5.0, 10.0),
        (100, 100, 5.0, 0.0),
        (100, 100, -5.0, 0.0),
        (50, 100, 0.0, None),
        (50, 100, -1.0, None),
        (50, 100, None, None),
        (50, None, 5.0, None),
    ],
)
def test_days_until_full_follow_from_the_trend(keys, capacity, a_day, expected):
    assert expected == days_left(keys, capacity, a_day)


@given(st.integers(-500, 500), st.integers(0, 1000), st.integers(2, 40))
def test_a_steady_growth_is_found_exactly(a_day, first, count):
    samples = [(NOW + timedelta(days=day), first + a_day * day) for day in range(count)]

    assert pytest.approx(a_day, abs=1e-6) == slope_a_day(samples)


def test_one_moment_is_no_trend():
    assert slope_a_day([]) is slope_a_day([(NOW, 5)]) is slope_a_day([(NOW, 5), (NOW, 9)]) is None


# -- signals ---------------------------------------------------------------------------------------


def test_a_group_short_of_head_room_asks_for_a_node():
    (signal,) = signals([node("a", 85), node("b", 79)])

    assert ("capacity/country=nl/scale_out", "", 120) == (signal.key, signal.node, signal.hold_s)
    assert "164 keys for 200 places, 18% free where 20% is wanted" in signal.message


def test_a_group_with_nowhere_to_put_its_keys_asks_for_a_node():
    assert [("scale_out", "")] == said([node("a", 5, is_open=False)])


def test_a_told_wish_stands_until_the_group_is_beyond_its_limit():
    """Back and forth over the edge is no flood of messages."""
    told = {"capacity/country=nl/scale_out": ""}
    on_the_edge = [node("a", 78), node("b", 78)]

    assert [] == said(on_the_edge)
    assert [("scale_out", "")] == said(on_the_edge, told)
    assert [] == said([node("a", 74), node("b", 74)], told)


def test_the_node_with_the_fewest_keys_is_the_one_that_may_go():
    nodes = [node("a", 30), node("b", 10), node("c", 20)]

    (signal,) = signals(nodes)

    assert (Direction.IN, "b", 3600) == (signal.direction, signal.node, signal.hold_s)


def test_a_told_wish_goes_on_naming_its_node():
    nodes = [node("a", 30), node("b", 10), node("c", 20)]

    assert [("scale_in", "c")] == said(nodes, {"capacity/country=nl/scale_in": "c"})


def test_nobody_is_sent_away_whose_keys_the_others_could_not_take_with_room_to_spare():
    assert [] == said([node("a", 40), node("b", 30)])
    assert [] == said([node("a", 1)])
    assert [("scale_in", "b")] == said([node("a", 26), node("b", 23)])
    assert [("scale_in", "b")] == said(
        [node("a", 28), node("b", 26)], {"capacity/country=nl/scale_in": "b"}
    )


def test_one_node_is_drained_at_a_time():
    nodes = [node("a", 5), node("b", 5), node("c", 5, is_open=False, is_draining=True)]

    assert [] == said(nodes)


@pytest.mark.parametrize(
    ("keys", "owed", "expected"), [(0, 0, [("remove", "c")]), (1, 0, []), (0, 1, [])]
)
def test_a_drained_node_may_go_once_nothing_of_ours_is_left_there(keys, owed, expected):
    drained = node("c", keys, is_open=False, is_draining=True, owed=owed)

    assert expected == said([node("a", 30), drained])


def test_without_a_policy_nobody_is_told_to_grow_or_shrink():
    assert [] == said([node("a", 100), node("b", 100)], policies=())


def test_another_label_than_the_policys_is_shown_and_asks_for_nothing():
    both = replace(node("a", 100), labels=(("country", "nl"), ("tier", "gold")))

    assert [("scale_out", "")] == said([both])
    assert 2 == len(make_groups([both], BY_COUNTRY))


mostly = st.sampled_from([True, True, True, False])


def fleets(most_keys, least_nodes):
    return st.lists(
    st.builds(
        lambda number, keys, capacity, is_open, draining: NodeRoom(
            NodeName(f"n{number}"), (("country", "nl"),), keys, capacity, is_open and not draining,
            draining,
        ),
        st.integers(0, 99), st.integers(0, most_keys), st.integers(40, 200), mostly,
        mostly.map(lambda b: not b),
    ),
    min_size=least_nodes, max_size=6, unique_by=lambda room: room.name,
)  # fmt: skip


# Fleets with room to spare: of others there is little that can do without a node.
@given(fleets(most_keys=15, least_nodes=3), st.booleans())
def test_following_a_wish_to_shrink_never_asks_to_grow(nodes, told):
    """The two limits are apart: a node does not come and go for ever."""
    before = {"capacity/country=nl/scale_in": nodes[0].name} if told else {}
    found = [s for s in signals(nodes, before) if s.direction is Direction.IN]
    assume(found)
    name = found[0].node

    left = [room for room in nodes if room.name != name]
    moved = next(room for room in nodes if room.name == name).keys
    taker = next(n for n, room in enumerate(left) if room.is_open)
    left[taker] = replace(left[taker], keys=left[taker].keys + moved)

    assert Direction.OUT not in [s.direction for s in signals(left)]


@given(fleets(most_keys=60, least_nodes=1))
def test_growing_and_shrinking_are_never_asked_for_together(nodes):
    ways = {s.direction for s in signals(nodes)}

    assert not {Direction.OUT, Direction.IN} <= ways
