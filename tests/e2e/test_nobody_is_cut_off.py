"""Typed by an operator: advice that is followed cuts nobody off, and what is said of keys is so."""

import pytest

from simulator import by_hand
from tests.e2e.operator import node


def carried(site) -> list[str]:
    """Emails that an inbound carries."""
    return [email for email in site.emails if email.startswith("x3f-")]


def first_inbound(site) -> int:
    return min(site.panel.state.inbounds)


async def test_a_rematch_while_the_only_inbound_is_off_changes_nothing(operator, start_panel):
    panel = await start_panel("3.6.0")
    keys = await operator.set_up(node("a", panel.url), keys=5)
    await operator.ask("reconcile", "now")
    before = carried(panel)
    by_hand.change_inbound(panel.panel, first_inbound(panel), {"enable": False})
    await operator.ask("nodes", "rematch", "a")

    run = await operator.run("reconcile", "now")
    off = carried(panel)
    by_hand.change_inbound(panel.panel, first_inbound(panel), {"enable": True})
    again = await operator.ask("reconcile", "now")

    assert (5, 2) == (len(keys), run.code)
    assert before == off == carried(panel)
    assert "Drifted/NoInbounds" in run.out
    assert "in sync" not in run.out
    assert again["in_sync"]


async def test_a_rebind_to_a_list_that_is_empty_for_a_while_deletes_nothing(operator, start_panel):
    panel = await start_panel("2.9.4")
    await operator.set_up(node("a", panel.url), keys=4)
    await operator.ask("reconcile", "now")
    before = carried(panel)
    panel.panel.faults.arm({"kind": "empty_list", "count": None})
    await operator.ask("reconcile", "now", code=3)
    await operator.ask("nodes", "rebind", "a")

    accepted = await operator.ask("reconcile", "now", code=3)
    kept = carried(panel)
    panel.panel.faults.clear()
    again = await operator.ask("reconcile", "now")

    assert before == kept == carried(panel)
    assert 4 == len(before)
    conditions = {c["reason"] for c in accepted["nodes"][0]["conditions"]}
    assert {"IdentityChanged", "NoInbounds"} <= conditions
    assert (True, 0, 4) == (
        again["in_sync"], again["totals"]["created"], again["totals"]["verified"],
    )  # fmt: skip


async def test_a_key_that_is_not_served_is_drift(operator, start_panel):
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=1)
    await operator.ask("reconcile", "now")
    by_hand.change_inbound(panel.panel, first_inbound(panel), {"enable": False})
    await operator.ask("keys", "issue", "--tariff", "all")

    ran = await operator.run("reconcile", "now")
    planned = await operator.ask("plan", code=2)

    assert 2 == ran.code
    assert "1 node drifted: nothing to send, see above" in ran.out
    assert not planned["in_sync"]


async def test_keys_that_were_deleted_by_hand_are_not_called_verified(operator, start_panel):
    panel = await start_panel("3.6.0")
    keys = await operator.set_up(node("a", panel.url), keys=8)
    await operator.ask("reconcile", "now")
    for email in panel.emails:
        by_hand.delete_client(panel.panel, email)

    await operator.ask("reconcile", "now", code=3)

    shown = await operator.run("keys", "show", keys[0])
    listed = await operator.ask("keys", "list")
    assert "a is Blocked/ShrunkObservation: 8 of 8 clients are gone" in shown.out
    assert [0] * 8 == [key["live"] for key in listed["keys"]]


@pytest.mark.promise("S4")
async def test_a_paused_panel_is_contacted_by_nothing_that_only_looks(operator, start_panel):
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=1)
    await operator.ask("reconcile", "now")
    await operator.ask("nodes", "pause", "a")
    panel.panel.log.clear()

    planned = await operator.run("plan")
    examined = await operator.run("doctor")

    assert 0 == len(panel.panel.log)
    assert (0, 0) == (planned.code, examined.code)
    assert "is paused: not contacted" in examined.out
