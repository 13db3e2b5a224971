"""A service that runs over simulated panels, and what can be seen of it from outside.

Callers: the benches of `service`. Panels and processes come from `tests.drill`. Not here: what is measured.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from desired_state.commands import installation, manifests
from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import NodeName, TariffName
from desired_state.model.node import AuthRefs, NodeSpec, SecretRef
from desired_state.model.policy import Policy
from desired_state.model.tariff import NodeSelector, Tariff
from desired_state.store import unit_of_work
from desired_state.store.engine import Store, open_store
from desired_state.store.migrate import upgrade
from desired_state.store.settings import DatabaseSettings, StoreSettings
from tests.drill.farm import ROOT, Remote, farm

PASSWORD = "panel-password"  # noqa: S105 - of simulated panels
TARIFF = TariffName("bench")
AUTH = AuthRefs(
    username=SecretRef("env", "BENCH_USERNAME"), password=SecretRef("env", "BENCH_PASSWORD")
)
WIDE = Policy(max_delete_share=1.0, fleet_delete_share=1.0, max_delete_floor=10**6, resync_s=60)
PANELS_EACH = 50
"""Panels in one process of the simulator."""


@dataclass(frozen=True)
class Figure:
    """One line: what, how much, and what it should be."""

    what: str
    measured: str
    goal: str = ""


@dataclass
class Service:
    """A controller in a process of its own. `lines`: what it logged."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def read(self) -> None:
        """Read its log until it ends."""
        async for raw in cast("asyncio.StreamReader", self.process.stderr):
            if raw.startswith(b"{"):
                self.lines.append(json.loads(raw))

    async def logged(self, event: str) -> dict[str, Any]:
        """Wait for an event of its log."""
        found: list[dict[str, Any]] = []
        await until(lambda: found.extend(e for e in self.lines if e["event"] == event) or found)
        return found[0]

    def cpu_s(self) -> float:
        """CPU seconds that it used so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


@dataclass
class Rig:
    """Panels, a database that declares them, and its store."""

    folder: Path
    store: Store
    panels: dict[NodeName, Remote]
    settings: dict[str, str]

    @asynccontextmanager
    async def serving(self, **settings: str) -> AsyncIterator[Service]:
        """Run a controller while the block runs."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", "controller",
            cwd=self.folder, env={**os.environ, **self.settings, **settings},
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        service = Service(process)
        reader = asyncio.create_task(service.read())
        try:
            await service.logged("controller_started")
            yield service
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
            await reader


async def until(holds: Callable[[], Any], every_s: float = 0.05) -> None:
    """Wait until something holds; a coroutine function is awaited."""
    while True:
        found = holds()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        await asyncio.sleep(every_s)


async def open_rig(
    stack: AsyncExitStack,
    nodes: int,
    *,
    url: str = "",
    key: str = "",
    elsewhere: dict[int, str] | None = None,
) -> Rig:
    """Start panels of 3.6.0 and declare them.

    Args:
        stack: ends everything.
        nodes: how many.
        url: of a database; an SQLite file of our own without one.
        key: that its secrets are encrypted with.
        elsewhere: addresses of some nodes, by number, instead of their panels'.
    """
    folder = Path(stack.enter_context(TemporaryDirectory()))
    counts = [min(PANELS_EACH, nodes - start) for start in range(0, nodes, PANELS_EACH)]
    panels = await stack.enter_async_context(
        farm(*(("3.6.0", count) for count in counts), password=PASSWORD)
    )
    await asyncio.gather(*(_listen(panel) for panel in panels))
    names = [NodeName(f"n-{number:03}") for number in range(nodes)]
    specs = [
        _spec(name, (elsewhere or {}).get(number, panel.url))
        for number, (name, panel) in enumerate(zip(names, panels, strict=True))
    ]
    database = url or f"sqlite:///{folder / 'bench.db'}"
    keys = {"encryption_keys": (key,)} if key else {}
    settings = StoreSettings.model_validate({"database": DatabaseSettings(url=database), **keys})
    store = await stack.enter_async_context(open_store(settings))
    await upgrade(store)
    async with unit_of_work.begin(store, "bench") as work:
        await installation.prepare(work)
    tariff = Tariff(TARIFF, "Месяц", "Month", 30, NodeSelector((), 1), traffic_bytes=10**12)
    async with unit_of_work.begin(store, "bench") as work:
        bundle = Bundle(
            source="bench", revision="1", nodes=tuple(specs), tariffs=(tariff,), policies=(WIDE,)
        )
        await manifests.apply_bundle(work, bundle)
    given = {
        "X3FLEET_DATABASE__URL": database,
        "X3FLEET_CONTROLLER__METRICS__PORT": "0",
        "BENCH_USERNAME": "keeper",
        "BENCH_PASSWORD": PASSWORD,
        "PYTHONPATH": str(ROOT),
    }
    if key:
        given["X3FLEET_ENCRYPTION_KEYS"] = key
    return Rig(folder, store, dict(zip(names, panels, strict=True)), given)


async def _listen(panel: Remote) -> None:
    await panel.ask("/inbounds", {"protocol": "vless", "port": 21_643})


def _spec(name: NodeName, url: str) -> NodeSpec:
    return NodeSpec(name=name, url=url, auth=AUTH, address=f"{name}.example.net")


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def now_ms() -> float:
    """The wall clock, as panels on this machine note it."""
    return time.time() * 1000
