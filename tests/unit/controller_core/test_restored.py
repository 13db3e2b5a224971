"""After a restore from a backup: first nothing is written, then nothing is taken away from anybody."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.guards import check_guards
from desired_state.model.node import Mode, Recovery
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

OBSERVE = {"mode": Mode.OBSERVE, "recovery": Recovery.OBSERVE}
CAREFUL = {"mode": Mode.UPSERT_ONLY, "recovery": Recovery.CAREFUL}


def check(desired, look):
    return check_guards(plan(desired, look, NOW), desired, look, NOW)


def told(checked):
    return [f"{r.condition.type.value}/{r.condition.reason}" for r in checked.refusals]


def make_case(**changes):
    """One key to delete, one to switch off, one to create."""
    desired, look = converge(make_desired(make_key("a"), make_key("b")), make_look())
    leaving = replace(desired.keys[0], placed=False, leaving=DeleteReason.REVOKED)
    ended = replace(desired.keys[1], subscription=make_subscription(suspended=True))
    return replace(desired, keys=(leaving, ended, make_key("c")), **changes), look


@pytest.mark.promise("S4")
def test_nothing_is_written_before_a_person_accepts():
    checked = check(*make_case(**OBSERVE))

    assert ((), 3, ["Blocked/Restored"]) == (
        checked.allowed.actions, checked.withheld, told(checked),
    )  # fmt: skip


def test_a_node_that_waits_says_so_though_there_is_nothing_to_do():
    desired, look = converge(make_desired(make_key()), make_look())

    assert ["Blocked/Restored"] == told(check(replace(desired, **OBSERVE), look))


def test_accepted_it_creates_and_takes_nothing_away():
    checked = check(*make_case(**CAREFUL))

    assert ["create"] == [action[0] for action in brief(checked.allowed)]
    assert ["Drifted/Restored"] == told(checked)


@pytest.mark.parametrize(
    ("subscription", "withheld"),
    {
        "an earlier end": ({"valid_until": NOW + timedelta(days=1)}, 1),
        "an end where there was none": ({"valid_until": NOW + timedelta(days=10)}, 1),
        "a later end": ({"valid_until": NOW + timedelta(days=90)}, 0),
        "a smaller quota": ({"quota_bytes": 10**9}, 1),
        "a larger quota": ({"quota_bytes": 10**12}, 0),
        "no quota any more": ({"quota_bytes": None}, 0),
        "fewer devices": ({"devices": 2}, 1),
        "more devices": ({"devices": 5}, 0),
        "any number of devices": ({"devices": None}, 0),
    }.values(),
    ids=[
        "an earlier end", "an end where there was none", "a later end", "a smaller quota",
        "a larger quota", "no quota any more", "fewer devices", "more devices",
        "any number of devices",
    ],
)  # fmt: skip
def test_what_would_end_sooner_than_the_panel_says_waits_and_what_gives_more_passes(
    subscription, withheld
):
    """An older row does not know of a renewal: the panel does."""
    never = subscription == {"valid_until": NOW + timedelta(days=10)}
    before = make_subscription(valid_until=None) if never else make_subscription()
    desired, look = converge(make_desired(make_key(subscription=before)), make_look())
    older = replace(desired.keys[0], subscription=make_subscription(**subscription))

    checked = check(replace(desired, keys=(older,), **CAREFUL), look)

    assert (withheld, 1 - withheld) == (checked.withheld, len(checked.allowed.actions))


def test_a_stricter_mode_of_the_operator_is_told_as_such():
    checked = check(*make_case(mode=Mode.OBSERVE, recovery=Recovery.CAREFUL))

    assert () == checked.allowed.actions
    assert {"Drifted/Mode", "Drifted/Restored"} == set(told(checked))


def test_the_usual_guards_hold_once_all_is_accepted():
    checked = check(*make_case())

    assert ([], 3) == (told(checked), len(checked.allowed.actions))
