"""Create-first over two panels: a key leaves the old one only while it is served on the new one."""

from datetime import timedelta

import pytest

from controller.jobs.snapshot import read_fleet
from controller.runtime.errors import HolderKind
from desired_state.commands import nodes
from desired_state.model.ids import NodeName
from desired_state.model.policy import MoveOrder, Policy
from desired_state.queries.key import show_key
from desired_state.queries.moves import list_moves
from desired_state.queries.waiting import list_waiting
from tests.fakes.set_clock import SetClock
from tests.integration.runtime.fleet import Wanted, open_fleet, placements_of

WIDE = Policy(
    move_order=MoveOrder.CREATE_FIRST, max_delete_share=1.0, max_delete_floor=100,
    fleet_delete_share=1.0,
)  # fmt: skip
DEAD = {"kind": "reset", "path": ".*", "count": None}


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
async def fleet(tmp_path, monkeypatch, clock):
    """A panel of each family and three keys on the old one, which is drained; the new one takes them."""
    async with open_fleet(
        tmp_path, monkeypatch, policies=(WIDE,), clock=clock,
        old=Wanted("2.9.4"), new=Wanted("3.6.0", fields={"schedulable": False}),
    ) as fleet:  # fmt: skip
        for site in fleet.sites.values():
            site.panel.status_asked_ms = 0
        await fleet.issue(3)
        await fleet.reconcile()
        await fleet.declare("new", schedulable=True)
        await fleet.run(lambda work: nodes.drain(work, NodeName("old")))
        async with fleet.controller.authority(HolderKind.ONE_SHOT):
            await fleet.controller.place()
            await fleet.controller.worker.turn(NodeName("new"))
        assert ((3, 3), set()) == (served(fleet), await leaving(fleet))
        yield fleet


def served(fleet):
    """How many of our clients are switched on, on the old panel and on the new one."""
    return tuple(sum(fleet[name].enabled().values()) for name in ("old", "new"))


def dies(site):
    site.panel.faults.arm(DEAD)


def stops_xray(site):
    site.panel.xray_state = "stop"


def pass_time(fleet, clock, seconds):
    clock.pass_(seconds)
    for site in fleet.sites.values():
        site.panel.clock.advance(seconds)


async def decide(fleet):
    """Look at the new node, so that the pass ends the old places; nothing is deleted yet."""
    await fleet.reconcile("new")
    return await leaving(fleet)


async def leaving(fleet):
    return {str(p.node) for p in await placements_of(fleet) if p.leaving is not None}


@pytest.mark.parametrize("strike", [dies, stops_xray])
async def test_a_node_that_fails_right_after_it_took_the_keys_takes_none_off_the_old_one(
    fleet, clock, strike
):
    """Complaint 1.2: that the journal says live is no proof that anybody is served there."""
    strike(fleet["new"])

    for _ in range(3):
        await fleet.reconcile()
        pass_time(fleet, clock, 20)
    kept = served(fleet)[0]
    fleet["new"].panel.faults.clear()
    fleet["new"].panel.xray_state = "running"
    pass_time(fleet, clock, 15 * 60)
    for _ in range(2):
        await fleet.reconcile()

    assert 3 == kept
    assert (0, 3) == served(fleet)


@pytest.mark.parametrize("strike", [dies, stops_xray])
async def test_keys_whose_end_was_decided_stay_while_their_new_node_fails(fleet, clock, strike):
    """Between that and the delete lie turns, the fleet's share of deletes, an outage of the old node."""
    decided = await decide(fleet)
    strike(fleet["new"])
    await fleet.reconcile("new")

    for _ in range(2):
        report = await fleet.reconcile("old")
        pass_time(fleet, clock, 20)
    kept = served(fleet)[0]
    fleet["new"].panel.faults.clear()
    fleet["new"].panel.xray_state = "running"
    pass_time(fleet, clock, 15 * 60)
    await fleet.reconcile()

    assert {"old"} == decided
    assert (3, 0) == (kept, report.totals["deleted"])
    assert (0, 3) == served(fleet)


async def test_after_a_stop_nothing_is_deleted_before_the_new_node_was_looked_at(fleet, clock):
    """What it was like hours ago says nothing of now."""
    await decide(fleet)
    pass_time(fleet, clock, 10 * 3600)
    async with fleet.reopened(clock) as again:
        await again.reconcile("old")
        unseen = served(fleet)
        await again.reconcile()

    assert ((3, 3), (0, 3)) == (unseen, served(fleet))


async def test_a_pass_after_a_stop_ends_nothing_before_the_new_node_was_looked_at(fleet, clock):
    """It asks for that look first, and goes on from it."""
    pass_time(fleet, clock, 10 * 3600)
    async with fleet.reopened(clock) as again:
        summary = await again.controller.place()
        ended = await leaving(fleet)
        await again.reconcile()

    assert ((), ("new",), set()) == (summary.ended, summary.looks, ended)
    assert (0, 3) == served(fleet)


async def test_a_key_that_is_revoked_meanwhile_waits_for_no_node(fleet):
    """It is to live nowhere: whether the new node serves does not matter."""
    await decide(fleet)
    dies(fleet["new"])
    await fleet.reconcile("new")
    key = next(iter(fleet["old"].ours())).split("-")[1]

    await fleet.revoke(key)
    await fleet.reconcile("old")

    assert 2 == len(fleet["old"].ours())
    assert not any(key in email for email in fleet["old"].ours())


async def test_keys_that_wait_for_their_new_node_are_measured_as_on_their_way(fleet, clock):
    """They have no end yet: a move that nobody finishes would not be seen otherwise."""
    dies(fleet["new"])
    await fleet.reconcile("new")
    pass_time(fleet, clock, 2 * 24 * 3600)

    snapshot = await read_fleet(fleet.controller.store, clock.now())

    (old,) = (node for node in snapshot.nodes if node.name == "old")
    assert 3 == old.leaving
    assert old.leaving_since < clock.now() - timedelta(days=1)


async def waiting(fleet, clock):
    """What each key on the old node waits for, as `keys show` and `moves list` tell it."""
    now = clock.now()
    async with fleet.controller.store.reading() as session:
        moves = (await list_moves(session, now)).moves
        keys = {one.key for one in moves}
        found = await list_waiting(session, keys, now)
        shown = [await show_key(session, key, now) for key in sorted(keys)]
    assert {one for detail in shown for one in detail.waiting} == set(found.values())
    assert {("old", "proving")} >= {(m.source, m.stage) for m in moves if m.stage != "deleting"}
    return {(one.source, one.by, one.lacks) for one in found.values()}, found


@pytest.mark.parametrize(
    ("strike", "lacks", "words"),
    [
        (dies, "node", "new is Unreachable/"), (stops_xray, "xray", "new has no running Xray"),
    ],
)  # fmt: skip
async def test_it_is_told_what_keeps_a_key_on_its_old_node(fleet, clock, strike, lacks, words):
    strike(fleet["new"])
    await fleet.reconcile("new")

    told, found = await waiting(fleet, clock)

    assert {("old", "new", lacks)} == told
    assert all(one.told.startswith(f"kept until new serves it: {words}") for one in found.values())


async def test_a_key_whose_end_was_decided_waits_for_a_look_that_is_recent(fleet, clock):
    await decide(fleet)
    pass_time(fleet, clock, 3600)
    async with fleet.reopened(clock) as again:
        await again.reconcile("old")
    asked, found = await waiting(fleet, clock)
    pass_time(fleet, clock, 5)
    await fleet.reconcile()
    after, _ = await waiting(fleet, clock)

    assert ({("old", "new", "look")}, set()) == (asked, after)
    assert 3 == len(found)
