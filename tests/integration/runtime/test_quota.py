"""One quota over all nodes: used anywhere, dark everywhere, and back on renewal; counted once.

Each test is a failure that operators of several panels have reported.
"""

from datetime import timedelta

import pytest
from sqlalchemy import select

from controller.panels.api.clock import SystemClock
from controller.settings import TurnSettings
from desired_state.commands import subscriptions
from desired_state.model.ids import NodeName
from desired_state.queries.key import show_key
from desired_state.store.tables.status import EventRow, KeyUsageRow
from simulator import by_hand
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet
from tests.integration.runtime.serving import EAGER, eventually, serving

GIB = 2**30
EACH = TurnSettings(sample_s=0)
DEAD = {"kind": "lost_request", "path": ".*", "count": None}
BOTH = {"old": Wanted("2.9.4"), "new": Wanted("3.6.0")}


class StepClock(SystemClock):
    """Monotonic time that a test moves on."""

    moved = 0.0

    def monotonic(self):
        return super().monotonic() + self.moved


def fleet_of(tmp_path, monkeypatch, clock=None, **wanted):
    """Panels with a tariff of 10 GiB on every node, each look a sample."""
    return open_fleet(
        tmp_path, monkeypatch, turns=EACH, count=None, quota_bytes=10 * GIB, clock=clock,
        **(wanted or BOTH),
    )  # fmt: skip


def use(fleet, node, up=0, down=0, number=0):
    """Let traffic flow through a client of ours, as the panel counts it."""
    email = sorted(fleet[node].ours())[number]
    assert fleet[node].panel.background.count(email, up, down)


async def subscription_of(fleet, key):
    async with fleet.controller.store.reading() as session:
        return (await show_key(session, key, fleet.controller.store.clock.now())).subscription


async def used(fleet, key):
    return (await subscription_of(fleet, key)).used_bytes


async def renew(fleet, key):
    owner = await fleet.owner(key)
    await fleet.run(lambda work: subscriptions.extend(work, owner, 30, new_period=True))


def lit(fleet):
    """Which of our clients serve, over the whole fleet."""
    return {on for site in fleet.sites.values() for on in site.enabled().values()}


async def switched(fleet, key):
    """What the history says of a key's clients that went off or on."""
    async with fleet.controller.store.reading() as session:
        query = select(EventRow.node, EventRow.email, EventRow.name).where(
            EventRow.key == key, EventRow.name.startswith("generation_switched")
        )
        return sorted(tuple(row) for row in await session.execute(query))


async def rows_of(fleet):
    async with fleet.controller.store.reading() as session:
        rows = await session.scalars(select(KeyUsageRow).order_by(KeyUsageRow.node))
        return {row.node: (row.up_bytes, row.down_bytes) for row in rows}


# -- the quota -------------------------------------------------------------------------------------


async def test_a_quota_used_up_on_one_node_is_not_surfed_on_through_another(tmp_path, monkeypatch):
    """The service sees it at its next look, and wakes every node of the key; renewal lights them."""
    async with (
        fleet_of(
            tmp_path, monkeypatch, old=Wanted("2.9.4"), middle=Wanted("3.1.0"), new=Wanted("3.6.0")
        ) as fleet,
        serving(fleet, EAGER),
    ):
        (key,) = await fleet.issue()
        await eventually(lambda: all(site.ours() for site in fleet.sites.values()))

        use(fleet, "old", up=GIB, down=10 * GIB)
        await eventually(lambda: lit(fleet) == {False})
        over = await subscription_of(fleet, key)
        await renew(fleet, key)
        await eventually(lambda: lit(fleet) == {True})

        assert 11 * GIB == over.used_bytes
        assert 0 == await used(fleet, key)


async def test_a_little_on_each_node_is_one_sum(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()

        use(fleet, "old", down=6 * GIB)
        await fleet.reconcile()
        before = lit(fleet), await used(fleet, key)
        use(fleet, "new", up=3 * GIB, down=GIB)
        await fleet.reconcile()

        assert ({True}, 6 * GIB) == before
        assert ({False}, 10 * GIB) == (lit(fleet), await used(fleet, key))
        assert {"old": (0, 6 * GIB), "new": (3 * GIB, GIB)} == await rows_of(fleet)


async def test_one_over_its_quota_leaves_its_neighbours_alone(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        await fleet.issue(3)
        await fleet.reconcile()

        use(fleet, "old", down=11 * GIB, number=1)
        await fleet.reconcile()

        assert [True, False, True] == [on for _, on in sorted(fleet["old"].enabled().items())]
        assert [True, False, True] == [on for _, on in sorted(fleet["new"].enabled().items())]


async def test_the_history_says_when_a_quota_was_used_up(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=12 * GIB)
        await fleet.reconcile()
        await fleet.reconcile()

        async with fleet.controller.store.reading() as session:
            query = select(EventRow).where(EventRow.name == "quota_used_up")
            (line,) = await session.scalars(query)

        assert (key, "old", 1) == (line.key, line.node, line.times)
        assert f"{12 * GIB} of {10 * GIB} bytes" == line.detail


async def test_the_history_of_a_key_says_where_it_went_dark_and_where_it_came_back(
    tmp_path, monkeypatch
):
    """Each client once each way, whatever is looked at again."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=12 * GIB)
        await fleet.reconcile()
        await fleet.reconcile()
        dark = await switched(fleet, key)
        await renew(fleet, key)
        await fleet.reconcile()
        await fleet.reconcile()

        emails = {(node, email) for node in BOTH for email in fleet[node].ours()}

        assert {(*one, "generation_switched_off") for one in emails} == set(dark)
        assert len(emails) == len(dark)
        assert sorted(
            [*dark, *((*one, "generation_switched_on") for one in emails)]
        ) == await switched(fleet, key)


async def test_what_was_switched_by_hand_and_put_back_is_healed_and_not_switched(
    tmp_path, monkeypatch
):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        email = min(fleet["old"].ours())
        by_hand.edit_client(fleet["old"].panel, email, {"enable": False})
        await fleet.reconcile()

        assert {True} == lit(fleet)
        assert [] == await switched(fleet, key)


async def test_the_panels_own_limit_is_a_net_below_the_quota(tmp_path, monkeypatch):
    """It holds while no controller runs; it moves with the period, never with the counter."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        limits = [[c["totalGB"] for c in fleet["new"].ours().values()]]
        for step in range(3):
            use(fleet, "new", down=4 * GIB)
            await fleet.reconcile()
            limits.append([c["totalGB"] for c in fleet["new"].ours().values()])
            if step == 1:
                await renew(fleet, key)
                await fleet.reconcile()
                limits.append([c["totalGB"] for c in fleet["new"].ours().values()])

        assert [[10 * GIB], [10 * GIB], [10 * GIB], [18 * GIB], [18 * GIB]] == limits
        assert 4 * GIB == await used(fleet, key)


async def test_an_expired_key_goes_dark_everywhere_and_returns_on_renewal(tmp_path, monkeypatch):
    async with (
        fleet_of(tmp_path, monkeypatch) as fleet,
        serving(fleet),
    ):
        (key,) = await fleet.issue()
        await eventually(lambda: all(site.ours() for site in fleet.sites.values()))
        owner = await fleet.owner(key)

        await end_in(fleet, owner, seconds=2)
        await eventually(lambda: lit(fleet) == {False})
        await renew(fleet, key)
        await eventually(lambda: lit(fleet) == {True})


async def end_in(fleet, owner, seconds):
    """Let a subscription end soon, as one that was sold a month ago does."""

    async def command(work):
        row = await subscriptions.find_subscription(work, owner)
        row.valid_until = work.now + timedelta(seconds=seconds)
        row.revision = await work.revise(*map(NodeName, fleet.sites), scheduler=True)
        work.audit("subscription_extended", f"subscription/{owner}")

    await fleet.run(command)


# -- counted once ----------------------------------------------------------------------------------


async def test_a_restart_of_the_controller_counts_nothing_twice(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=2 * GIB)
        await fleet.reconcile()

        async with fleet.reopened() as again:
            await again.reconcile()
            use(again, "old", down=GIB)
            await again.reconcile()

            assert 3 * GIB == await used(again, key)


async def test_traffic_used_while_a_node_was_cut_off_is_caught_up(tmp_path, monkeypatch):
    """A sample that was lost is no traffic that was lost."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        fleet["old"].panel.faults.arm(DEAD)
        use(fleet, "old", down=3 * GIB)
        await fleet.reconcile()
        while_away = await used(fleet, key)
        fleet["old"].panel.faults.clear()
        await fleet.reconcile()

        assert (0, 3 * GIB) == (while_away, await used(fleet, key))


async def test_the_counters_of_a_dead_node_are_kept(tmp_path, monkeypatch):
    """What was used there counts on, and ends the key on the nodes that live."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=6 * GIB)
        await fleet.reconcile()
        fleet["old"].panel.faults.arm(DEAD)

        use(fleet, "new", down=5 * GIB)
        await fleet.reconcile()

        assert 11 * GIB == await used(fleet, key)
        assert [False] == list(fleet["new"].enabled().values())


async def test_a_reset_by_hand_is_a_new_base_and_no_credit(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "new", down=6 * GIB)
        await fleet.reconcile()
        (row,) = list(fleet["new"].panel.state.traffic)
        row.up = row.down = 0
        fleet["new"].panel.touch()

        for _ in range(2):
            await fleet.reconcile()
        use(fleet, "new", down=GIB)
        await fleet.reconcile()

        assert 7 * GIB == await used(fleet, key)


async def test_a_node_whose_whole_history_is_added_again_ends_nobodys_quota(tmp_path, monkeypatch):
    """One reboot: fifty clients jumped by 2,560 GB together and were disabled."""
    clock = StepClock()
    async with fleet_of(tmp_path, monkeypatch, clock=clock) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "new", down=GIB)
        await fleet.reconcile()
        clock.moved += 60

        use(fleet, "new", down=2_560 * 10**9)
        await fleet.reconcile()
        use(fleet, "new", down=GIB)
        clock.moved += 60
        await fleet.reconcile()

        assert 2 * GIB == await used(fleet, key)
        assert {True} == lit(fleet)


async def test_a_rotated_key_keeps_what_it_used_and_adds_to_it(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        for node in BOTH:
            use(fleet, node, down=2 * GIB)
        await fleet.reconcile()
        use(fleet, "new", down=GIB)

        await fleet.rotate(key)
        await fleet.reconcile()
        before = await used(fleet, key)
        for node in BOTH:
            use(fleet, node, down=GIB)
        await fleet.reconcile()

        assert (5 * GIB, 7 * GIB) == (before, await used(fleet, key))


async def test_a_key_that_moves_there_and_back_is_counted_once(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, turns=EACH, quota_bytes=10 * GIB, **BOTH) as fleet:
        (key,) = await fleet.issue(node="old")
        await fleet.reconcile()
        for node in ("new", "old", "new"):
            (here,) = [name for name, site in fleet.sites.items() if site.ours()]
            use(fleet, here, down=GIB)
            await fleet.move(key, NodeName(node))
            await fleet.reconcile()
        use(fleet, "new", down=GIB)
        await fleet.reconcile()

        assert 4 * GIB == await used(fleet, key)


async def test_a_row_that_the_panel_kept_of_an_earlier_client_is_no_use(tmp_path, monkeypatch):
    """A phantom of 50 GB on a new client, from what the panel had left of an old one."""
    async with fleet_of(tmp_path, monkeypatch, new=Wanted("3.4.0")) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "new", down=5 * GIB)
        await fleet.reconcile()
        (email,) = fleet["new"].ours()
        kept = next(iter(fleet["new"].panel.state.traffic))
        by_hand.delete_client(fleet["new"].panel, email)
        if fleet["new"].panel.state.traffic.get(email) is None:
            fleet["new"].panel.state.traffic.add(kept)

        await fleet.reconcile()
        await fleet.reconcile()

        assert [email] == list(fleet["new"].ours())
        assert 5 * GIB == await used(fleet, key)


async def test_a_wiped_panel_takes_nothing_back_and_adds_nothing(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "new", down=3 * GIB)
        await fleet.reconcile()

        fleet["new"].panel.wipe(keep_guid=False)
        await fleet.reconcile()
        await fleet.reconcile()

        assert 3 * GIB == await used(fleet, key)


async def test_a_panel_set_back_to_its_backup_counts_nothing_twice(tmp_path, monkeypatch):
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=2 * GIB)
        await fleet.reconcile()
        backup = fleet["old"].panel.snapshot()
        use(fleet, "old", down=3 * GIB)
        await fleet.reconcile()

        fleet["old"].panel.restore(backup)
        for _ in range(2):
            await fleet.reconcile()
        use(fleet, "old", down=GIB)
        await fleet.reconcile()

        assert 6 * GIB == await used(fleet, key)


async def test_a_database_set_back_to_its_backup_catches_up_and_counts_nothing_twice(
    tmp_path, monkeypatch
):
    """The counters of the panels are where they were; the marks are older."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=2 * GIB)
        await fleet.reconcile()
        async with fleet.controller.store.reading() as session:
            backup = [
                {column.name: getattr(row, column.name) for column in KeyUsageRow.__table__.columns}
                for row in await session.scalars(select(KeyUsageRow))
            ]
        use(fleet, "old", down=3 * GIB)
        await fleet.reconcile()

        async with fleet.controller.store.recording() as session:
            for values in backup:
                await session.merge(KeyUsageRow(**values))
        async with fleet.reopened() as again:
            await again.reconcile()

            assert 5 * GIB == await used(again, key)


async def test_two_inbounds_of_a_2x_panel_are_one_key(tmp_path, monkeypatch):
    """There a key has a client an inbound; each counts, once."""
    two = Wanted("2.9.4", inbounds=({"protocol": "vless"}, {"protocol": "trojan"}))
    async with fleet_of(tmp_path, monkeypatch, old=two) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        use(fleet, "old", down=2 * GIB, number=0)
        use(fleet, "old", down=3 * GIB, number=1)
        await fleet.reconcile()
        by_hand.delete_client(fleet["old"].panel, sorted(fleet["old"].ours())[1])
        for _ in range(2):
            await fleet.reconcile()
        use(fleet, "old", down=GIB, number=1)
        await fleet.reconcile()

        assert 2 == len(await journal_of(fleet, "old"))
        assert 6 * GIB == await used(fleet, key)


@pytest.mark.parametrize("version", ["2.9.4", "3.6.0"])
async def test_a_foreign_client_under_our_email_uses_nobodys_quota(tmp_path, monkeypatch, version):
    async with fleet_of(tmp_path, monkeypatch, one=Wanted(version)) as fleet:
        (key,) = await fleet.issue()
        await fleet.reconcile()
        (email,) = fleet["one"].ours()
        inbound = next(iter(fleet["one"].panel.state.inbounds))
        by_hand.delete_client(fleet["one"].panel, email)
        stranger = {"email": email, "id": "11111111-2222-4333-8444-555555555555", "enable": True}
        by_hand.add_client(fleet["one"].panel, inbound, stranger)
        assert fleet["one"].panel.background.count(email, 0, 4 * GIB)

        await fleet.reconcile()

        assert 0 == await used(fleet, key)
