"""What operators of several panels suffer from, played on two panels of different API families.

Callers: nobody; `complaints` names each of these beside the complaint that it answers. Not here: what other
rooms prove already.
"""

from datetime import timedelta

import pytest
from sqlalchemy import update

from desired_state.commands import keys, people, subscriptions
from desired_state.model.policy import Policy
from desired_state.store.tables.desired import SubscriptionRow
from simulator import by_hand
from tests.integration.runtime.fleet import Fleet, Wanted, journal_of, open_fleet, status_of

WIDE = Policy(max_delete_floor=1_000, fleet_delete_share=1.0, delete_expired_after_s=0)
TWO = ({"protocol": "vless"}, {"protocol": "trojan"})
FOUR = (*TWO, {"protocol": "vmess"}, {"protocol": "shadowsocks"})
DEAD = {"kind": "reset", "path": ".*", "count": None}


def two_families(folder, monkeypatch, *, inbounds=TWO, **options):
    """A 2.9.4 and a 3.6.0, a tariff for every node."""
    panels = {"old": Wanted("2.9.4", inbounds), "new": Wanted("3.6.0", inbounds)}
    values = {"count": None, "policies": (WIDE,)} | options
    return open_fleet(folder, monkeypatch, **values, **panels)


def held(fleet: Fleet) -> dict[str, dict[str, tuple[object, ...]]]:
    """By node and client: its inbounds, credentials, and whether it is served."""
    return {
        name: {
            email: (
                tuple(client["inboundIds"]), client.get("uuid") or client.get("id"),
                client.get("password"), client.get("subId"), site.enabled()[email],
            )
            for email, client in site.ours().items()
        }
        for name, site in fleet.sites.items()
    }  # fmt: skip


async def ends(fleet: Fleet, key: str, *, days: int) -> None:
    """Let a subscription have ended, or end, so many days from now."""
    owner = await fleet.owner(key)
    until = fleet.controller.clock.now() + timedelta(days=days)

    async def write(work):
        row = await work.session.get_one(SubscriptionRow, owner)
        row.valid_until = until
        await work.revise(scheduler=True)
        work.audit("subscription_ended", f"subscription/{owner}")

    await fleet.run(write)


async def test_what_ran_out_and_was_deleted_returns_on_every_inbound_of_every_node(
    tmp_path, monkeypatch
):
    """It is renewed: not one of its inbounds is forgotten, and old links work."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        before = held(fleet)
        await ends(fleet, key, days=-8)
        await fleet.reconcile()
        gone = held(fleet)

        owner = await fleet.owner(key)
        await fleet.run(lambda work: subscriptions.extend(work, owner, 30))
        report = await fleet.reconcile()

        assert {"old": {}, "new": {}} == gone
        assert report.in_sync
        assert before == held(fleet)
        assert (2, 1) == (len(before["old"]), len(before["new"]))


async def test_what_is_switched_off_is_deleted_too_from_inbounds_of_every_protocol(
    tmp_path, monkeypatch
):
    """A disabled client is no exception, and no protocol is forgotten."""
    async with two_families(tmp_path, monkeypatch, inbounds=FOUR) as fleet:
        first, second = await fleet.issue(2)
        await fleet.reconcile()
        await fleet.suspend(first)
        await fleet.reconcile()

        await fleet.revoke(first)
        report = await fleet.reconcile()

        left = [email for site in fleet.sites.values() for email in site.ours()]
        assert report.in_sync
        assert all(second in email for email in left)
        assert 5 == len(left)
        assert {"gone"} == {
            row.state.value
            for name in fleet.sites
            for row in await journal_of(fleet, name)
            if row.key == first
        }


async def test_forty_deletes_that_a_dead_node_owes_are_shown_and_all_done_when_it_is_back(
    tmp_path, monkeypatch
):
    """None is dropped for being one too many, or for coming while nobody listened."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        keys, (kept,) = await fleet.issue(40), await fleet.issue()
        await fleet.reconcile()
        fleet["new"].panel.faults.arm(DEAD)
        for key in keys:
            await fleet.revoke(key)
        await fleet.reconcile()
        owed = {row.key for row in await journal_of(fleet, "new") if row.state.value != "gone"}
        held_yet = len(fleet["new"].ours())
        left = set(fleet["old"].ours())

        fleet["new"].panel.faults.clear()
        report = await fleet.reconcile()

        assert {*keys, kept} == owed
        assert 41 == held_yet
        assert all(kept in email for email in left)
        assert report.in_sync
        assert [kept] == [email.split("-")[1] for email in fleet["new"].ours()]


async def test_a_panel_that_is_in_use_and_joins_loses_nothing(tmp_path, monkeypatch):
    """It is declared as a node: its own inbounds and clients are as they were, to the last field."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        for site in fleet.sites.values():
            for number in range(3):
                client = {"email": f"theirs-{number}", "enable": True}
                by_hand.add_client(site.panel, 1 + number % 2, client)
        before = {name: site.clients() for name, site in fleet.sites.items()}
        inbounds = {name: sorted(site.panel.state.inbounds) for name, site in fleet.sites.items()}
        (key,) = await fleet.issue()

        await fleet.reconcile()
        await fleet.revoke(key)
        await fleet.reconcile()

        for name, site in fleet.sites.items():
            theirs = {e: c for e, c in site.clients().items() if e.startswith("theirs")}
            assert before[name] == theirs
            assert inbounds[name] == sorted(site.panel.state.inbounds)


async def test_an_inbound_that_is_switched_off_takes_no_client_with_it(tmp_path, monkeypatch):
    """Nothing is deleted, there or elsewhere; switched on again, all of them serve."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        await fleet.issue(3)
        await fleet.reconcile()
        before = held(fleet)
        for site in fleet.sites.values():
            by_hand.change_inbound(site.panel, 2, {"enable": False})

        off = await fleet.reconcile()
        meanwhile = held(fleet)
        for site in fleet.sites.values():
            by_hand.change_inbound(site.panel, 2, {"enable": True})
        on = await fleet.reconcile()

        assert not off.in_sync
        assert 0 == off.totals["deleted"]
        assert before == meanwhile == held(fleet)
        assert on.in_sync


async def test_of_two_subscriptions_of_one_person_the_other_one_stays(tmp_path, monkeypatch):
    """Deleting one takes nothing that the other one uses."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        met = await fleet.run(lambda work: people.meet(work, 7001))
        first, second = await fleet.issue(2)
        owners = [await fleet.owner(first), await fleet.owner(second)]

        async def belong(work):
            rows = update(SubscriptionRow).where(SubscriptionRow.id.in_(owners))
            await work.session.execute(rows.values(person_id=met.person.id))
            await work.revise(scheduler=True)
            work.audit("subscriptions_given", f"person/{met.person.id}")

        await fleet.run(belong)
        await fleet.reconcile()
        others = {
            name: {e: c for e, c in found.items() if second in e}
            for name, found in held(fleet).items()
        }

        await fleet.revoke(first)
        report = await fleet.reconcile()

        assert report.in_sync
        assert others == held(fleet)


async def test_nobody_is_switched_off_who_has_time_and_traffic_left(tmp_path, monkeypatch):
    """A panel that switches everybody off is healed, and nobody has to re-attach anything."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        await fleet.issue(4)
        await fleet.reconcile()
        before = held(fleet)
        for site in fleet.sites.values():
            for email in site.ours():
                by_hand.edit_client(site.panel, email, {"enable": False})

        report = await fleet.reconcile()

        assert report.in_sync
        assert before == held(fleet)


async def test_an_email_that_was_used_before_is_no_hindrance(tmp_path, monkeypatch):
    """Deleted and wanted again: the panel's leftovers of the first time keep nobody out."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        emails = {name: set(found) for name, found in held(fleet).items()}
        await ends(fleet, key, days=-8)
        await fleet.reconcile()
        await ends(fleet, key, days=8)

        report = await fleet.reconcile()

        assert report.in_sync
        assert emails == {name: set(found) for name, found in held(fleet).items()}


@pytest.mark.parametrize("name", ["old", "new"])
async def test_a_panel_that_was_restarted_serves_without_anybody_opening_it(
    tmp_path, monkeypatch, name
):
    """Sessions are gone, and the next look logs in again; nothing has to be saved by hand."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        before = held(fleet)
        fleet[name].panel.faults.arm({"kind": "session_expired", "count": 1})
        fleet.forget_requests()

        report = await fleet.reconcile()

        assert report.in_sync
        assert before == held(fleet)
        assert 0 == sum(
            line.write and not line.path.endswith("/login") for line in fleet[name].panel.log
        )
        assert "" == (await status_of(fleet, name)).refused_fingerprint


async def test_one_email_that_a_stranger_holds_keeps_no_other_key_out(tmp_path, monkeypatch):
    """The node takes all others and says which one; the stranger stays; a rotation lets the key in."""
    async with two_families(tmp_path, monkeypatch) as fleet:
        issued = await fleet.issue(4)
        taken = {"old": f"x3f-{issued[1]}-g1-i1", "new": f"x3f-{issued[1]}-g1"}
        for name, email in taken.items():
            theirs = {"email": email, "id": "7f1d0c52-0000-4000-8000-000000000001", "enable": True}
            by_hand.add_client(fleet[name].panel, 1, theirs)
        before = {name: fleet[name].clients()[email] for name, email in taken.items()}

        await fleet.reconcile()
        told = {name: await drifts(fleet, name) for name in taken}
        others = {name: keys_on(fleet, name) - {issued[1]} for name in taken}
        await fleet.run(lambda work: keys.rotate(work, issued[1]))
        report = await fleet.reconcile()

        assert {"old": {"EmailTaken"}, "new": {"EmailTaken"}} == told
        assert dict.fromkeys(taken, set(issued) - {issued[1]}) == others
        assert report.in_sync
        assert all(
            any(one.startswith(f"x3f-{issued[1]}-g2") for one in fleet[n].ours()) for n in taken
        )
        assert before == {name: fleet[name].clients()[email] for name, email in taken.items()}


def keys_on(fleet: Fleet, name: str) -> set[str]:
    """Which keys have a client on a node."""
    return {email.split("-")[1] for email in fleet[name].ours()}


async def drifts(fleet: Fleet, name: str) -> set[str]:
    """Why a node is Drifted."""
    stored = (await status_of(fleet, name)).conditions
    return {c["reason"] for c in stored if c["status"] and c["type"] == "Drifted"}
