"""One guard a group: when it trips, what it withholds, what frees it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.conditions import Counts, NodeStatus
from controller.core.desired import Approval, ApprovalKind, Heal
from controller.core.guards import check_guards
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy
from tests.unit.controller_core.cases import (
    NOW,
    V2,
    brief,
    change_client,
    converge,
    drop_client,
    make_client,
    make_desired,
    make_inbound,
    make_key,
    make_look,
    make_subscription,
    plan,
)  # fmt: skip

LETTERS = "abcdefghijklmnopqrstuvwxyz"
A1 = "x3f-aaaaaaaaaa-g1"


def many(count, **changes):
    return tuple(make_key(letter, **changes) for letter in LETTERS[:count])


def check(desired, look, now=NOW):
    return check_guards(plan(desired, look, now), desired, look, now)


def reasons(checked):
    return [f"{r.condition.type.value}/{r.condition.reason}" for r in checked.refusals]


def revoke(desired, count):
    keys = tuple(
        replace(key, placed=False, leaving=DeleteReason.REVOKED) if i < count else key
        for i, key in enumerate(desired.keys)
    )
    return replace(desired, keys=keys)


def approve(checked, **changes):
    (blocked,) = [r.blocked for r in checked.refusals if r.blocked is not None]
    values = {"approved_at": NOW}
    return Approval(
        ApprovalKind(blocked.kind), blocked.digest, frozenset(blocked.emails), **values | changes
    )


@pytest.mark.promise("S5")
class TestTooManyDeletes:
    @pytest.mark.parametrize(
        ("owned", "deleted", "trips"),
        [(10, 5, False), (10, 6, True), (26, 7, False), (26, 8, True)],
        ids=["five-of-ten", "six-of-ten", "below-30-percent", "above-30-percent"],
    )
    def test_it_trips_above_five_and_above_thirty_percent(self, owned, deleted, trips):
        desired, look = converge(make_desired(*many(owned)), make_look())

        checked = check(revoke(desired, deleted), look)

        assert reasons(checked) == (["Blocked/TooManyDeletes"] if trips else [])
        assert len(checked.allowed.actions) == (0 if trips else deleted)

    def test_other_work_goes_on(self):
        desired, look = converge(make_desired(*many(8)), make_look())
        desired = revoke(desired, 6)
        desired = replace(desired, keys=(*desired.keys, make_key("z")))

        checked = check(desired, look)

        assert [a.verb.value for a in checked.allowed.actions] == ["create"]

    def test_the_approved_set_and_any_part_of_it_may_go(self):
        desired, look = converge(make_desired(*many(10)), make_look())
        desired = revoke(desired, 8)
        approval = approve(check(desired, look))
        desired = replace(desired, approvals=(approval,))

        whole = check(desired, look)
        part = check(desired, drop_client(look, A1))

        assert reasons(whole) == reasons(part) == []
        assert whole.started == (approval.digest,)

    def test_one_more_than_was_approved_is_refused(self):
        desired, look = converge(make_desired(*many(10)), make_look())
        approval = approve(check(revoke(desired, 8), look))
        desired = replace(revoke(desired, 9), approvals=(approval,))

        assert reasons(check(desired, look)) == ["Blocked/TooManyDeletes"]

    @pytest.mark.parametrize(
        ("changes", "later", "fresh"),
        [
            pytest.param({}, timedelta(minutes=15), True, id="started-in-time"),
            pytest.param({}, timedelta(minutes=16), False, id="not-started-in-time"),
            pytest.param({"started_at": NOW}, timedelta(hours=24), True, id="running-its-day"),
            pytest.param({"started_at": NOW}, timedelta(hours=25), False, id="its-day-is-over"),
        ],
    )
    def test_an_approval_ages(self, changes, later, fresh):
        keys = many(10, subscription=make_subscription(valid_until=None))
        desired, look = converge(make_desired(*keys), make_look())
        desired = revoke(desired, 8)
        desired = replace(desired, approvals=(approve(check(desired, look), **changes),))

        checked = check(desired, look, NOW + later)

        assert reasons(checked) == ([] if fresh else ["Blocked/TooManyDeletes"])

    def test_a_drain_is_exempt(self):
        desired, look = converge(make_desired(*many(10)), make_look())
        keys = tuple(replace(k, placed=False, leaving=DeleteReason.DRAINED) for k in desired.keys)

        checked = check(replace(desired, keys=keys, draining=True), look)

        assert reasons(checked) == []


@pytest.mark.promise("S5")
class TestEmptyDesired:
    def test_it_trips_when_more_than_five_keys_became_none(self):
        before = NodeStatus(placed_seen=6, counts=Counts(desired=6))
        desired, look = converge(make_desired(*many(5), status=before), make_look())

        assert reasons(check(revoke(desired, 5), look)) == ["Blocked/EmptyDesired"]

    def test_five_keys_may_go(self):
        desired, look = converge(
            make_desired(*many(5), status=NodeStatus(placed_seen=5)), make_look()
        )

        assert reasons(check(revoke(desired, 5), look)) == []


class TestShrunkObservation:
    @pytest.mark.parametrize(
        ("kept", "gone", "trips"), [(10, 5, False), (10, 6, True), (14, 7, False), (14, 8, True)]
    )
    def test_it_trips_when_more_than_half_is_gone(self, kept, gone, trips):
        desired, look = converge(make_desired(*many(kept)), make_look())
        lost = [f"x3f-{letter * 10}-g1" for letter in LETTERS[:gone]]

        checked = check(desired, drop_client(look, *lost))

        assert reasons(checked) == (["Blocked/ShrunkObservation"] if trips else [])
        assert checked.is_trusted is not trips

    def test_what_we_are_deleting_explains_itself(self):
        desired, look = converge(make_desired(*many(12)), make_look())
        desired = replace(revoke(desired, 8), policy=Policy(max_delete_floor=100))

        assert reasons(check(desired, replace(look, clients=look.clients[8:]))) == []

    def test_the_approved_observation_and_a_part_of_it_may_be_mended(self):
        desired, look = converge(make_desired(*many(10)), make_look())
        empty = replace(look, clients=())
        desired = replace(desired, approvals=(approve(check(desired, empty)),))

        assert reasons(check(desired, empty)) == []
        assert reasons(check(desired, replace(look, clients=look.clients[:2]))) == []


@pytest.mark.promise("S4")
class TestIdentityChanged:
    def test_another_guid_withholds_everything(self):
        desired, look = converge(make_desired(make_key(), guid="g-1"), make_look(guid="g-2"))

        checked = check(desired, drop_client(look, A1))

        assert reasons(checked) == ["Stalled/IdentityChanged"]
        assert checked.allowed.actions == ()

    def test_a_status_that_was_not_answered_is_no_other_panel(self):
        desired, look = converge(make_desired(make_key(), guid="g-1"), make_look(guid=None))

        assert reasons(check(desired, look)) == []

    def test_without_a_guid_no_mark_and_a_missing_inbound_mean_another_panel(self):
        desired, look = converge(make_desired(make_key()), make_look(version=V2))
        other = replace(look, clients=(), inbounds=(make_inbound(5),))

        assert "Stalled/IdentityChanged" in reasons(check(desired, other))

    def test_without_a_guid_all_inbounds_present_mean_our_panel(self):
        desired, look = converge(make_desired(make_key()), make_look(version=V2))

        assert reasons(check(desired, replace(look, clients=()))) == []


class TestStaleDesired:
    def test_a_newer_generation_withholds_everything(self):
        desired, look = converge(make_desired(make_key(generation=2)), make_look())
        desired = replace(desired, keys=(make_key(generation=1),), journal=())

        assert reasons(check(desired, look)) == ["Stalled/StaleDesired"]

    @pytest.mark.parametrize(("count", "trips"), [(5, False), (6, True)])
    def test_more_than_five_quarantined_withhold_everything(self, count, trips):
        _, look = converge(make_desired(*many(count)), make_look())

        assert reasons(check(make_desired(), look)) == (["Stalled/StaleDesired"] if trips else [])


def test_a_torn_list_withholds_everything():
    desired, look = converge(make_desired(make_key()), make_look(torn=True))

    checked = check(desired, drop_client(look, A1))

    assert (reasons(checked), checked.allowed.actions) == (["Drifted/TornList"], ())


class TestTooManyDisabled:
    def test_many_lost_subscriptions_switch_nobody_off(self):
        desired, look = converge(make_desired(*many(6)), make_look())
        lost = make_subscription(lost=True)
        desired = replace(desired, keys=many(6, subscription=lost))

        checked = check(desired, look)

        assert (reasons(checked), checked.allowed.actions) == (["Blocked/TooManyDisabled"], ())

    def test_own_due_dates_are_no_mass_change(self):
        desired, look = converge(make_desired(*many(20)), make_look())

        checked = check(desired, look, NOW + timedelta(days=10))

        assert reasons(checked) == []
        assert {a.verb.value for a in checked.allowed.actions} == {"disable"}


class TestClockSkew:
    @pytest.mark.parametrize(("minutes", "trips"), [(10, False), (11, True), (-11, True)])
    def test_what_time_alone_would_end_waits(self, minutes, trips):
        desired, look = converge(
            make_desired(make_key()), make_look(clock_skew=timedelta(minutes=minutes))
        )

        checked = check(desired, look, NOW + timedelta(days=10))

        assert reasons(checked) == (["Blocked/ClockSkew"] if trips else [])

    def test_a_person_s_act_does_not_wait(self):
        desired, look = converge(make_desired(make_key()), make_look(clock_skew=timedelta(hours=1)))
        frozen = make_key(subscription=make_subscription(suspended=True))

        checked = check(replace(desired, keys=(frozen,)), look)

        assert brief(checked.allowed) == [("disable", A1, "enable")]


class TestPanelPoisoned:
    def test_it_names_the_place_and_withholds_creates_only(self):
        inbounds = (make_inbound(3, nameless_clients=(1,)),)
        desired = make_desired(make_key(), inbounds=inbounds)

        checked = check(desired, make_look(version=V2, inbounds=inbounds))

        (refusal,) = checked.refusals
        assert refusal.condition.reason == "PanelPoisoned"
        assert "inbound 3 position 2" in refusal.condition.message
        assert checked.allowed.actions == ()

    def test_newer_panels_cannot_be_poisoned(self):
        inbounds = (make_inbound(nameless_clients=(0,)),)

        checked = check(make_desired(make_key(), inbounds=inbounds), make_look(inbounds=inbounds))

        assert reasons(checked) == []


class TestFighting:
    @pytest.mark.parametrize(
        ("times", "trips"),
        [
            pytest.param((1, 2, 3), True, id="three-in-an-hour"),
            pytest.param((1, 2), False, id="two"),
            pytest.param((1, 2, 61), False, id="one-is-too-old"),
        ],
    )
    def test_healed_three_times_in_an_hour_is_left_alone(self, times, trips):
        desired, look = converge(make_desired(make_key()), make_look())
        heal = Heal(A1, tuple(NOW - timedelta(minutes=m) for m in times))

        checked = check(replace(desired, heals=(heal,)), change_client(look, A1, limit_ip=9))

        assert reasons(checked) == (["Drifted/Fighting"] if trips else [])


@pytest.mark.promise("S4")
class TestModes:
    def test_upsert_only_never_deletes(self):
        desired, look = converge(make_desired(make_key()), make_look())
        desired = replace(revoke(desired, 1), mode=Mode.UPSERT_ONLY)
        desired = replace(desired, keys=(*desired.keys, make_key("b")))

        assert [b[0] for b in brief(check(desired, look).allowed)] == ["create"]

    @pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PAUSED])
    def test_a_dry_run_writes_nothing(self, mode):
        assert check(make_desired(make_key(), mode=mode), make_look()).allowed.actions == ()


@pytest.mark.promise("S1")
def test_foreign_clients_are_in_no_plan():
    desired, look = converge(make_desired(make_key()), make_look(make_client("bob")))

    drawn = plan(revoke(desired, 1), look)

    assert drawn.foreign == ("bob",)
    assert "bob" not in [a.email for a in drawn.actions]
