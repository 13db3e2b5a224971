"""`python -m benchmarks.service wake|dead|fleet|failover`: figures of a running service, one command each.

The service is the real command in a process of its own, panels are simulated in others, and what is
measured is read from outside: request logs of the panels, `/proc`, the database. Nothing is asserted: a
machine that is busy measures itself, so the load average stands beside every figure. Not here: ratios of
single turns (`stages`).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from rich.console import Console
from rich.table import Table

from benchmarks.failover import failover
from benchmarks.large import fleet
from benchmarks.latency import dead, wake
from benchmarks.running import Figure

BENCHES: dict[str, Callable[[argparse.Namespace, AsyncExitStack], Awaitable[list[Figure]]]] = {
    "wake": wake,
    "dead": dead,
    "fleet": fleet,
    "failover": failover,
}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--nodes", type=int, default=0, help="0: the size that the goal is about")
    parser.add_argument("--keys", type=int, default=500, help="of each node of `fleet`")
    parser.add_argument("--writes", type=int, default=100, help="of `wake` and `dead`")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long `fleet` is watched")
    parser.add_argument("--cost-us", type=int, default=50, help="of a panel's write, a client")
    parser.add_argument("--times", type=int, default=3, help="replicas killed by `failover`")
    return parser.parse_args()


async def _measure(options: argparse.Namespace) -> list[Figure]:
    async with AsyncExitStack() as stack:
        return await BENCHES[options.bench](options, stack)


def main() -> int:
    """Measure and print."""
    options = _parse()
    before = os.getloadavg()[0]
    table = Table("what", "measured", "goal", title=options.bench)
    for one in asyncio.run(_measure(options)):
        table.add_row(one.what, one.measured, one.goal)
    table.caption = (
        f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    )
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
