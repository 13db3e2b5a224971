"""Whose client is whose, what adopting makes of it, and what stays foreign with which reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from desired_state.model.adopting import plan_adoption, same_credentials
from desired_state.model.adoption import FoundClient, Obstacle
from desired_state.model.adoption_plan import (
    AdoptionPlan,
    Circumstances,
    KnownKey,
    MapEntry,
    MatchedBy,
)
from desired_state.model.credentials import (
    SEED_BYTES,
    ClientSecrets,
    derive_secrets,
    pack_adopted,
    read_secrets,
)
from desired_state.model.ids import Email, InboundId, KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.policy import Policy
from desired_state.model.subscription import Subscription

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NODE, MONTH = NodeName("nl-1"), TariffName("month")
GIB = 1024**3


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def make_found(email: str = "ivan", uuid: str = "u-1", **changes: Any) -> FoundClient:
    values: dict[str, Any] = {
        "inbound_ids": (InboundId(1),),
        "matched_ids": (InboundId(1),),
        "secrets": ClientSecrets(uuid, f"p-{uuid}", ""),
        "needs": ("uuid",),
        "tg_id": 700001,
    }
    return FoundClient(email=Email(email), **values | changes)


def judge(*found: FoundClient, **changes: Any) -> AdoptionPlan:
    values: dict[str, Any] = {"node": NODE, "now": NOW, "policy": Policy(), "tariff": MONTH}
    return plan_adoption(found, Circumstances(**values | changes))


def whys(plan: AdoptionPlan) -> dict[str, str]:
    return {one.email: one.why for one in plan.left}


def test_a_client_with_a_telegram_id_becomes_a_key_of_that_person() -> None:
    (key,) = judge(make_found()).keys

    assert (700001, MatchedBy.TG_ID, MONTH) == (
        key.telegram_id, key.matched_by, key.subscription.tariff,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("email", "comment", "people", "by"),
    [
        ("tg_700009", "", (), MatchedBy.EMAIL),
        ("TG700009@shop", "", (), MatchedBy.EMAIL),
        ("ivan-700009", "", (700009,), MatchedBy.EMAIL),
        ("ivan", "telegram: no, telegram:700009", (), MatchedBy.COMMENT),
        ("ivan", "paid by 700009 on 20260101", (700009,), MatchedBy.COMMENT),
    ],
    ids=["named", "named in capitals", "somebody's number", "in the comment", "beside a date"],
)
def test_an_email_or_comment_tells_a_person_only_where_the_number_is_one(
    email: str, comment: str, people: tuple[int, ...], by: MatchedBy
) -> None:
    found = make_found(email, tg_id=0, comment=comment)

    (key,) = judge(found, people=frozenset(people)).keys

    assert (700009, by) == (key.telegram_id, key.matched_by)


def test_a_number_that_is_nobodys_is_no_person() -> None:
    plan = judge(make_found("user_20260101", tg_id=0))

    assert ({"user_20260101": "no-person"}, ()) == (whys(plan), plan.keys)


def test_the_map_counts_before_everything_and_its_email_before_its_uuid() -> None:
    mapping = (
        MapEntry(uuid="U-1", telegram_id=1),
        MapEntry(email="IVAN", telegram_id=2, quota_bytes=5 * GIB),
    )

    (key,) = judge(make_found(), mapping=mapping).keys

    assert (2, MatchedBy.MAP, 5 * GIB) == (
        key.telegram_id, key.matched_by, key.subscription.quota_bytes,
    )  # fmt: skip


def test_the_terms_of_a_subscription_are_those_that_were_found_and_change_nothing() -> None:
    until = NOW + timedelta(days=9, milliseconds=7)
    found = make_found(expiry_ms=ms(until), total_bytes=GIB, limit_ip=3, used_bytes=9)

    (key,) = judge(found).keys

    terms = key.subscription
    assert (until, GIB, 3, 9, False) == (
        terms.valid_until, terms.quota_bytes, terms.devices, terms.used_bytes, terms.suspended,
    )  # fmt: skip
    assert () == key.clients[0].changes


def test_clients_that_log_in_alike_are_one_key_with_the_sum_of_their_totals() -> None:
    found = [
        make_found("ivan", total_bytes=GIB),
        make_found("ivan-2", total_bytes=2 * GIB, inbound_ids=(InboundId(2),)),
    ]

    (key,) = judge(*found).keys

    assert ((), ()) == (key.clients[0].changes, key.clients[1].changes)
    assert 3 * GIB == key.subscription.quota_bytes


def test_clients_of_one_key_that_end_apart_end_together_and_that_is_shown() -> None:
    late = NOW + timedelta(days=20)
    found = [
        make_found("a", expiry_ms=ms(NOW + timedelta(days=5))),
        make_found("b", expiry_ms=ms(late)),
    ]

    (key,) = judge(*found).keys

    assert late == key.subscription.valid_until
    shown = {client.found.email: client.changes for client in key.clients}
    day_later = ms(late + timedelta(days=1))
    assert {"a": (f"expiry_ms {found[0].expiry_ms} -> {day_later}",), "b": ()} == shown


def test_a_client_that_a_person_switched_off_is_suspended_and_stays_off() -> None:
    (key,) = judge(make_found(enable=False)).keys

    assert (True, ()) == (key.subscription.suspended, key.clients[0].changes)


def test_a_client_that_its_own_limit_switched_off_is_not_suspended_and_nothing_changes() -> None:
    used_up = make_found("a", enable=False, total_bytes=5, used_bytes=5)
    ended = make_found("b", "u-2", enable=False, expiry_ms=ms(NOW - timedelta(days=1)))

    plan = judge(used_up, ended)

    assert [False, False] == [key.subscription.suspended for key in plan.keys]
    assert [(), ()] == [key.clients[0].changes for key in plan.keys]


def test_automatic_renewal_by_the_panel_is_shown_as_a_change() -> None:
    (key,) = judge(make_found(reset=30)).keys

    assert ("reset_days 30 -> 0",) == key.clients[0].changes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"matched_ids": ()}, "unmatched-inbound"),
        ({"tg_id": 0}, "no-person"),
        ({"expiry_ms": -86_400_000}, "not-begun"),
        ({"expiry_ms": ms(NOW - timedelta(days=8))}, "expired"),
        ({"obstacle": Obstacle.DOUBLED_EMAIL}, "doubled-email"),
        ({"obstacle": Obstacle.UNADDRESSABLE}, "unaddressable"),
    ],
    ids=str,
)
def test_what_cannot_be_adopted_stays_foreign_with_its_reason(
    changes: dict[str, Any], why: str
) -> None:
    plan = judge(make_found(**changes))

    assert ({"ivan": why}, ()) == (whys(plan), plan.keys)


def test_a_client_without_a_tariff_stays_foreign() -> None:
    assert {"ivan": "no-tariff"} == whys(judge(make_found(), tariff=None))


def test_clients_that_log_in_alike_and_belong_to_two_people_are_a_contradiction() -> None:
    plan = judge(make_found("a"), make_found("b", tg_id=700002))

    assert {"a": "contradiction", "b": "contradiction"} == whys(plan)
    assert all(one.is_doubled for one in plan.left)


def test_lines_of_the_map_that_meet_no_client_are_named() -> None:
    """A slip in a map left its client foreign, or somebody else's, and nobody was told."""
    mapping = (
        MapEntry(email="IVAN", telegram_id=2),
        MapEntry(email="iwan", telegram_id=3),
        MapEntry(uuid="U-1", telegram_id=4),
        MapEntry(email="petr", telegram_id=5),
    )

    plan = judge(make_found(), make_found("petr"), mapping=mapping, ours=frozenset({"petr"}))

    assert ("U-1", "iwan") == plan.unmet


def test_what_is_ours_is_counted_and_not_offered_again() -> None:
    plan = judge(make_found("IVAN"), ours=frozenset({"ivan"}))

    assert (1, (), ()) == (plan.ours, plan.keys, plan.left)


def test_a_key_that_was_adopted_elsewhere_takes_the_client_in_and_keeps_its_terms() -> None:
    terms = Subscription(SubscriptionId("s1"), MONTH, quota_bytes=7, used_bytes=3)
    found = make_found(total_bytes=GIB, used_bytes=1)
    known = KnownKey(KeyId("k" * 10), 700001, found.secrets_digest, terms)

    (key,) = judge(found, known=(known,)).keys

    assert (KeyId("k" * 10), replace(terms, used_bytes=4)) == (key.key, key.subscription)
    assert () == key.clients[0].changes


def test_a_client_that_joins_a_key_whose_quota_is_used_up_is_shown_to_be_switched_off() -> None:
    terms = Subscription(SubscriptionId("s1"), MONTH, quota_bytes=7, used_bytes=7)
    found = make_found()
    known = KnownKey(KeyId("k" * 10), 700001, found.secrets_digest, terms)

    (key,) = judge(found, known=(known,)).keys

    assert ("switch on -> off",) == key.clients[0].changes


def test_the_digest_tells_what_would_be_written_and_neither_counters_nor_strangers() -> None:
    plain = judge(make_found())
    more_traffic = judge(make_found(used_bytes=99), make_found("x", "u-9", tg_id=0))
    other_inbound = judge(make_found(inbound_ids=(InboundId(2),)))
    other_person = judge(make_found(tg_id=1))

    assert plain.digest == more_traffic.digest
    assert 3 == len({plain.digest, other_inbound.digest, other_person.digest})


def test_two_digests_of_credentials_agree_where_both_say_something() -> None:
    assert same_credentials("a..", "a.b.")
    assert not same_credentials("a..", ".b.")
    assert not same_credentials("a.b.", "a.c.")


def test_adopted_credentials_are_given_back_as_they_are_and_missing_ones_are_derived() -> None:
    seed = b"s" * SEED_BYTES
    derived = derive_secrets(seed)

    held = read_secrets(pack_adopted(ClientSecrets("u", "", "a"), seed))

    assert ClientSecrets("u", derived.password, "a") == held


def test_an_adopted_password_of_another_size_is_replaced_only_where_the_size_matters() -> None:
    seed = b"s" * SEED_BYTES
    material = pack_adopted(ClientSecrets("u", "hunter2", ""), seed)

    assert "hunter2" == read_secrets(material).password
    assert derive_secrets(seed, 16).password == read_secrets(material, 16, sized=True).password


def test_a_seed_is_never_taken_for_adopted_credentials() -> None:
    seed = b"adopted!" * 4

    assert derive_secrets(seed) == read_secrets(seed)
