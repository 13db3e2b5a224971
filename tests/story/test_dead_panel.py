"""A dead panel: left alone until its probe is due, told of before a customer asks, and counted."""

import asyncio
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from controller.jobs.alerts import Alerts
from controller.jobs.snapshot import read_fleet
from controller.settings import AlertSettings
from controller.telemetry.collector import FleetCollector
from controller.telemetry.marks import NodeMarks
from desired_state.model.ids import NodeName
from desired_state.store.tables.status import NotificationRow
from tests.architecture.source import ROOT
from tests.integration.runtime.fleet import Fleet, Wanted, open_fleet, status_of
from tests.integration.runtime.serving import eventually, serving

CHANGES = 10
NOBODY = "http://127.0.0.1:9/"
FAR_AWAY_S = 3600.0
"""As long as a pause is after many failures, so that no probe falls due while a test runs."""


@pytest.mark.story("no-circuit-breaker")
async def test_a_dead_panel_is_not_called_for_every_change_that_concerns_it(
    tmp_path: Any, monkeypatch: Any
) -> None:
    """One node's keys change and change; its panel is dead, the other one is served meanwhile."""
    knocks: list[int] = []

    async def knock(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(1)
        writer.close()

    async with open_fleet(
        tmp_path, monkeypatch, count=None, dead=Wanted("3.6.0"), well=Wanted("3.6.0")
    ) as fleet:
        door = await asyncio.start_server(knock, "127.0.0.1", 0)
        async with door:
            port = door.sockets[0].getsockname()[1]
            await fleet.declare("dead", url=f"http://127.0.0.1:{port}/")
            async with serving(fleet) as served:
                await eventually(lambda: knocks)
                await served.idle()
                stored = await status_of(fleet, "dead")
                pause = served.daemon._turns._memory(NodeName("dead"))
                pause.until_s = fleet.controller.clock.monotonic() + FAR_AWAY_S
                before = len(knocks)

                for _ in range(CHANGES):
                    await fleet.issue()
                await eventually(lambda: len(fleet["well"].ours()) == CHANGES)
                await served.idle()

                assert before == len(knocks)
                assert stored.failures > 0
                assert stored.next_look_at is not None

                # When the pause is over, one look tells; it was no other.
                pause.until_s = 0.0
                served.daemon.nodes.add(NodeName("dead"))
                await eventually(lambda: len(knocks) > before)


@pytest.mark.story("no-alert")
async def test_people_are_told_of_a_dead_panel_before_a_customer_asks(
    tmp_path: Any, monkeypatch: Any
) -> None:
    """Told once, with the node's name; and a rule for Prometheus fires on the same condition."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        store = fleet.controller.store
        alerts = Alerts(store, AlertSettings(hold_s=0), store.clock)
        await alerts.run()
        quiet = await told(fleet)

        await fleet.declare("one", url=NOBODY)
        await fleet.reconcile()
        await alerts.run()
        await alerts.run()
        loud = await told(fleet)

    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert ([], [("firing", "one", "Unreachable")]) == (quiet, loud)
    assert any('condition="Unreachable"' in query for query in asked)


@pytest.mark.story("no-metric")
async def test_how_many_keys_are_missing_is_a_number(tmp_path: Any, monkeypatch: Any) -> None:
    """What should be there, what is, and what is still to come, of each node by itself."""
    async with open_fleet(
        tmp_path, monkeypatch, count=None, dead=Wanted("3.6.0"), well=Wanted("2.9.4")
    ) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        await fleet.declare("dead", url=NOBODY)
        await fleet.issue(3)
        await fleet.reconcile()
        store = fleet.controller.store
        collector = FleetCollector(NodeMarks(store.clock.now), lambda: None, store.clock.now)
        collector.show(await read_fleet(store, store.clock.now()))
        registry = CollectorRegistry(auto_describe=True)
        registry.register(collector)

    def keys(node: str, state: str) -> float | None:
        return registry.get_sample_value("x3fleet_keys", {"node": node, "state": state})

    assert (5.0, 5.0, 0.0) == tuple(keys("well", s) for s in ("desired", "live", "pending"))
    assert (5.0, 2.0, 3.0) == tuple(keys("dead", s) for s in ("desired", "live", "pending"))


async def told(fleet: Fleet) -> list[tuple[str, str, str]]:
    """Read what people were told: state, node and condition, in order."""
    async with fleet.controller.store.reading() as session:
        rows = await session.scalars(select(NotificationRow).order_by(NotificationRow.id))
        return [(row.state, row.node, row.condition) for row in rows]
