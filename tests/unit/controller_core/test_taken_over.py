"""After a takeover from a controller that died: creates at once, nothing is taken away for a while."""

from dataclasses import replace

from controller.core.guards import check_guards
from desired_state.model.placement import DeleteReason
from tests.unit.controller_core.cases import (
    NOW,
    brief,
    converge,
    make_desired,
    make_key,
    make_look,
    make_subscription,
    plan,
)  # fmt: skip


def check(desired, look):
    return check_guards(plan(desired, look, NOW), desired, look, NOW)


def make_case(**changes):
    """One key to delete, one to switch off, one to create."""
    desired, look = converge(make_desired(make_key("a"), make_key("b")), make_look())
    leaving = replace(desired.keys[0], placed=False, leaving=DeleteReason.REVOKED)
    ended = replace(desired.keys[1], subscription=make_subscription(suspended=True))
    return replace(desired, keys=(leaving, ended, make_key("c")), **changes), look


def test_only_what_takes_nothing_away_is_done():
    checked = check(*make_case(may_remove=False))

    assert ["create"] == [action[0] for action in brief(checked.allowed)]
    assert ["Reconciling/TakenOver"] == [
        f"{r.condition.type.value}/{r.condition.reason}" for r in checked.refusals
    ]
    assert 2 == checked.withheld


def test_nothing_waits_when_the_time_is_over():
    checked = check(*make_case())

    assert ((), 3) == (checked.refusals, len(checked.allowed.actions))


def test_a_node_with_nothing_to_take_away_is_not_told_of():
    desired, look = converge(make_desired(make_key()), make_look())

    assert () == check(replace(desired, may_remove=False), look).refusals
