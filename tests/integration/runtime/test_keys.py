"""A key's life through the service: commands in, clients on panels of every family out, proved."""

import pytest

from desired_state.model.generation import JournalState
from desired_state.queries.key import show_key
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet, placements_of

VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
THREE = {"old": Wanted("2.9.4"), "middle": Wanted("3.2.8"), "new": Wanted("3.6.0")}


def email(site, key, generation=1):
    """The email of a key on a panel: up to 3.0.2 it names the inbound."""
    base = f"x3f-{key}-g{generation}"
    return f"{base}-i1" if site.panel.version < (3, 1, 0) else base


@pytest.fixture(params=[pytest.param(v, marks=pytest.mark.sampled(3)) for v in VERSIONS])
async def fleet(request, tmp_path, monkeypatch):
    """One node."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(request.param)) as fleet:
        yield fleet


async def test_a_key_is_issued_placed_and_proved(fleet):
    (key,) = await fleet.issue()

    report = await fleet.reconcile()

    site = fleet["one"]
    assert {email(site, key): True} == site.enabled()
    assert (1, 1, 0) == (
        report.totals["created"],
        report.totals["verified"],
        report.totals["deleted"],
    )
    assert report.in_sync
    async with fleet.controller.store.reading() as session:
        detail = await show_key(session, key, fleet.controller.clock.now())
    assert [True] == [node.is_live for node in detail.nodes]
    assert {"generation_journalled", "generation_live"} == {event.name for event in detail.events}


async def test_a_converged_fleet_costs_one_look_a_node_and_no_write(tmp_path, monkeypatch):
    """One GET up to 3.0.2, three from 3.1.0 on; nothing is written on a panel or in the database."""
    async with open_fleet(tmp_path, monkeypatch, **THREE) as fleet:
        for node in THREE:
            await fleet.issue(3, node)
        await fleet.reconcile()
        fleet.forget_requests()
        before = await fleet.database()

        report = await fleet.reconcile()

        assert report.in_sync
        assert (1, 0, 3) == (report.rounds, report.writes, report.totals["looks"])
        assert [1, 3, 3] == [len(site.log()) for site in fleet.sites.values()]
        assert 0 == sum(site.writes() for site in fleet.sites.values())
        assert before == await fleet.database()


async def test_a_rotated_key_is_deleted_before_its_successor_is_created(fleet):
    (key,) = await fleet.issue()
    await fleet.reconcile()
    site = fleet["one"]
    fleet.forget_requests()
    await fleet.rotate(key)

    report = await fleet.reconcile()

    assert [email(site, key, 2)] == list(site.ours())
    assert (1, 1) == (report.totals["created"], report.totals["deleted"])
    states = {row.generation: row.state for row in await journal_of(fleet, "one") if row.key}
    assert {1: JournalState.GONE, 2: JournalState.LIVE} == states
    calls = [line.lower() for line in site.log() if line.startswith("POST")]
    deleted = [number for number, call in enumerate(calls) if "/del" in call or "bulkdel" in call]
    created = [number for number, call in enumerate(calls) if "/add" in call or "create" in call]
    assert deleted[-1] < created[-1]


async def test_a_revoked_key_leaves_the_panel_the_placements_and_a_tombstone(fleet):
    (kept, gone) = await fleet.issue(2)
    await fleet.reconcile()
    await fleet.revoke(gone)

    report = await fleet.reconcile()

    assert [email(fleet["one"], kept)] == list(fleet["one"].ours())
    assert 1 == report.totals["deleted"]
    assert {(kept, "one")} == {(p.key, p.node) for p in await placements_of(fleet)}
    rows = {row.key: row for row in await journal_of(fleet, "one") if row.key}
    assert (JournalState.GONE, "revoked") == (rows[gone].state, rows[gone].delete_reason)


@pytest.mark.parametrize(("source", "target"), [("old", "new"), ("new", "old"), ("middle", "new")])
async def test_a_key_moves_delete_first_between_families(tmp_path, monkeypatch, source, target):
    async with open_fleet(tmp_path, monkeypatch, **THREE) as fleet:
        (key,) = await fleet.issue(node=source)
        await fleet.reconcile()
        await fleet.move(key, target)

        report = await fleet.reconcile()

        assert {} == fleet[source].ours()
        assert [email(fleet[target], key)] == list(fleet[target].ours())
        assert report.in_sync
        (placement,) = await placements_of(fleet)
        assert (target, None, None) == (placement.node, placement.replaces, placement.leaving)


async def test_the_full_life_of_a_key_over_two_families(tmp_path, monkeypatch):
    """Create -> rotate -> move -> delete; at no time is the key live twice."""
    async with open_fleet(tmp_path, monkeypatch, old=Wanted("2.9.4"), new=Wanted("3.6.0")) as fleet:
        (key,) = await fleet.issue(node="old")
        await fleet.reconcile()
        assert [f"x3f-{key}-g1-i1"] == list(fleet["old"].ours())

        await fleet.rotate(key)
        await fleet.reconcile()
        assert [f"x3f-{key}-g2-i1"] == list(fleet["old"].ours())

        await fleet.move(key, "new")
        await fleet.reconcile()
        assert {} == fleet["old"].ours()
        assert [f"x3f-{key}-g2"] == list(fleet["new"].ours())

        await fleet.revoke(key)
        report = await fleet.reconcile()

        assert {} == fleet["new"].ours()
        assert report.in_sync
        assert [] == await placements_of(fleet)
        fleet.forget_requests()
        assert 0 == (await fleet.reconcile()).writes


async def test_a_key_of_every_node_lives_on_all_of_them(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, count=None, **THREE) as fleet:
        (key,) = await fleet.issue()

        report = await fleet.reconcile()

        assert [[email(site, key)] for site in fleet.sites.values()] == [
            list(site.ours()) for site in fleet.sites.values()
        ]
        assert 3 == report.totals["created"]


async def test_keys_on_several_inbounds_follow_the_family(tmp_path, monkeypatch):
    """Up to 3.0.2 one client an inbound; from 3.1.0 one client on all of them."""
    inbounds = ({"protocol": "vless"}, {"protocol": "trojan"})
    async with open_fleet(
        tmp_path, monkeypatch, old=Wanted("2.9.4", inbounds), new=Wanted("3.6.0", inbounds)
    ) as fleet:
        (first,) = await fleet.issue(node="old")
        (second,) = await fleet.issue(node="new")

        await fleet.reconcile()

        assert [f"x3f-{first}-g1-i1", f"x3f-{first}-g1-i2"] == sorted(fleet["old"].ours())
        assert [1, 2] == sorted(fleet["new"].ours()[f"x3f-{second}-g1"]["inboundIds"])


async def test_a_suspended_subscription_switches_its_key_off_and_on(fleet):
    (key,) = await fleet.issue()
    await fleet.reconcile()

    await fleet.suspend(key)
    await fleet.reconcile()
    off = fleet["one"].enabled()
    await fleet.resume(key)
    await fleet.reconcile()

    name = email(fleet["one"], key)
    assert [{name: False}, {name: True}] == [off, fleet["one"].enabled()]
