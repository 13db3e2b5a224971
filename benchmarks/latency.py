"""From a write of desired state to the first byte at an idle panel; and the same beside dead panels.

Single writes, one after another, as customers make them; a burst would measure the panels. Callers:
`service`.
"""

import argparse
import asyncio
import random
from contextlib import AsyncExitStack

from benchmarks.running import TARIFF, Figure, Rig, Service, now_ms, open_rig, percentile, until
from desired_state.commands import keys
from desired_state.model.ids import KeyId, NodeName
from desired_state.store import unit_of_work

NODES, DEAD_SHARE = 20, 0.3
PAUSE_S = 0.5
"""Between two writes, once the last one has been done."""


async def wake(options: argparse.Namespace, stack: AsyncExitStack) -> list[Figure]:
    """Measure with every panel well: a key that is issued, and one that is rotated."""
    rig = await open_rig(stack, options.nodes or NODES)
    async with rig.serving() as service:
        well = list(rig.panels)
        await _settle(rig, service, well)
        issued = await _write(rig, well, options.writes)
    return [
        Figure("a key issued: write to first byte, p50", f"{percentile(issued, 0.5):.0f} ms"),
        Figure(
            "the same, p90, p95",
            f"{percentile(issued, 0.9):.0f} ms, {percentile(issued, 0.95):.0f} ms",
        ),
        Figure("the same, p99", f"{percentile(issued, 0.99):.0f} ms", "under 1000 ms"),
        Figure("the same, worst", f"{max(issued):.0f} ms"),
        Figure(
            "writes measured, of which later than 1 s",
            f"{len(issued)}, {sum(t > 1000 for t in issued)}",
        ),
    ]


async def dead(options: argparse.Namespace, stack: AsyncExitStack) -> list[Figure]:
    """Measure healthy nodes with none dead, then with 30 % dead: half refuse, half never answer."""
    nodes = options.nodes or NODES
    silent = await stack.enter_async_context(await asyncio.start_server(_hang, "127.0.0.1", 0))
    hangs = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    lost = round(DEAD_SHARE * nodes)
    doors = "http://127.0.0.1:9/", hangs
    # Each with a path of its own: nobody declares one panel twice.
    elsewhere = {n: f"{doors[n % 2]}dead-{n}/" for n in range(lost)}
    figures, p99 = [], []
    for name, gone in (("none dead", {}), (f"{lost} of {nodes} dead", elsewhere)):
        async with AsyncExitStack() as inner:
            rig = await open_rig(inner, nodes, elsewhere=gone)
            async with rig.serving() as service:
                well = list(rig.panels)[lost:]
                await _settle(rig, service, well)
                taken = await _write(rig, well, options.writes)
        p99.append(percentile(taken, 0.99))
        figures.append(
            Figure(f"{name}: p50, p99", f"{percentile(taken, 0.5):.0f} ms, {p99[-1]:.0f} ms")
        )
    growth = 100 * (p99[1] / p99[0] - 1)
    return [*figures, Figure("growth of p99", f"{growth:+.0f} %", "under +10 %")]


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _settle(rig: Rig, service: Service, well: list[NodeName]) -> None:
    """Give every node a key, and wait until the first looks are over and everybody is idle."""
    for node in rig.panels:
        await _issue(rig, node)
    for node in well:
        await until(lambda node=node: _holds(rig, node, 1))  # type: ignore[misc] # a default binds
    for _ in range(600):
        told = len(service.lines)
        await asyncio.sleep(2)
        if told == len(service.lines):
            return


async def _holds(rig: Rig, node: NodeName, count: int) -> bool:
    return int((await rig.panels[node].ask("/size"))["clients"]) >= count


async def _issue(rig: Rig, node: NodeName) -> KeyId:
    async with unit_of_work.begin(rig.store, "bench") as work:
        return (await keys.issue(work, TARIFF, node=node)).key.id


async def _write(rig: Rig, well: list[NodeName], count: int) -> list[float]:
    """Issue keys on random nodes; gives from each commit to the first request after it, in ms."""
    dice, taken = random.Random(1), []
    for _ in range(count):
        node = dice.choice(well)
        panel = rig.panels[node]
        await panel.ask("/requests", method="DELETE")
        held = int((await panel.ask("/size"))["clients"])
        await _issue(rig, node)
        written_ms = now_ms()
        await until(lambda node=node, held=held: _holds(rig, node, held + 1))  # type: ignore[misc] # defaults bind
        first = next(r for r in await panel.ask("/requests") if r["at_ms"] >= written_ms - 1)
        taken.append(max(0.0, first["at_ms"] - written_ms))
        await asyncio.sleep(PAUSE_S)
    return taken
