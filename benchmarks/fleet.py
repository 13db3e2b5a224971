"""Our side of a measurement: a fresh database, one declared node, keys by the thousand.

Callers: the stages. Guards are set wide: what they would withhold is measured elsewhere.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.panels import Target
from controller.runtime.report import FleetReport
from controller.service import Controller, open_controller
from controller.settings import ControllerSettings, TurnSettings
from desired_state.commands import installation, keys, manifests, subscriptions
from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.node import AuthRefs, Match, NodeSpec, SecretRef
from desired_state.model.policy import Policy
from desired_state.model.tariff import NodeSelector, Tariff
from desired_state.store import unit_of_work
from desired_state.store.engine import open_store
from desired_state.store.migrate import upgrade
from desired_state.store.settings import DatabaseSettings, StoreSettings

NODE, TARIFF = NodeName("bench"), TariffName("bench")
WIDE = Policy(
    max_delete_share=1.0, fleet_delete_share=1.0, max_delete_floor=10**6, require_xray=False
)


@dataclass
class Timed:
    """A run of the controller: wall and CPU seconds of this process, and what it reported."""

    wall_s: float
    cpu_s: float
    report: FleetReport


@dataclass
class Bench:
    """One node with its keys."""

    controller: Controller
    issued: list[tuple[KeyId, SubscriptionId]]

    async def issue(self, count: int) -> None:
        """Issue keys, in one transaction."""
        async with unit_of_work.begin(self.controller.store, "bench") as work:
            for _ in range(count):
                one = await keys.issue(work, TARIFF)
                self.issued.append((one.key.id, one.subscription.id))

    async def rotate(self) -> None:
        """Rotate every key."""
        async with unit_of_work.begin(self.controller.store, "bench") as work:
            for key, _ in self.issued:
                await keys.rotate(work, key)

    async def suspend(self) -> None:
        """Suspend every subscription."""
        async with unit_of_work.begin(self.controller.store, "bench") as work:
            for _, subscription in self.issued:
                await subscriptions.freeze(work, subscription)

    async def reconcile(self) -> Timed:
        """Reconcile the node and time it."""
        wall, cpu = time.perf_counter(), time.process_time()
        report = await self.controller.reconcile()
        return Timed(time.perf_counter() - wall, time.process_time() - cpu, report)


@asynccontextmanager
async def open_bench(target: Target, port: int) -> AsyncIterator[Bench]:
    """Open a controller over a fresh database that declares one node, matched by port."""
    os.environ["X3FLEET_BENCH_USERNAME"] = target.username
    os.environ["X3FLEET_BENCH_PASSWORD"] = target.password
    os.environ["X3FLEET_BENCH_TOKEN"] = target.token
    auth = AuthRefs(
        username=SecretRef("env", "X3FLEET_BENCH_USERNAME"),
        password=SecretRef("env", "X3FLEET_BENCH_PASSWORD"),
    )
    if target.token:
        auth = AuthRefs(token=SecretRef("env", "X3FLEET_BENCH_TOKEN"))
    node = NodeSpec(
        name=NODE, url=target.url, auth=auth, address="bench.example.net",
        matches=(Match(port=port),),
    )  # fmt: skip
    tariff = Tariff(TARIFF, "Месяц", "Month", 30, NodeSelector((), 1), traffic_bytes=10**12)
    with TemporaryDirectory() as folder:
        database = DatabaseSettings(url=f"sqlite:///{Path(folder) / 'bench.db'}")
        settings = ControllerSettings(
            store=StoreSettings(database=database),
            turns=TurnSettings(writing_s=3600, turn_s=7200, sample_s=0),
        )
        async with open_store(settings.store) as store:
            await upgrade(store)
            async with unit_of_work.begin(store, "bench") as work:
                await installation.prepare(work)
            async with unit_of_work.begin(store, "bench") as work:
                bundle = Bundle(
                    source="bench", revision="1", nodes=(node,), tariffs=(tariff,), policies=(WIDE,)
                )
                await manifests.apply_bundle(work, bundle)
        async with open_controller(settings) as controller:
            await controller.probe(NODE)  # Log in and detect: neither side pays for it below.
            yield Bench(controller, [])
