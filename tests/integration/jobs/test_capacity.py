"""How full the fleet is, from the database: groups, trend, and the messages that follow."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from controller.jobs.alerts import Alerts
from controller.jobs.capacity import APART, CapacitySamples
from controller.jobs.snapshot import read_fleet
from controller.settings import AlertSettings
from controller.telemetry.capacity import show_capacity
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.policy import Policy, Scaling
from desired_state.queries.capacity import read_capacity
from desired_state.store.tables.measures import CapacitySampleRow
from desired_state.store.tables.status import NotificationRow, PlacementRow
from tests.builders import make_bundle, make_node_spec
from tests.data import rows

A, B = NodeName("nl-1"), NodeName("nl-2")
SCALING = Scaling(label="country", out_after_s=60, in_after_s=600)
LABELS = (("country", "nl"),)


@pytest.fixture
async def group(store):
    """Two nodes of ten places each, in one country."""
    nodes = [make_node_spec(name, labels=LABELS, capacity_keys=10) for name in (A, B)]
    await rows.apply(store, make_bundle(*nodes, Policy(scaling=SCALING)))
    for name, rate in ((A, 1_000_000), (B, 0)):
        await rows.set_status(store, name, traffic_rate_bps=rate, cpu_share=0.5)
    return store


async def fill(store, node, count, first=0):
    for number in range(first, first + count):
        await rows.place(store, KeyId(f"k{node}{number:03}"), node)


async def empty(store, node):
    async with store.recording() as session:
        for row in await session.scalars(select(PlacementRow).where(PlacementRow.node == node)):
            await session.delete(row)


async def read(store):
    async with store.reading() as session:
        return await read_capacity(session, store.clock.now())


async def passes(store, *seconds):
    """Passes of the alerts, so far apart; gives what was told in all."""
    for step in seconds:
        store.clock.advance(seconds=step)
        await Alerts(store, AlertSettings(hold_s=60, recover_s=60), store.clock).run()
    async with store.reading() as session:
        found = await session.scalars(select(NotificationRow).order_by(NotificationRow.id))
        return [(row.state, row.alert, row.reason, row.node) for row in found]


async def test_groups_and_nodes_tell_keys_capacity_and_load(group):
    await fill(group, A, 6)
    await fill(group, B, 2)

    found = await read(group)

    (country,) = found.groups
    assert ("country=nl", 8, 20, 0.6, 1_000_000) == (
        country.name, country.keys, country.capacity, country.free_share, country.traffic_rate_bps,
    )  # fmt: skip
    assert [(A, 6, 1_000_000, 0.5), (B, 2, 0, 0.5)] == [
        (node.name, node.keys, node.traffic_rate_bps, node.cpu_share) for node in found.nodes
    ]


async def test_a_week_of_samples_makes_a_trend_and_days_until_full(group):
    """Two keys a day on one of the nodes: ten places free are five days."""
    job = CapacitySamples(group, group.clock)
    for day in range(5):
        await fill(group, A, 2, first=2 * day)
        await job.run()
        group.clock.advance(days=1)

    found = await read(group)

    (country,) = found.groups
    assert (2.0, 5.0) == (country.keys_a_day, country.days_until_full)
    assert [2.0, 0.0] == [node.keys_a_day for node in found.nodes]


async def test_samples_are_apart_and_go_after_a_week(group):
    job = CapacitySamples(group, group.clock)

    first, again = await job.run(), await job.run()
    group.clock.advance(seconds=APART.total_seconds())
    later = await job.run()
    group.clock.advance(days=8)
    found = await read(group)

    assert (2, 0, 2) == (first, again, later)
    assert [None, None] == [node.keys_a_day for node in found.nodes]
    async with group.reading() as session:
        moments = set(await session.scalars(select(CapacitySampleRow.at)))
    assert timedelta(0) < max(moments) - min(moments) == APART


async def test_a_group_that_fills_asks_for_a_node_once_and_says_when_it_has_one(group):
    await fill(group, A, 9)
    await fill(group, B, 8)

    before = await passes(group, 10, 40)
    told = await passes(group, 30, 60, 600)
    more = make_node_spec("nl-3", labels=LABELS, capacity_keys=10)
    nodes = [make_node_spec(name, labels=LABELS, capacity_keys=10) for name in (A, B)]
    await rows.apply(group, make_bundle(*nodes, more, Policy(scaling=SCALING)))
    over = await passes(group, 10, 70)

    key = "capacity/country=nl/scale_out"
    assert [] == before
    assert [("firing", key, "scale_out", "")] == told
    assert ("resolved", key, "scale_out", "") == over[-1]


async def test_a_node_too_many_is_named_and_may_go_once_it_is_drained(group):
    """First the wish, which ends as the drain begins; then that nothing is left there."""
    await fill(group, A, 3)
    await fill(group, B, 1)
    wished = await passes(group, 10, 300, 600)

    nodes = [
        make_node_spec(A, labels=LABELS, capacity_keys=10),
        make_node_spec(B, labels=LABELS, capacity_keys=10, drain=True),
    ]
    await rows.apply(group, make_bundle(*nodes, Policy(scaling=SCALING)))
    draining = await passes(group, 10, 70)
    await empty(group, B)
    await fill(group, A, 1, first=3)
    drained = await passes(group, 10)

    wish = "capacity/country=nl/scale_in"
    assert [("firing", wish, "scale_in", B)] == wished
    assert [*wished, ("resolved", wish, "scale_in", B)] == draining
    assert [*draining, ("firing", f"capacity/{B}/remove", "remove", B)] == drained


async def test_series_of_nodes_and_groups_are_shown_with_the_signal_that_was_told(group):
    await fill(group, A, 9)
    await fill(group, B, 8)
    await passes(group, 10, 60)

    snapshot = await read_fleet(group, group.clock.now())
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in show_capacity(snapshot.capacity)
        for sample in family.samples
    }

    assert {
        ("x3fleet_node_placed_keys", A): 9,
        ("x3fleet_node_capacity_keys", B): 10,
        ("x3fleet_node_traffic_bytes_per_second", A): 1_000_000,
        ("x3fleet_node_cpu_ratio", A): 0.5,
        ("x3fleet_group_keys", "country=nl"): 17,
        ("x3fleet_group_capacity_keys", "country=nl"): 20,
        ("x3fleet_group_free_ratio", "country=nl"): pytest.approx(0.15),
        ("x3fleet_scale_signal", "country=nl", "scale_out"): 1,
        ("x3fleet_scale_signal", "country=nl", "scale_in"): 0,
    }.items() <= shown.items()
    assert ("x3fleet_node_memory_ratio", A) not in shown
