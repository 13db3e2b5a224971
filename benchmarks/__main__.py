"""`make bench`: prints one table of ratios, against simulated panels and, if named, a real one.

Every figure is measured in this run. `--quick` makes the sizes small, to see that it works.
"""

import argparse
import asyncio
import logging
import sys

import structlog
from rich.console import Console
from rich.table import Table

from benchmarks.panels import named_target, simulated
from benchmarks.stages import Row, growing, idle, writing

VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
FIRST_PORT = 24_100


async def measure(options: argparse.Namespace) -> list[Row]:
    """Run every stage on every panel."""
    keys = 100 if options.quick else 1_000
    rows: list[Row] = []
    named = named_target()
    if named is not None:
        rows += await writing(named, keys, min(keys, options.looped), (FIRST_PORT, FIRST_PORT + 1))
        rows += await idle(named, keys * 5, FIRST_PORT + 2)
    for version in () if options.only_named else VERSIONS:
        async with simulated(version) as target:
            rows += await writing(target, keys, keys, (FIRST_PORT, FIRST_PORT + 1))
            rows += await idle(target, keys * 5, FIRST_PORT + 2)
    if not options.only_named:
        async with simulated("3.6.0") as target:
            rows += await growing(target, (keys, keys * 10, keys * 50), FIRST_PORT + 10)
    return rows


def main() -> int:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only-named", action="store_true", help="the named panel alone")
    parser.add_argument("--looped", type=int, default=1000, help="keys of the plain loop")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    table = Table("panel", "what", "ours", "against", "ratio", "goal")
    for one in asyncio.run(measure(parser.parse_args())):
        table.add_row(one.panel, one.what, one.ours, one.against, one.ratio, one.goal)
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
