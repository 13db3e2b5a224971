"""200 nodes with 500 keys each: how fast they are filled, and what a converged fleet costs.

The floor of filling is the same bulk calls without any of our code. Callers: `service`.
"""

import argparse
import asyncio
import time
from contextlib import AsyncExitStack

import httpx

from benchmarks.panels import Target, open_raw
from benchmarks.running import PASSWORD, TARIFF, Figure, Rig, Service, open_rig, until
from desired_state.commands import keys
from desired_state.store import unit_of_work
from tests.drill.farm import Remote, farm

NODES, AT_ONCE = 200, 32
BATCH = 1_000
SCRAPE_S = 15.0


async def fleet(options: argparse.Namespace, stack: AsyncExitStack) -> list[Figure]:
    """Fill, wait until nothing is left to do, and watch."""
    nodes = options.nodes or NODES
    rig = await open_rig(stack, nodes)
    for panel in rig.panels.values():
        await panel.ask("/cost", {"per_client_us": options.cost_us})
    await _issue(rig, options.keys)
    async with rig.serving() as service:
        started_s, cpu_s = time.perf_counter(), service.cpu_s()
        await until(lambda: _filled(rig, options.keys), every_s=1.0)
        filled_s, filling_cpu_s = time.perf_counter() - started_s, service.cpu_s() - cpu_s
        # Every node has been looked at once more, and what filling left is settled.
        await asyncio.sleep(75)
        quiet, peak = await _watch(service, options.seconds)
        scraped, size = await _scraped(service, options.seconds)
    floor_s = await _floor(nodes, options.keys, options.cost_us)
    count = nodes * options.keys
    return [
        Figure(f"{count} keys filled", f"{filled_s:.0f} s, {count / filled_s:.0f} keys/s"),
        Figure(
            "floor: the same bulk calls alone", f"{floor_s:.0f} s, {count / floor_s:.0f} keys/s"
        ),
        Figure("CPU of the controller while filling", f"{filling_cpu_s:.0f} s"),
        Figure("converged: CPU of one core", f"{quiet:.1f} %", "under 10 %"),
        Figure("converged, /metrics read every 15 s", f"{scraped:.1f} %", "under 10 %"),
        Figure("one exposition", f"{size / 1e6:.1f} MB"),
        Figure("RSS, highest", f"{peak:.0f} MiB", "under 300 MB"),
    ]


async def _issue(rig: Rig, each: int) -> None:
    wanted = [node for node in rig.panels for _ in range(each)]
    for start in range(0, len(wanted), BATCH):
        async with unit_of_work.begin(rig.store, "bench") as work:
            for node in wanted[start : start + BATCH]:
                await keys.issue(work, TARIFF, node=node)


async def _filled(rig: Rig, each: int) -> bool:
    for panel in rig.panels.values():
        if (await panel.ask("/size"))["clients"] < each:
            return False
    return True


async def _watch(service: Service, seconds: float) -> tuple[float, float]:
    """Share of one core in percent, and the highest RSS in MiB."""
    before, started_s, peak = service.cpu_s(), time.perf_counter(), 0.0
    while time.perf_counter() - started_s < seconds:
        peak = max(peak, service.rss_mib())
        await asyncio.sleep(1)
    return 100 * (service.cpu_s() - before) / (time.perf_counter() - started_s), peak


async def _scraped(service: Service, seconds: float) -> tuple[float, int]:
    """The share with a scraper beside it, and how large an exposition is in bytes."""
    port = (await service.logged("telemetry_served"))["port"]
    size = 0

    async def scrape() -> None:
        nonlocal size
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                answer = await http.get(f"http://127.0.0.1:{port}/metrics")
                size = len(answer.content)
                await asyncio.sleep(SCRAPE_S)

    task = asyncio.create_task(scrape())
    share, _ = await _watch(service, seconds)
    task.cancel()
    return share, size


async def _floor(nodes: int, each: int, cost_us: int) -> float:
    """Seconds that panels take for the bulk calls alone, as many at once as the controller works on."""
    async with farm(("3.6.0", nodes), password=PASSWORD) as panels:
        for panel in panels:
            await panel.ask("/inbounds", {"protocol": "vless", "port": 21_643})
            await panel.ask("/cost", {"per_client_us": cost_us})
        gate, started_s = asyncio.Semaphore(AT_ONCE), time.perf_counter()
        await asyncio.gather(*(_fill_raw(panel, each, gate) for panel in panels))
        return time.perf_counter() - started_s


async def _fill_raw(panel: Remote, each: int, gate: asyncio.Semaphore) -> None:
    target = Target("floor", panel.url, username="keeper", password=PASSWORD)
    async with gate, open_raw(target) as raw:
        body = [
            {"client": {"email": f"floor-{n}", "enable": True}, "inboundIds": [1]}
            for n in range(each)
        ]
        await raw.call("POST", "panel/api/clients/bulkCreate", body)
