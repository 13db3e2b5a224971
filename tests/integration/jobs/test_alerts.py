"""The alerts job over a real database: rows, restarts, recovery, and nothing written of desired state."""

import pytest
from sqlalchemy import select

from controller.jobs.alerts import Alerts
from controller.settings import AlertSettings
from desired_state.store.tables.status import AlertRow, NotificationRow
from desired_state.store.tables.types import DESIRED, STATUS
from tests.data import rows
from tests.data.datasets import NL1
from tests.fakes.authorizer import writes_refused

SETTINGS = AlertSettings(hold_s=60, recover_s=60)
KEY = f"node/{NL1}/Unreachable"


def job(store, **options):
    """A job as a fresh process makes it: it remembers nothing."""
    return Alerts(store, SETTINGS, store.clock, **options)


async def run(store, seconds):
    store.clock.advance(seconds=seconds)
    return await job(store).run()


async def test_an_outage_is_told_and_its_end_names_it(fleet, lose, told):
    await lose(NL1)
    for seconds in (10, 60, 60):
        await run(fleet, seconds)
    await rows.replace_status(fleet, NL1)
    for seconds in (10, 60, 60):
        await run(fleet, seconds)

    assert [("firing", KEY), ("resolved", KEY)] == await told()
    async with fleet.reading() as session:
        fired, resolved = list(await session.scalars(select(NotificationRow)))
        alerts = list(await session.scalars(select(AlertRow)))
    assert (fired.id, NL1, "warning") == (resolved.resolves, resolved.node, resolved.severity)
    assert ("Unreachable", "Timeout") == (fired.condition, fired.reason)
    assert [] == alerts


async def test_a_restart_tells_nothing_twice(fleet, lose, told):
    await lose(NL1)

    for _ in range(5):
        await run(fleet, 60)

    assert [("firing", KEY)] == await told()


async def test_whoever_delivers_is_woken_only_when_there_is_something(fleet, lose):
    woken = []
    await lose(NL1)
    one = job(fleet, told=lambda: woken.append(fleet.clock.now()))

    await one.run()
    fleet.clock.advance(seconds=60)
    await one.run()
    await one.run()

    assert [fleet.clock.now()] == woken


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_alerts_write_status_alone(fleet, lose):
    await lose(NL1)

    async with writes_refused(fleet, DESIRED) as refusals:
        await run(fleet, 10)
        await run(fleet, 60)

    assert [] == refusals.statements


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_healthy_fleet_costs_no_write(fleet):
    async with writes_refused(fleet, DESIRED, STATUS) as refusals:
        await run(fleet, 10)

    assert [] == refusals.statements
