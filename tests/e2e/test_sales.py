"""Typed by an operator: what is sold is served, and what is frozen, banned, expired or refunded is not."""

import pytest

from tests.e2e.operator import BY_TOKEN, node, shape

SHOP = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: month}
spec:
  title: {ru: "Месяц", en: "Month"}
  days: 30
  traffic: 200GiB
  devices: 3
  prices: {RUB: 29900, XTR: 250}
  nodes: {count: all}
---
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: year}
spec:
  title: {ru: "Год", en: "Year"}
  days: 365
  devices: 5
  prices: {RUB: 299000}
  nodes: {count: all}
---
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: try}
spec:
  title: {ru: "Проба", en: "Trial"}
  days: 3
  traffic: 1GiB
  devices: 1
  nodes: {count: all}
  trial: true
"""
SUMMARY = {
    "subscription": "str", "person": "int", "telegram_id": "int", "tariff": "str", "state": "str",
    "frozen_at": "null", "banned": "bool", "valid_until": "str", "days_left": "int",
    "quota_bytes": "int", "used_bytes": "int", "bytes_left": "int", "device_limit": "int",
    "keys": ["str"], "placed": "int", "live": "int", "created_at": "str",
}  # fmt: skip
PURCHASE = {
    "purchase": "str", "kind": "str", "state": "str", "person": "int", "tariff": "str",
    "amount_minor": "int", "currency": "str", "subscription": "str", "created_at": "str",
    "fulfilled_at": "str", "taken_back_at": "null", "keeps": "null",
}  # fmt: skip
MONEY = {
    "payment": "int", "provider": "str", "charge": "str", "state": "str", "debt": "null",
    "amount_minor": "int", "currency": "str", "recorded_at": "str", "credited_at": "str",
    "refund_asked_at": "null", "refund_reason": "null", "refunded_minor": "int",
    "refunded_at": "null",
}  # fmt: skip


def clients(site):
    """What a panel holds of each client: its credentials and whether it is on, by email and inbound."""
    return {
        (inbound.id, entry.email): (entry.data.get("id"), entry.data.get("password"))
        for inbound in site.panel.state.inbounds.values()
        for entry in inbound.settings.clients
        if entry.email.startswith("x3f-")
    }


async def open_shop(operator, *panels):
    """Two nodes of two API families, reconciled, with a shop's tariffs."""
    old, new = panels
    fleet = operator.declare(node("old", old.url), node("new", new.url, auth=BY_TOKEN), tariff=SHOP)
    await operator.ask("db", "upgrade")
    await operator.ask("manifests", "apply", str(fleet))


async def sell(operator, *words, charge="receipt-1", telegram="7001", tariff="month"):
    """Sell a month and take the money."""
    return await operator.ask(
        "subscriptions", "sell", "--tariff", tariff, "--currency", "RUB", "--telegram", telegram,
        "--paid", charge, *words,
    )  # fmt: skip


async def states(operator, subscription):
    """What the shared query says of each node."""
    shown = await operator.ask("subscriptions", "show", subscription)
    return {one["node"]: one["state"] for one in shown["nodes"]}


async def test_what_is_paid_is_served_on_every_node_and_shown_as_it_is(operator, start_panel):
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    await open_shop(operator, old, new)

    sold = await sell(operator)
    before = await operator.ask("subscriptions", "show", sold["subscription"])
    waits = await operator.ask("check", code=2)
    await operator.ask("reconcile", "now")
    agrees = await operator.ask("check")
    limits = device_limits(old) | device_limits(new)
    after = await operator.ask("subscriptions", "show", sold["subscription"])
    listed = await operator.ask("subscriptions", "list")
    paid = await operator.ask("payments", "list")
    person = await operator.ask("people", "show", str(sold["person"]))

    assert ("fulfilled", None) == (sold["state"], sold["debt"])
    assert [] == before["nodes"]
    assert [before["keys"][0]] == [one["key"] for one in before["waiting"]]
    assert {"agree": False, "counts": {"key-without-node": 1}} == {
        name: waits[name] for name in ("agree", "counts")
    }
    assert {
        "agree": "bool", "counts": {"key-without-node": "int"},
        "disagreements": [dict.fromkeys(
            ("kind", "subject", "message", "winner", "why", "hint"), "str"
        )],
    } == shape(waits)  # fmt: skip
    assert {"agree": True, "counts": {}, "disagreements": []} == agrees
    assert {3} == limits
    assert {"old": "served", "new": "served"} == {n["node"]: n["state"] for n in after["nodes"]}
    assert (30, 2, 2) == (after["days_left"], after["served"], after["live"])
    assert {"subscriptions": [SUMMARY]} == shape(listed)
    assert {
        **SUMMARY, "title": {"ru": "str", "en": "str"}, "reason": "null", "served": "int",
        "nodes": [{"key": "str", "node": "str", "state": "str", "why": "null", "next_try": "null"}],
        "waiting": [], "purchases": [PURCHASE], "payments": [MONEY], "devices": [],
    } == shape(after)  # fmt: skip
    assert {"payments": [{**MONEY, "purchase": PURCHASE, "person": "int"}]} == shape(paid)
    assert [sold["subscription"]] == [one["subscription"] for one in person["held"]]


@pytest.mark.parametrize(
    ("off", "on"),
    [
        (
            ("subscriptions", "freeze", "SUBSCRIPTION"),
            ("subscriptions", "unfreeze", "SUBSCRIPTION"),
        ),
        (("people", "ban", "PERSON"), ("people", "unban", "PERSON")),
        (("subscriptions", "refund", "SUBSCRIPTION"), ()),
    ],
    ids=["frozen", "banned", "refunded"],
)
async def test_what_is_switched_off_goes_dark_on_every_node_and_returns_as_it_was(
    operator, start_panel, off, on
):
    """Every client stays where it is, switched off, and is served again with the same credentials."""
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    await open_shop(operator, old, new)
    sold = await sell(operator)
    named = {"SUBSCRIPTION": sold["subscription"], "PERSON": str(sold["person"])}
    await operator.ask("reconcile", "now")
    before = clients(old), clients(new)

    await operator.ask(*(named.get(word, word) for word in off))
    asked = await states(operator, sold["subscription"])
    await operator.ask("reconcile", "now")
    dark = await states(operator, sold["subscription"])
    agrees = await operator.ask("check")
    seen_dark = enabled(old), enabled(new)
    if on:
        await operator.ask(*(named.get(word, word) for word in on))
    else:
        await sell(operator, "--subscription", sold["subscription"], charge="receipt-2")
    await operator.ask("reconcile", "now")

    assert {"old": "switching-off", "new": "switching-off"} == asked
    assert {"old": "off", "new": "off"} == dark
    assert ({False}, {False}) == seen_dark
    assert agrees["agree"]
    assert ({True}, {True}) == (enabled(old), enabled(new))
    assert before == (clients(old), clients(new))
    assert {"old": "served", "new": "served"} == await states(operator, sold["subscription"])


def device_limits(site):
    """How many devices the panel lets each client of ours have."""
    return {
        entry.data["limitIp"]
        for inbound in site.panel.state.inbounds.values()
        for entry in inbound.settings.clients
        if entry.email.startswith("x3f-")
    }


def enabled(site):
    """Whether the panel serves our clients: what their record says, and their row of traffic."""
    state = site.panel.state
    rows = {row.email: row.enable for row in state.traffic}
    return {
        bool(entry.data.get("enable", True)) and rows.get(entry.email, True)
        for inbound in state.inbounds.values()
        for entry in inbound.settings.clients
        if entry.email.startswith("x3f-")
    }


async def test_the_same_message_of_a_provider_is_credited_once(operator, start_panel):
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    await open_shop(operator, old, new)
    ordered = await operator.ask(
        "subscriptions", "sell", "--tariff", "month", "--currency", "XTR", "--telegram", "7002",
        "--token", "click-1",
    )  # fmt: skip
    again = await operator.ask(
        "subscriptions", "sell", "--tariff", "month", "--currency", "XTR", "--telegram", "7002",
        "--token", "click-1",
    )  # fmt: skip
    words = (
        "payments", "record", "--provider", "stars", "--charge", "ch-1", "--amount", "250",
        "--currency", "XTR", "--purchase", ordered["purchase"],
    )  # fmt: skip

    told = [await operator.ask(*words) for _ in range(3)]
    orphan = await operator.ask(
        "payments", "record", "--provider", "stars", "--charge", "ch-2", "--amount", "250",
        "--currency", "XTR", code=2,
    )  # fmt: skip
    listed = await operator.ask("payments", "list", "--state", "debt", code=2)
    held = await operator.ask("subscriptions", "list")

    assert ("open", True) == (ordered["state"], again["repeated"])
    assert ordered["purchase"] == again["purchase"]
    assert ["credited"] * 3 == [one["state"] for one in told]
    assert 1 == len(held["subscriptions"])
    assert ("debt", "no-purchase") == (orphan["state"], orphan["debt"])
    assert ["ch-2"] == [one["charge"] for one in listed["payments"]]


async def test_what_cannot_be_placed_is_not_sold(operator, start_panel):
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    await open_shop(operator, old, new)
    for name in ("old", "new"):
        await operator.ask("nodes", "cordon", name)

    refused = await operator.ask(
        "subscriptions", "sell", "--tariff", "month", "--currency", "RUB", "--telegram", "7003",
        code=1,
    )  # fmt: skip
    people = await operator.ask("people", "list")

    assert "key_unschedulable" == refused["error"]["code"]
    assert "2 unschedulable" in refused["error"]["message"]
    assert [] == people["people"]


async def test_a_trial_is_given_once_and_another_tariff_takes_over(operator, start_panel):
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    await open_shop(operator, old, new)
    given = await operator.ask("subscriptions", "trial", "--tariff", "try", "--telegram", "7004")
    twice = await operator.ask(
        "subscriptions", "trial", "--tariff", "try", "--telegram", "7004", code=1
    )
    await operator.ask("reconcile", "now")
    before = clients(old), clients(new)
    asked = ("subscriptions", "change", given["subscription"], "--tariff", "year", "--diff")
    told = await operator.ask(*asked, code=2)

    bought = await sell(
        operator, "--subscription", given["subscription"], telegram="7004", tariff="year"
    )
    await operator.ask("reconcile", "now")
    shown = await operator.ask("subscriptions", "show", given["subscription"])
    ordered = await operator.ask("purchases", "list")
    again = await operator.ask(*asked)

    assert [["old", "new"], [], []] == [
        sorted(told["keys"][0][name], reverse=True) for name in ("stays", "leaves", "gets")
    ]
    assert ("try", "year", 5) == (*told["tariff"].values(), told["devices"]["after"])
    assert ["change", "trial"] == [one["kind"] for one in ordered["purchases"]]
    assert {"before": "year", "after": "year"} == again["tariff"]
    assert ("conflict", "change") == (twice["error"]["code"], bought["kind"])
    assert (365, "year", None) == (shown["days_left"], shown["tariff"], shown["bytes_left"])
    assert before == (clients(old), clients(new))
    assert ({5}, {5}, 2) == (device_limits(old), device_limits(new), shown["served"])
