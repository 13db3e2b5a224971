"""`python -m tests.soak --minutes 70`: a service under steady life, measured in windows; prints JSON lines.

The real service parts (worker, store, queues, jobs, endpoints) over simulated panels on loopback. What is
compressed: time in which nothing is at work passes at once (`tests.fakes.hasty`); after each window six days
go by in which nothing happens, so that retention has something to remove; ticks of jobs come by the
service's time. Callers: the test beside this. Not here: what is too much.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import time
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from controller.daemon import Daemon, Extra
from controller.parts import equip
from controller.runtime.queue import Priority
from controller.settings import MetricsSettings, RetentionSettings, ServiceSettings
from desired_state.commands.retention import prune
from desired_state.commands.settings import PruneSettings
from desired_state.model.policy import Policy
from tests.fakes.hasty import LoopClock, run_hasty
from tests.integration.runtime.fleet import Wanted, open_fleet
from tests.soak.life import Life
from tests.soak.measure import read

VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
OPEN_HANDED = Policy(
    max_delete_share=1.0, max_delete_floor=1000, fleet_delete_share=1.0, require_xray=False
)
DAYS_BETWEEN = 6
RETENTION = RetentionSettings(
    events_days=12, cycles_days=12, notifications_days=12, answers_days=12, tombstones_days=30
)
PRUNE = PruneSettings(
    audit_days=12, requests_days=12, approvals_days=12, keys_days=12, tokens_days=12
)
SETTLES_WITHIN_S = 900.0


class _Environment:
    """What `open_fleet` sets variables by."""

    def setenv(self, name: str, value: str) -> None:
        os.environ[name] = value


def main() -> int:
    """Run, and print a line for each window."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=int, default=75)
    parser.add_argument("--versions", nargs="+", default=VERSIONS * 2, help="of panels")
    parser.add_argument("--minute-s", type=float, default=60.0, help="a sample's are shorter")
    parser.add_argument("--window", type=int, default=5, help="minutes between two readings")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument(
        "--trace", type=int, default=0, help="from which minute on lines are compared"
    )
    options = parser.parse_args()
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent)
    run_hasty(soak(options))
    return 0


def tell(kind: str, **values: Any) -> None:
    """Print one line."""
    print(json.dumps({"kind": kind, **values}), flush=True)


async def soak(options: argparse.Namespace) -> None:
    """Live for so many minutes, in windows."""
    clock, started_s = LoopClock(), time.process_time()
    wanted = {f"n{number}": Wanted(version) for number, version in enumerate(options.versions)}
    with TemporaryDirectory() as folder:
        async with open_fleet(
            Path(folder), _Environment(), policies=(OPEN_HANDED,), clock=clock, **wanted
        ) as fleet:
            life = Life(fleet, clock, random.Random(options.seed))
            life.begin()
            daemon = _daemon(fleet.controller)
            stop = asyncio.Event()
            task = asyncio.create_task(daemon.run(stop))
            await _windows(options, life, daemon)
            stop.set()
            clean = await task
            tell(
                "end", clean=clean, done=life.done, series_of_time_s=round(clock.monotonic()),
                cpu_s=round(time.process_time() - started_s, 1),
            )  # fmt: skip


def _daemon(controller: Any) -> Daemon:
    settings = ServiceSettings(metrics=MetricsSettings(port=0), retention=RETENTION)
    daemon = Daemon(controller)
    equip(daemon, settings)
    daemon.extras.append(Extra("ticks", lambda: _tick(daemon, periods)))
    # The scheduler of ticks stands on the machine's clock, which knows nothing of our hour.
    periods = {job.name: job.every_s for job in daemon.jobs if job.every_s}
    daemon.jobs = [replace(job, every_s=0) for job in daemon.jobs]
    return daemon


async def _tick(daemon: Daemon, periods: dict[str, float]) -> None:
    now = asyncio.get_running_loop().time
    due = {name: now() + period for name, period in periods.items()}
    while True:
        await asyncio.sleep(1)
        for name, at in due.items():
            if at <= now():
                daemon._job_queue.add(name, priority=Priority.ROUTINE)
                due[name] = now() + periods[name]


async def _windows(options: argparse.Namespace, life: Life, daemon: Daemon) -> None:
    store = life.fleet.controller.store
    before = None
    for number in range(options.minutes):
        begun_s = life.clock.monotonic()
        await life.minute(number)
        await asyncio.sleep(max(0.0, options.minute_s - (life.clock.monotonic() - begun_s)))
        if (number + 1) % options.window:
            continue
        life.revive()
        settled_s = await _settle(life, daemon)
        await prune(store, PRUNE)
        daemon._job_queue.add("retention", priority=Priority.ROUTINE)
        await asyncio.sleep(10)
        reading = await read(store)
        tell("window", minutes=number + 1, settled_s=settled_s, **asdict(reading))
        if options.trace and number + 1 >= options.trace:
            before = _traced(before)
        life.clock.skip(days=DAYS_BETWEEN)


async def _settle(life: Life, daemon: Daemon) -> float | None:
    """Wait until every panel holds exactly what was sold; None: it did not come to that in time."""
    began_s = life.clock.monotonic()
    while life.clock.monotonic() - began_s < SETTLES_WITHIN_S:
        held = [email for site in life.fleet.sites.values() for email in site.ours()]
        if len(held) == len(life.sold) and not daemon.nodes.running():
            return round(life.clock.monotonic() - began_s)
        await life._approve()
        await asyncio.sleep(5)
    return None


def _traced(before: Any) -> Any:
    """Tell which lines hold more than at the first window that was traced."""
    if not tracemalloc.is_tracing():
        tracemalloc.start(6)
        return None
    now = tracemalloc.take_snapshot()
    if before is None:
        return now
    grown = now.compare_to(before, "traceback")[:8]
    tell("grown", lines=[(g.size_diff, g.count_diff, g.traceback.format()[-4:]) for g in grown])
    return before


if __name__ == "__main__":
    sys.exit(main())
