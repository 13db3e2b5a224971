"""What is drift and what is not: one rule a case."""

from datetime import timedelta

import pytest

from tests.unit.controller_core.cases import (
    NOW,
    V360,
    brief,
    change_client,
    converge,
    make_desired,
    make_inbound,
    make_key,
    make_look,
    make_subscription,
    plan,
)  # fmt: skip

A1 = "x3f-aaaaaaaaaa-g1"
PAST_MS = int((NOW - timedelta(days=1)).timestamp() * 1000)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"up_bytes": 5, "down_bytes": 7}, id="counters"),
        pytest.param({"comment": "a note", "group": "vip"}, id="notes"),
        pytest.param({"limit_ip": 0}, id="device-limit-reset-without-fail2ban"),
        pytest.param({"flow": "", "flow_known": False}, id="flow-that-the-list-cannot-tell"),
        pytest.param(
            {"enable": False, "up_bytes": 100 * 10**9}, id="switched-off-by-the-panel-on-quota"
        ),
    ],
)
def test_this_is_no_drift(edit):
    desired, look = converge(make_desired(make_key()), make_look())

    assert brief(plan(desired, change_client(look, A1, **edit))) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param({"expiry_ms": 1}, ("update", "expiry"), id="expiry"),
        pytest.param({"expiry_ms": -86_400_000}, ("update", "expiry"), id="after-first-use"),
        pytest.param({"total_bytes": 0}, ("update", "quota"), id="quota"),
        pytest.param({"limit_ip": 7}, ("update", "devices"), id="devices"),
        pytest.param({"flow": ""}, ("update", "flow"), id="flow"),
        pytest.param({"reset": 30}, ("update", "reset"), id="auto-renewal"),
        pytest.param({"tg_id": 42}, ("update", "tg_id"), id="telegram-id"),
        pytest.param({"sub_id": "edited"}, ("update", "sub_id"), id="mark"),
        pytest.param({"uuid": "edited"}, ("update", "credentials"), id="credential"),
        pytest.param({"enable": False}, ("enable", "enable"), id="switched-off-by-hand"),
        pytest.param(
            {"enable": False, "expiry_ms": PAST_MS},
            ("update", "enable,expiry"),
            id="expired-by-hand",
        ),
    ],
)
def test_this_is_drift(edit, expected):
    desired, look = converge(make_desired(make_key()), make_look())

    ((verb, _, reason),) = brief(plan(desired, change_client(look, A1, **edit)))

    assert (verb, reason) == expected


def test_a_client_found_by_one_credential_gets_its_mark_back():
    desired, look = converge(make_desired(make_key()), make_look())

    drawn = plan(desired, change_client(look, A1, sub_id="edited"))

    assert (brief(drawn), drawn.foreign) == ([("update", A1, "sub_id")], ())


def test_a_flow_is_not_compared_where_no_inbound_carries_one():
    ws = make_inbound(network="ws")
    desired, look = converge(
        make_desired(make_key(), inbounds=(ws,)), make_look(version=V360, inbounds=(ws,))
    )

    assert brief(plan(desired, change_client(look, A1, flow="xtls-rprx-vision"))) == []


def test_a_key_without_limits_is_written_with_zeros():
    free = make_subscription(valid_until=None, quota_bytes=None, devices=None)
    _, look = converge(make_desired(make_key(subscription=free)), make_look())

    (client,) = look.clients
    assert (client.expiry_ms, client.total_bytes, client.limit_ip) == (0, 0, 0)


def test_the_expiry_on_the_panel_is_a_day_later_and_the_quota_counts_from_the_base():
    _, look = converge(make_desired(make_key(counter_base_bytes=11)), make_look())

    (client,) = look.clients
    assert client.expiry_ms == int((NOW + timedelta(days=11)).timestamp() * 1000)
    assert client.total_bytes == 100 * 10**9 + 11
