"""A whole service over simulated panels: what it exposes, what it tells, and that neither holds a secret."""

import asyncio
import os
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from itertools import count

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from controller.daemon import Daemon
from controller.parts import equip
from controller.settings import ServiceSettings
from controller.telemetry.observers import PanelExchanges
from desired_state.store.tables.status import EventRow, NotificationRow
from tests.integration.jobs.receiver import receiving
from tests.integration.runtime.fleet import Wanted, open_fleet
from tests.integration.runtime.serving import EAGER, eventually
from tests.tools import PROMTOOL, needs_promtool

SECRET = "the secret that signs webhooks"


NOBODY = "http://127.0.0.1:1"
PORTS = count(10_000 + os.getpid() * 13 % 20_000)


def free_port():
    """Find a port below those that the system gives to whoever connects: none of them takes it meanwhile."""
    for port in PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no end of numbers")


@asynccontextmanager
async def serving(fleet, port, hook):
    """Run a service with every part, eager and undamped."""
    daemon = Daemon(fleet.controller, EAGER)
    settings = {
        "metrics": {"port": port},
        "alerts": {"every_s": 0.3, "hold_s": 0, "recover_s": 0},
        "webhooks": {"urls": (hook.url,), "secret": SECRET},
    }
    equip(daemon, ServiceSettings.model_validate(settings))
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: answers(client))
            yield client
    finally:
        stop.set()
        clean = await task
    assert clean


async def answers(client):
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def scrape(client):
    text = (await client.get("/metrics")).text
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, frozenset(sample.labels.items())] = sample.value
    return text, samples


def value(samples, series, **labels):
    return samples.get((series, frozenset(labels.items())))


@asynccontextmanager
async def open_all(tmp_path, monkeypatch):
    async with (
        open_fleet(
            tmp_path, monkeypatch, count=None, observer=PanelExchanges(),
            one=Wanted("3.6.0"), two=Wanted("2.9.4"),
        ) as fleet,
        receiving(SECRET) as hook,
        serving(fleet, free_port(), hook) as client,
    ):  # fmt: skip
        yield fleet, hook, client


async def test_a_filled_fleet_shows_in_its_metrics(tmp_path, monkeypatch):
    async with open_all(tmp_path, monkeypatch) as (fleet, _, client):
        _, before = await scrape(client)
        await fleet.issue(2)

        async def is_shown():
            samples = (await scrape(client))[1]
            live = [value(samples, "x3fleet_keys", node=n, state="live") for n in ("one", "two")]
            return samples if live == [2.0, 2.0] else None

        samples = await eventually(is_shown)

    for node in ("one", "two"):
        ready = {"node": node, "condition": "Ready", "status": "True"}
        done = {"node": node, "action": "create", "result": "applied"}
        sent = {"node": node, "verb": "create", "result": "applied"}
        assert 1.0 == value(samples, "x3fleet_node_condition", **ready)
        assert 2.0 <= value(samples, "x3fleet_actions_total", **done)
        assert 1.0 <= value(samples, "x3fleet_panel_requests_total", **sent)
        assert 0.0 < value(samples, "x3fleet_panel_latency_seconds", node=node, verb="read")
        assert 1.0 == value(samples, "x3fleet_lease_held", node=node)
    name = "x3fleet_key_first_ready_seconds_count"
    assert value(before, name) + 4 == value(samples, name)


@needs_promtool
async def test_promtool_accepts_what_a_working_service_exposes(tmp_path, monkeypatch):
    async with open_all(tmp_path, monkeypatch) as (fleet, _, client):
        await fleet.issue()
        await eventually(fleet["two"].ours)
        text, _ = await scrape(client)

    check = await asyncio.to_thread(
        subprocess.run, [PROMTOOL, "check", "metrics"], input=text, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (0, "", "") == (check.returncode, check.stdout, check.stderr)


async def test_a_dead_panel_and_its_return_reach_the_webhook(tmp_path, monkeypatch):
    async with open_all(tmp_path, monkeypatch) as (fleet, hook, _):
        await fleet.declare("two", url=f"{NOBODY}/")
        (first,) = await eventually(lambda: list(hook.accepted.values()))
        await fleet.declare("two", url=fleet["two"].url)
        first, second = await eventually(lambda: two_of(hook.accepted))

    assert ("node/two/Unreachable", "firing", "two") == (
        first["alert"], first["state"], first["node"],
    )  # fmt: skip
    assert ("resolved", first["id"]) == (second["state"], second["resolves"])


def two_of(accepted):
    return list(accepted.values()) if len(accepted) == 2 else None


async def test_nothing_that_is_told_holds_a_secret(tmp_path, monkeypatch, capsys):
    """Metrics, webhooks, history and logs of a service that works and fails."""
    async with open_all(tmp_path, monkeypatch) as (fleet, hook, client):
        await fleet.issue(2)
        await eventually(lambda: len(fleet["two"].ours()) == 2)
        records = [*fleet["one"].clients().values(), *fleet["two"].clients().values()]
        await fleet.declare("two", url=f"{NOBODY}/secret-base-path/")
        await eventually(lambda: hook.accepted)
        text, _ = await scrape(client)
        told = text + repr(hook.requests) + await stored(fleet) + "".join(capsys.readouterr())

    secrets = {SECRET, "secret-base-path", Wanted("3.6.0").password} | {
        str(record[name])
        for record in records
        for name in ("id", "uuid", "password", "auth", "subId")
        if len(str(record.get(name) or "")) > 8
    }
    assert len(secrets) >= 7
    assert [] == sorted(secret for secret in secrets if secret in told)


async def stored(fleet):
    """Every line of history and every notification, as text."""
    async with fleet.controller.store.reading() as session:
        rows = [*await session.scalars(select(EventRow))]
        rows += await session.scalars(select(NotificationRow))
    return repr([vars(row) for row in rows])
