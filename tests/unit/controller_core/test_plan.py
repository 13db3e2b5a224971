"""The table of cases above `make_plan`, one test a row, over both families where it matters."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.effects import Verb
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, KeyId
from desired_state.model.ownership import InstallationSecret, Ownership
from desired_state.model.placement import DeleteReason
from tests.unit.controller_core.cases import (
    NOW,
    OWNERSHIP,
    V2,
    V302,
    V310,
    V328,
    V360,
    brief,
    change_client,
    converge,
    drop_client,
    make_client,
    make_desired,
    make_inbound,
    make_key,
    make_look,
    make_row,
    make_subscription,
    plan,
)  # fmt: skip

A1, A2 = "x3f-aaaaaaaaaa-g1", "x3f-aaaaaaaaaa-g2"
FAMILIES = [pytest.param(V2, "-i1", id="2.9.4"), pytest.param(V360, "", id="3.6.0")]


@pytest.mark.parametrize(("version", "tail"), FAMILIES)
class TestOfBothFamilies:
    def test_a_converged_node_has_an_empty_plan(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))

        drawn = plan(desired, look)

        assert (brief(drawn), drawn.learned, drawn.live) == ([], (), 1)

    def test_what_is_wanted_and_not_there_is_created(self, version, tail):
        assert brief(plan(make_desired(make_key()), make_look(version=version))) == [
            ("create", A1 + tail, "new")
        ]

    def test_an_edit_by_hand_is_updated_and_is_drift(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        look = change_client(look, A1 + tail, total_bytes=1, limit_ip=9)

        drawn = plan(desired, look)

        assert brief(drawn) == [("update", A1 + tail, "devices,quota")]
        assert drawn.actions[0].drift

    def test_a_changed_wish_is_updated_and_is_no_drift(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        longer = make_subscription(valid_until=NOW + timedelta(days=40))
        desired = replace(desired, keys=(make_key(subscription=longer),))

        drawn = plan(desired, look)

        assert brief(drawn) == [("update", A1 + tail, "expiry")]
        assert not drawn.actions[0].drift

    def test_a_client_deleted_by_hand_is_created_again(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))

        drawn = plan(desired, drop_client(look, A1 + tail))

        assert brief(drawn) == [("create", A1 + tail, "missing")]
        assert drawn.actions[0].drift
        assert drawn.missing == (A1 + tail,)

    def test_a_rotated_key_is_deleted_first_and_its_create_waits(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        desired = replace(desired, keys=(make_key(generation=2),))

        drawn = plan(desired, look)

        assert [b for b in brief(drawn) if b[2] != "placeholder"] == [
            ("delete", A1 + tail, "rotated")
        ]
        assert [(w.email, w.why) for w in drawn.waiting] == [
            (A2 + tail, "an older generation is not finalised")
        ]

    def test_a_journalled_client_without_a_wish_is_deleted_though_it_is_not_seen(
        self, version, tail
    ):
        """Absence in a list proves nothing."""
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        desired = replace(desired, keys=(make_key(leaving=DeleteReason.REVOKED, placed=False),))

        drawn = plan(desired, drop_client(look, A1 + tail))

        assert brief(drawn) == [("delete", A1 + tail, "revoked")]

    def test_a_journalled_client_of_an_unplaced_key_without_a_reason_is_left_alone(
        self, version, tail
    ):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        desired = replace(desired, keys=(make_key(placed=False),))

        drawn = plan(desired, look)

        assert (brief(drawn), drawn.quarantined) == ([], (A1 + tail,))

    def test_our_email_on_a_foreign_client_is_left_alone_and_named(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        stranger = make_client(A1 + tail)

        drawn = plan(desired, replace(look, clients=(stranger,)))

        assert (brief(drawn), drawn.taken) == ([], (A1 + tail,))

    def test_a_client_with_our_mark_and_no_row_is_learned_and_compared(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        desired = replace(desired, journal=())

        drawn = plan(desired, look)

        assert [row.email for row in drawn.learned] == [A1 + tail]
        assert brief(drawn) == [("update", A1 + tail, "credentials")]

    def test_an_older_generation_with_our_mark_and_no_row_is_deleted(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        desired = replace(desired, journal=(), keys=(make_key(generation=2),))

        drawn = plan(desired, look)

        assert ("delete", A1 + tail, "rotated") in brief(drawn)
        assert ("create", A2 + tail, "new") not in brief(drawn)

    def test_a_newer_generation_than_our_row_is_named_and_not_touched(self, version, tail):
        desired, look = converge(make_desired(make_key(generation=3)), make_look(version=version))
        desired = replace(desired, keys=(make_key(generation=2, placed=False),), journal=())

        drawn = plan(desired, look)

        assert (brief(drawn), drawn.newer) == ([], ("x3f-aaaaaaaaaa-g3" + tail,))

    def test_our_mark_of_a_key_that_no_row_knows_is_quarantined(self, version, tail):
        _, look = converge(make_desired(make_key()), make_look(version=version))

        drawn = plan(make_desired(), look)

        assert (brief(drawn), drawn.quarantined) == ([], (A1 + tail,))
        assert drawn.unknown_keys == (KeyId("aaaaaaaaaa"),)

    def test_a_look_alike_without_our_mark_is_foreign(self, version, tail):
        drawn = plan(make_desired(), make_look(make_client(A1 + tail), version=version))

        assert (brief(drawn), drawn.foreign, drawn.quarantined) == ([], (A1 + tail,), ())

    def test_a_mark_of_another_installation_is_foreign(self, version, tail):
        other = Ownership((InstallationSecret(1, b"another installation"),))
        stranger = make_client(A1 + tail, sub_id=other.mark(A1 + tail))

        drawn = plan(make_desired(), make_look(stranger, version=version))

        assert drawn.foreign == (A1 + tail,)

    def test_a_tombstone_that_came_back_is_deleted_again(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        buried = replace(
            desired.journal[0], state=JournalState.GONE, delete_reason=DeleteReason.ROTATED
        )
        desired = replace(desired, journal=(), tombstones=(buried,), keys=(make_key(generation=2),))

        drawn = plan(desired, look)

        assert ("delete", A1 + tail, "rotated") in brief(drawn)

    def test_an_ended_key_is_switched_off_and_after_seven_days_deleted(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        until = desired.keys[0].subscription.valid_until

        ended = plan(desired, look, until)
        late = plan(desired, look, until + timedelta(days=7))

        assert [b[0] for b in brief(ended)] == ["disable"]
        assert ("delete", A1 + tail, "expired") in brief(late)

    def test_an_ended_key_is_not_created(self, version, tail):
        over = make_subscription(quota_bytes=5, used_bytes=5)

        drawn = plan(make_desired(make_key(subscription=over)), make_look(version=version))

        assert brief(drawn) == []

    def test_a_moved_key_waits_for_the_node_that_it_leaves(self, version, tail):
        drawn = plan(make_desired(make_key(held_by="de-1")), make_look(version=version))

        assert brief(drawn) == []
        assert [w.why for w in drawn.waiting] == ["its placement on de-1 is not finalised"]

    def test_an_inbound_switched_off_creates_nothing_and_deletes_nothing(self, version, tail):
        desired, look = converge(
            make_desired(make_key(), make_key("b")), make_look(version=version)
        )
        look = replace(drop_client(look, A1 + tail), inbounds=(make_inbound(enable=False),))

        drawn = plan(desired, look)

        assert (brief(drawn), drawn.survey.disabled) == ([], (1,))

    def test_an_id_that_belongs_to_another_protocol_is_a_missing_inbound(self, version, tail):
        desired, look = converge(make_desired(make_key()), make_look(version=version))
        look = replace(look, inbounds=(make_inbound(protocol="trojan"),), clients=())

        drawn = plan(desired, look)

        assert (brief(drawn), drawn.survey.missing) == ([], (1,))

    def test_the_plan_does_not_depend_on_order_or_counters(self, version, tail):
        keys = (make_key("a"), make_key("b"), make_key("c"))
        desired, look = converge(make_desired(*keys), make_look(version=version))
        look = change_client(look, A1 + tail, limit_ip=8)
        shuffled = replace(
            look, clients=tuple(replace(c, up_bytes=9) for c in reversed(look.clients))
        )
        turned = replace(desired, keys=tuple(reversed(keys)), journal=desired.journal[::-1])

        assert plan(turned, shuffled).digest == plan(desired, look).digest


def test_a_create_that_may_still_be_on_its_way_holds_its_delete_back():
    row = make_row(A1, state=JournalState.INTENDED, create_unknown_at=NOW - timedelta(seconds=59))
    key = make_key(leaving=DeleteReason.REVOKED, placed=False)
    desired = make_desired(key, journal=(row,))

    early = plan(desired, make_look())
    late = plan(desired, make_look(), NOW + timedelta(seconds=1))

    assert [w.why for w in early.waiting] == ["its create may still be on its way"]
    assert brief(late) == [("delete", A1, "revoked")]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(V302, [("delete", A1 + "-i1", "superseded")], id="3.0.2"),
        pytest.param(V328, [("delete", A1, "superseded")], id="3.2.8"),
        pytest.param(V360, [("create", A1, "missing")], id="3.6.0"),
        pytest.param(V2, [("create", A1 + "-i1", "missing")], id="2.9.4"),
    ],
)
def test_where_a_second_create_is_stored_twice_a_delete_comes_first(version, expected):
    desired, look = converge(make_desired(make_key()), make_look(version=version))

    assert brief(plan(desired, replace(look, clients=()))) == expected


def test_twins_are_both_deleted():
    desired, look = converge(make_desired(make_key()), make_look(version=V302))
    twin = look.clients[0]

    drawn = plan(desired, replace(look, clients=(twin, twin, make_client("x"))))

    assert brief(drawn) == [("delete", A1 + "-i1", "superseded")] * 2


def test_an_entry_in_another_inbound_is_not_the_wanted_client():
    inbounds = (make_inbound(1), make_inbound(2, "trojan"))
    desired, look = converge(
        make_desired(make_key(), inbounds=inbounds[:1]), make_look(version=V2, inbounds=inbounds)
    )
    astray = change_client(look, A1 + "-i1", inbound_ids=(2,))

    drawn = plan(desired, replace(astray, clients=(*astray.clients, make_client("x"))))

    assert ("delete", A1 + "-i1", "superseded") in brief(drawn)


def test_a_newly_bound_inbound_attaches_and_an_unbound_one_detaches():
    both = (make_inbound(1), make_inbound(2, "trojan"))
    one_bound, look = converge(make_desired(make_key()), make_look(inbounds=both))
    two_bound = make_desired(*one_bound.keys, inbounds=both, journal=one_bound.journal)

    attached = plan(two_bound, look)
    full, seen = converge(make_desired(make_key(), inbounds=both), make_look(inbounds=both))
    detached = plan(replace(full, bound=one_bound.bound), seen)

    assert brief(attached) == [("attach", A1, "attach")]
    assert brief(detached) == [("detach", A1, "unmatched")]
    assert detached.actions[0].inbound_ids == (2,)


def test_on_2x_an_unbound_inbound_deletes_its_clients_as_unmatched():
    both = (make_inbound(1), make_inbound(2, "trojan"))
    desired, look = converge(
        make_desired(make_key(), inbounds=both), make_look(version=V2, inbounds=both)
    )

    drawn = plan(replace(desired, bound=desired.bound[:1]), look)

    assert ("delete", A1 + "-i2", "unmatched") in brief(drawn)


def test_an_attachment_that_we_never_bound_is_not_ours_to_remove():
    desired, look = converge(make_desired(make_key()), make_look())

    drawn = plan(desired, change_client(look, A1, inbound_ids=(1, 9)))

    assert brief(drawn) == []


def test_emails_of_2x_stay_clients_of_their_own_after_an_upgrade():
    both = (make_inbound(1), make_inbound(2, "trojan"))
    desired, look = converge(
        make_desired(make_key(), inbounds=both), make_look(version=V2, inbounds=both)
    )
    upgraded = replace(look, features=make_look(version=V360).features, version="3.6.0")

    drawn = plan(desired, upgraded)
    rotated = plan(replace(desired, keys=(make_key(generation=2),), journal=()), make_look())

    assert (brief(drawn), drawn.live) == ([], 2)
    assert brief(rotated) == [("create", A2, "new")]


@pytest.mark.parametrize(
    ("version", "inbounds"),
    [
        pytest.param(V310, (make_inbound(1), make_inbound(2, "trojan")), id="3.1.0-two-protocols"),
        pytest.param(
            V360,
            (
                make_inbound(1, "shadowsocks", password_bytes=16),
                make_inbound(2, "shadowsocks", password_bytes=32),
            ),
            id="two-password-sizes",
        ),
        pytest.param(
            V310, (make_inbound(1), make_inbound(2, network="ws")), id="3.1.0-flows-mixed"
        ),
    ],
)
def test_inbounds_that_cannot_share_a_client_get_one_each(version, inbounds):
    drawn = plan(
        make_desired(make_key(), inbounds=inbounds), make_look(version=version, inbounds=inbounds)
    )

    assert [a.email for a in drawn.actions] == [A1 + "-i1", A1 + "-i2"]


def test_a_shared_client_is_not_attached_across_password_sizes():
    """Attaching across sizes replaces the record's password and cuts the other inbound's customers."""
    small = make_inbound(1, "shadowsocks", password_bytes=16)
    large = make_inbound(2, "shadowsocks", password_bytes=32)
    desired, look = converge(
        make_desired(make_key(), inbounds=(small,)), make_look(inbounds=(small, large))
    )
    desired = replace(make_desired(*desired.keys, inbounds=(small, large)), journal=desired.journal)

    drawn = plan(desired, look)

    assert (brief(drawn), drawn.refused) == ([], (2,))


def test_emptying_an_inbound_of_2x_puts_a_placeholder_in_first():
    desired, look = converge(make_desired(make_key()), make_look(version=V2))
    desired = replace(desired, keys=(make_key(leaving=DeleteReason.REVOKED, placed=False),))

    drawn = plan(desired, look)

    (placeholder,) = drawn.of(Verb.CREATE)
    assert (placeholder.reason, placeholder.key, placeholder.generation) == (
        "placeholder",
        None,
        Generation(1),
    )
    assert OWNERSHIP.parse(placeholder.email) is not None


def test_a_placeholder_that_stands_is_kept_and_counts_nowhere():
    desired, look = converge(make_desired(make_key()), make_look(version=V2))
    desired = replace(desired, keys=(make_key(leaving=DeleteReason.REVOKED, placed=False),))
    email = plan(desired, look).of(Verb.CREATE)[0].email
    row = make_row(email, key=None)
    seen = make_client(email, sub_id=OWNERSHIP.mark(email), enable=False)

    drawn = plan(
        replace(desired, journal=(*desired.journal, row)),
        replace(look, clients=(*look.clients, seen)),
    )

    assert brief(drawn) == [("delete", A1 + "-i1", "revoked")]
    assert (drawn.quarantined, drawn.foreign) == ((), ())
