"""The endpoints on a real port: an exposition that Prometheus takes, health that can fail, a stop."""

import asyncio
import signal
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from controller.jobs.snapshot import FleetView, read_fleet
from controller.telemetry import endpoints, metrics
from controller.telemetry.collector import FleetCollector
from controller.telemetry.endpoints import Exposition, Health, TelemetryServer, make_app
from controller.telemetry.marks import NodeMarks
from controller.telemetry.observers import StoreMeter
from desired_state.model.errors import ConfigError
from desired_state.store.errors import StoreError, StoreUnreachable
from tests.data.datasets import DATASETS, NL1
from tests.tools import PROMTOOL, needs_promtool


@pytest.fixture
def backend():
    return "sqlite"


@asynccontextmanager
async def serving(exposition=None, health=None):
    """Serve on a free port; gives a client, and ends the server as the supervisor does."""
    server = TelemetryServer(
        make_app(exposition or Exposition(), health or Health()), "127.0.0.1", 0
    )
    task = asyncio.create_task(server.run())
    await server.started.wait()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def fleet_shown(store):
    """Expose a store's fleet in the registry of the process."""
    marks = NodeMarks(store.clock.now)
    collector = FleetCollector(marks, lambda: None, store.clock.now)
    view = FleetView(store, collector.show, store.clock.now)
    exposition = Exposition(prepare=(view.refresh,))
    with exposition.showing(collector):
        yield exposition, view
    marks.keep(())


@needs_promtool
async def test_promtool_accepts_the_exposition(store):
    await DATASETS["fleet without keys"](store)

    async with fleet_shown(store) as (exposition, _), serving(exposition) as client:
        text = (await client.get("/metrics")).text

    check = await asyncio.to_thread(
        subprocess.run, [PROMTOOL, "check", "metrics"], input=text, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (0, "", "") == (check.returncode, check.stdout, check.stderr)


async def test_the_exposition_holds_the_fleet_of_the_database(store):
    await DATASETS["fleet without keys"](store)

    async with fleet_shown(store) as (exposition, _), serving(exposition) as client:
        answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert (
        f'x3fleet_node_condition{{condition="Ready",node="{NL1}",status="True"}} 1.0' in answer.text
    )
    assert "process_resident_memory_bytes" in answer.text


async def test_a_burst_of_scrapes_reads_the_database_once(store):
    await DATASETS["fleet without keys"](store)
    shown = []
    view = FleetView(store, shown.append, store.clock.now)

    await asyncio.gather(*(view.refresh() for _ in range(5)))
    store.clock.advance(seconds=6)
    await view.refresh()

    assert 2 == len(shown)


async def test_a_database_that_fails_leaves_the_last_series(store):
    await DATASETS["fleet without keys"](store)

    async with fleet_shown(store) as (exposition, _), serving(exposition) as client:
        await client.get("/metrics")
        store.clock.advance(minutes=1)
        await lose_status(store)
        answer = await client.get("/metrics")

    assert 200 == answer.status_code
    assert f'node="{NL1}"' in answer.text


async def lose_status(store):
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE node_status RENAME TO lost")


async def test_failures_and_waits_of_the_database_are_counted_where_they_happen(store):
    watched = replace(store, watcher=StoreMeter())
    faults, waits = metrics.DB_ERRORS.labels("other")._value, metrics.DB_LOCK_WAIT
    before = faults.get(), waits._sum.get()

    async with watched.recording():
        pass
    await lose_status(store)
    with pytest.raises(StoreError):
        await read_fleet(watched, store.clock.now())

    assert before[0] + 1 == faults.get()
    assert before[1] < waits._sum.get()


async def fine():
    return ""


async def behind():
    return "the tables are of an older release"


async def unreachable():
    raise StoreUnreachable("the database at a secret place does not answer")


@pytest.mark.parametrize(
    ("alive", "ready", "healthz", "readyz", "faults"),
    [
        pytest.param(fine, fine, 200, 200, {}, id="all is well"),
        pytest.param(
            fine, behind, 200, 503, {"database": "the tables are of an older release"},
            id="not ready is no reason to restart",
        ),
        pytest.param(
            behind, fine, 503, 503, {"loop": "the tables are of an older release"}, id="not alive"
        ),
        pytest.param(
            fine, unreachable, 200, 503, {"database": "store_unreachable"},
            id="a failing check tells its code and nothing more",
        ),
    ],
)  # fmt: skip
async def test_health_says_what_is_wrong(alive, ready, healthz, readyz, faults):
    async with serving(health=Health({"loop": alive}, {"database": ready})) as client:
        answers = [await client.get(path) for path in ("/healthz", "/readyz")]

    assert [healthz, readyz] == [answer.status_code for answer in answers]
    assert faults == answers[1].json()["faults"]


async def test_a_check_that_hangs_has_failed(monkeypatch):
    monkeypatch.setattr(endpoints, "CHECK_S", 0.01)

    async with serving(health=Health(ready={"database": asyncio.Event().wait})) as client:
        answer = await client.get("/readyz")

    assert 503 == answer.status_code
    assert ["database"] == list(answer.json()["faults"])


async def test_openmetrics_is_spoken_to_those_who_ask_for_it():
    async with serving() as client:
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_signals_stay_with_whoever_owns_the_loop():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    async with serving() as client:
        await client.get("/healthz")
        during = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    assert before == during


async def test_a_stopped_server_gives_its_port_back():
    async with serving() as client:
        url = client.base_url

    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient().get(url)


async def test_a_port_in_use_is_told_with_what_to_set():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = TelemetryServer(make_app(Exposition(), Health()), *taken.getsockname())

        with pytest.raises(ConfigError, match="X3FLEET_CONTROLLER__METRICS__PORT"):
            await server.run()


async def test_a_collector_is_asked_only_while_it_is_shown():
    registry = CollectorRegistry()
    gauge = Gauge("x3fleet_shown", "For this test.", registry=None)

    with Exposition(registry).showing(gauge):
        during = registry.get_sample_value("x3fleet_shown")

    assert (0.0, None) == (during, registry.get_sample_value("x3fleet_shown"))
