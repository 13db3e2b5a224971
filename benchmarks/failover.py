"""A replica that is killed: how long until every node of its is held by another one.

Three real replicas on a PostgreSQL server of our own, TTL 15 s and renewal 5 s. Callers: `service`.
"""

import argparse
import asyncio
import signal
import time
from contextlib import AsyncExitStack

from benchmarks.running import Figure, open_rig, until
from desired_state.store.secrets import make_key
from tests.drill.books import watching
from tests.stores import serve_postgres

NODES, REPLICAS = 30, 3
TTL_S, RENEW_S = 15, 5


async def failover(options: argparse.Namespace, stack: AsyncExitStack) -> list[Figure]:
    """Kill one, wait until the others hold everything, start another one; so many times."""
    nodes = options.nodes or NODES
    server = stack.enter_context(serve_postgres())
    rig = await open_rig(stack, nodes, url=server, key=make_key())
    terms = {
        "X3FLEET_CONTROLLER__REPLICAS__TTL_S": str(TTL_S),
        "X3FLEET_CONTROLLER__REPLICAS__RENEW_S": str(RENEW_S),
    }
    names: dict[int, str] = {}
    taken = []
    async with AsyncExitStack() as running, watching(rig.store, names) as watch:
        live = []
        for number in range(REPLICAS - 1 + options.times):
            service = await running.enter_async_context(rig.serving(**terms))
            names[service.process.pid] = name = f"replica-{number}"
            live.append((name, service))
            if len(live) < REPLICAS:
                continue
            share = nodes // REPLICAS
            await until(lambda: all(len(watch.of(n)) >= share for n, _ in live))  # noqa: B023 - awaited at once
            await asyncio.sleep(RENEW_S / 2)
            doomed, process = live.pop(0)
            lost, killed_s = watch.of(doomed), time.time()
            process.process.send_signal(signal.SIGKILL)
            await until(lambda: not watch.of(doomed) and len(watch.now) > nodes)  # noqa: B023 - awaited at once
            first = {
                node: min(
                    r.taken_at.timestamp()
                    for r in watch.seen.values()
                    if r.node == node and r.taken_at.timestamp() > killed_s
                )
                for node in lost
            }
            taken.append((len(lost), max(first.values()) - killed_s))
    shown = ", ".join(f"{seconds:.1f} s ({count} nodes)" for count, seconds in taken)
    goal = f"within {TTL_S + RENEW_S} s"
    return [
        Figure("kills, each: all nodes taken after", shown, goal),
        Figure("worst", f"{max(seconds for _, seconds in taken):.1f} s", goal),
    ]
