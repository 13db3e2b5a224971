"""Adopted clients in the plan: taken up as they are, kept as they are, ended like any other."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.compose import compose_record
from controller.core.desired import Desired
from controller.core.effects import Verb
from controller.core.inventory import take_inventory
from controller.core.observed import Observation, ObservedClient
from controller.core.plan import Plan
from desired_state.model.adoption import AdoptedClient, Obstacle
from desired_state.model.credentials import ClientSecrets, digest_secrets, pack_adopted
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, Generation, InboundId, KeyId
from desired_state.model.placement import DeleteReason
from tests.unit.controller_core.cases import (
    INBOUNDS,
    NODE,
    NOW,
    V2,
    V360,
    brief,
    make_client,
    make_desired,
    make_inbound,
    make_key,
    make_look,
    make_subscription,
    plan,
)

KEY = KeyId("a" * 10)
UUID = "u-ivan"
FREE = {"valid_until": None, "quota_bytes": None, "devices": None}


def ivan(**changes: Any) -> ObservedClient:
    values = {"uuid": UUID, "sub_id": "s-ivan", "tg_id": 7, "flow": "xtls-rprx-vision"}
    return make_client("Ivan", **values | changes)


def adoption(**changes: Any) -> AdoptedClient:
    values: dict[str, Any] = {
        "node": NODE,
        "email": Email("Ivan"),
        "key": KEY,
        "inbound_ids": (InboundId(1),),
        "sub_id": "s-ivan",
        "secrets_digest": digest_secrets(UUID, "", ""),
    }
    return AdoptedClient(**values | changes)


def wish(key: Any = None, *adopted: AdoptedClient, **changes: Any) -> Desired:
    key = key or make_key(subscription=make_subscription(**FREE))
    return make_desired(key, adopted=adopted or (adoption(),), **changes)


def journalled(drawn: Plan) -> JournalRow:
    (taken,) = drawn.taken_over
    return taken.row


@pytest.mark.promise("I1")
@pytest.mark.parametrize("version", [V2, V360], ids=["2.x", "3.6.0"])
def test_a_client_that_is_as_it_was_adopted_is_taken_up_and_nothing_is_done(version: Any) -> None:
    drawn = plan(wish(), make_look(ivan(up_bytes=3, down_bytes=4), version=version))

    assert [] == brief(drawn)
    assert (1, 1, ()) == (drawn.live, len(drawn.learned), drawn.foreign)
    assert (7, JournalState.LIVE, KEY) == (
        drawn.taken_over[0].used_bytes, journalled(drawn).state, journalled(drawn).key,
    )  # fmt: skip


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    "clients",
    [
        (ivan(uuid="another", sub_id="another"),),
        (ivan(), ivan(inbound_ids=(InboundId(2),))),
    ],
    ids=["somebody else", "twice"],
)
def test_what_is_not_exactly_one_client_as_adopted_stays_foreign(clients: Any) -> None:
    drawn = plan(wish(), make_look(*clients))

    assert ([], ()) == (brief(drawn), drawn.taken_over)
    assert (Email("Ivan"),) == drawn.taken


def test_an_adopted_key_that_is_not_placed_here_leaves_its_client_alone() -> None:
    key = make_key(placed=False, subscription=make_subscription(**FREE))

    drawn = plan(wish(key), make_look(ivan()))

    assert ([], (), ("Ivan",)) == (brief(drawn), drawn.taken_over, drawn.foreign)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (make_key(generation=2), "rotated"),
        (make_key(placed=False, leaving=DeleteReason.REVOKED), "revoked"),
    ],
    ids=["rotated", "revoked"],
)
def test_what_is_to_go_before_it_was_ever_seen_is_taken_up_and_deleted(
    key: Any, reason: str
) -> None:
    drawn = plan(wish(key), make_look(ivan()))

    assert ("delete", "Ivan", reason) in brief(drawn)


@pytest.mark.promise("S2")
def test_a_rotated_key_waits_until_its_adopted_client_is_finalised() -> None:
    drawn = plan(wish(make_key(generation=2)), make_look(ivan()))

    assert [] == [a for a in drawn.actions if a.verb is Verb.CREATE]
    assert ["an older generation is not finalised"] == [w.why for w in drawn.waiting]


@pytest.mark.promise("S1")
def test_a_released_client_is_foreign_whatever_the_journal_says_of_it() -> None:
    row = journalled(plan(wish(), make_look(ivan())))
    revoked = make_key(placed=False, leaving=DeleteReason.REVOKED)
    desired = make_desired(revoked, journal=(row,), released=frozenset({"ivan"}))

    drawn = plan(desired, make_look(ivan()))

    assert ([], ("Ivan",)) == (brief(drawn), drawn.foreign)


def test_limits_that_were_found_stay_until_what_they_follow_from_changes() -> None:
    until = NOW + timedelta(days=5)
    expiry_ms = int(until.timestamp() * 1000)
    kept = adoption(expiry_ms=expiry_ms, total_bytes=9, quota_bytes=20, limit_ip=2, devices=2)
    terms = {"valid_until": until, "quota_bytes": 20, "devices": 2}
    client = ivan(expiry_ms=expiry_ms, total_bytes=9, limit_ip=2)
    look = make_look(client)

    same = plan(wish(make_key(subscription=make_subscription(**terms)), kept), look)
    longer = terms | {"valid_until": until + timedelta(days=30), "quota_bytes": 30}
    changed = plan(wish(make_key(subscription=make_subscription(**longer)), kept), look)

    assert [] == brief(same)
    assert [("update", "Ivan", "expiry,quota")] == brief(changed)


def test_an_update_of_an_adopted_client_changes_its_limits_and_keeps_all_else() -> None:
    key = make_key(subscription=make_subscription(**FREE | {"devices": 3}))
    desired = wish(key)
    seen = ivan(limit_ip=1, comment="theirs", group="vip", password="irrelevant")
    drawn = plan(desired, make_look(seen))
    (action,) = drawn.actions
    material = pack_adopted(ClientSecrets(UUID, "", ""), b"s" * 32)

    record = compose_record(action, desired, {(KEY, Generation(1)): material})

    assert (3, 7, "", "", "s-ivan") == (
        record.limit_ip, record.tg_id, record.comment, record.group, record.sub_id,
    )  # fmt: skip
    assert (UUID, "irrelevant", "xtls-rprx-vision") == (record.uuid, record.password, record.flow)


def test_an_adopted_client_that_was_deleted_by_hand_is_created_with_what_it_had() -> None:
    kept = adoption(flow="xtls-rprx-vision", tg_id=7, comment="theirs")
    desired = wish(None, kept)
    row = journalled(plan(desired, make_look(ivan())))
    (action,) = plan(replace(desired, journal=(row,)), make_look()).actions
    material = pack_adopted(ClientSecrets(UUID, "", ""), b"s" * 32)

    record = compose_record(action, desired, {(KEY, Generation(1)): material})

    assert (Verb.CREATE, "Ivan", UUID, "s-ivan", 7, "theirs", "xtls-rprx-vision") == (
        action.verb, record.email, record.uuid, record.sub_id, record.tg_id, record.comment,
        record.flow,
    )  # fmt: skip


def test_an_adopted_client_proves_whose_panel_it_is_where_no_guid_does() -> None:
    desired = wish(None, adoption(), guid=None)
    row = journalled(plan(desired, make_look(ivan(), version=V2)))

    drawn = plan(replace(desired, journal=(row,)), make_look(ivan(), version=V2))

    assert drawn.mark_seen


def test_an_adopted_client_whose_inbounds_are_bound_no_more_leaves_as_unmatched() -> None:
    desired = wish(None, adoption(inbound_ids=(InboundId(9),)))
    inbounds = (*INBOUNDS, make_inbound(9))

    drawn = plan(desired, make_look(ivan(inbound_ids=(InboundId(9),)), inbounds=inbounds))

    assert ("delete", "Ivan", "unmatched") in brief(drawn)


# -- inventory -------------------------------------------------------------------------------------


def obstacles(look: Observation) -> dict[str, Obstacle]:
    return {one.email: one.obstacle for one in take_inventory(look, make_desired())}


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        ((make_client("a", uuid="1"), make_client("A", uuid="2")), Obstacle.DOUBLED_EMAIL),
        ((make_client("a"), make_client("b")), Obstacle.SHARED_CREDENTIAL),
        ((make_client("a", uuid=""),), Obstacle.NO_CREDENTIAL),
        ((make_client("a/b"),), Obstacle.UNADDRESSABLE),
        ((make_client("a", inbound_ids=()),), Obstacle.UNADDRESSABLE),
        ((make_client("a"),), Obstacle.NONE),
    ],
    ids=["doubled", "shared", "no credential", "slash", "nowhere", "none"],
)
def test_an_inventory_names_what_keeps_a_client_from_being_taken_over(
    clients: tuple[ObservedClient, ...], expected: Obstacle
) -> None:
    found = obstacles(make_look(*clients))

    assert {expected} == set(found.values())


@pytest.mark.parametrize(
    ("version", "expected"), [(V2, Obstacle.UNADDRESSABLE), (V360, Obstacle.NONE)]
)
def test_a_slash_in_a_trojan_password_is_in_the_way_only_up_to_3_0_2(
    version: Any, expected: Obstacle
) -> None:
    trojan = (make_inbound(1, "trojan"),)
    look = make_look(make_client("a", password="x/y"), version=version, inbounds=trojan)

    assert {"a": expected} == obstacles(look)


def test_an_inventory_tells_which_inbounds_the_node_lives_on_and_no_secret_in_words() -> None:
    look = make_look(ivan(inbound_ids=(InboundId(1), InboundId(5)), password="hidden-pw"))

    (found,) = take_inventory(look, make_desired())

    assert ((1, 5), (1,), ("uuid",)) == (found.inbound_ids, found.matched_ids, found.needs)
    assert "hidden-pw" not in repr(found)
    assert "s-ivan" not in repr(found)
