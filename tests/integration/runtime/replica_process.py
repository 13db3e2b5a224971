"""One replica as a process of its own, for tests that kill it or stop it in the middle of a turn.

The real lease, worker, reader, records and panels; told by one JSON argument what to do, it tells by JSON
lines on stdout what it holds and what befell it, and ends in order when its stdin closes.

Argument: `url` of the database, `name` (the user agent that panels see), `ttl_s`, `renew_s`,
`removes_after_s`, `turns` (whether to work), `stop_at` (the effect before which the process stops itself,
once, `Write create` and `Write delete` among them), `skew_s` (its wall clock is wrong by so much, and
wrong by another amount every second).
"""

import asyncio
import json
import os
import signal
import sys
import time
from datetime import timedelta

import httpx

from controller.core import effects as fx
from controller.jobs.place import place
from controller.panels.api.clock import SystemClock
from controller.panels.panel import PanelPool
from controller.runtime.errors import LeaseLost
from controller.runtime.leases import ReplicaLease, Terms
from controller.runtime.looks import Looks
from controller.runtime.reads import Reader
from controller.runtime.records import Records
from controller.runtime.versions import StatusVersions
from controller.runtime.worker import Worker
from desired_state.store.engine import open_store
from desired_state.store.errors import StoreError
from tests.stores import settings_for


def say(event, **values):
    print(json.dumps({"event": event, "at_s": time.monotonic(), **values}), flush=True)


class WrongClock(SystemClock):
    """Wall time that jumps about; the monotonic clock is the machine's."""

    def __init__(self, skew_s):
        self._skew_s = skew_s

    def now(self):
        sign = -1 if int(time.monotonic()) % 2 else 1
        return super().now() + timedelta(seconds=sign * self._skew_s)


class Stoppable(Worker):
    """A worker that stops its process before one effect, and tells what the lease refused."""

    stop_at = ""

    async def _execute(self, turn, effect):
        name = type(effect).__name__
        if isinstance(effect, fx.Write):
            name = f"Write {effect.verb}"
        if self.stop_at == name:
            self.stop_at = ""
            say("stopping", effect=name)
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            result = await super()._execute(turn, effect)
        except LeaseLost:
            say("fenced", effect=name)
            raise
        if isinstance(effect, fx.Write):
            say("write", verb=str(effect.verb), verdict=str(result.verdict), cause=result.cause)
        return result


async def work(worker, lease, store):
    """Turn after turn over what is held."""
    while True:
        if lease.leads:
            try:
                await place(store, store.clock.now(), lease)
            except (StoreError, LeaseLost) as error:
                say("not placed", error=str(error))
        for node in sorted(lease.nodes()):
            turn = await worker.turn(node)
            result = turn.result
            in_sync = result is not None and result.is_in_sync
            why = (
                []
                if result is None
                else [f"{c.reason}: {c.message}" for c in result.status.conditions]
            )
            say("turn", node=node, in_sync=in_sync, why=why, error=turn.error)
        await asyncio.sleep(0.1)


async def tell(lease):
    """Say what is held whenever that changes."""
    before = None
    while True:
        now = {"id": lease.id, "nodes": sorted(lease.nodes()), "leads": lease.leads}
        if now != before:
            say("holds", **now, epochs={node: lease.epoch(node) for node in now["nodes"]})
            before = now
        await asyncio.sleep(0.05)


def sign(name):
    """Let panels tell this process from others."""
    build = httpx.AsyncClient.build_request

    def signed(client, *arguments, **options):
        request = build(client, *arguments, **options)
        request.headers["User-Agent"] = name
        return request

    httpx.AsyncClient.build_request = signed


async def main(wanted):
    sign(wanted["name"])
    clock = WrongClock(wanted.get("skew_s", 0))
    terms = Terms(wanted["ttl_s"], wanted["renew_s"], wanted.get("removes_after_s", 30.0))
    async with open_store(settings_for(wanted["url"], wanted["key"]), clock=clock) as store:
        lease = ReplicaLease(store, terms)
        versions, pool = StatusVersions(), PanelPool(clock=clock)
        records = Records(store, versions, lease)
        worker = Stoppable(
            Reader(store, versions, lease), records, pool, lease,
            clock=clock, randomness=store.randomness, looks=Looks(lease, clock, store),
        )  # fmt: skip
        worker.stop_at = wanted.get("stop_at", "")
        tasks = [asyncio.create_task(lease.run()), asyncio.create_task(tell(lease))]
        if wanted.get("turns", True):
            tasks.append(asyncio.create_task(work(worker, lease, store)))
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[1:]:
            task.cancel()
        await lease.release_all()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        worker.close()
        await pool.close()
    say("left")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
