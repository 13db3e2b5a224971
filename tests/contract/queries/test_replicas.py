"""Who works on a database, as the query and `x3fleet replicas list` tell it."""

import asyncio
import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text, update

from controller.runtime.errors import HolderKind
from controller.runtime.lease import SoleLease
from controller.runtime.leases import ReplicaLease, Terms
from desired_state.queries.replicas import list_replicas
from desired_state.store.tables.status import ReplicaRow
from tests.builders import make_bundle, make_node_spec
from tests.data import rows
from tests.stores import KEY, SeededRandomness

ROOT = Path(__file__).parents[3]


async def read(store):
    async with store.reading() as session:
        return await list_replicas(session, store.clock.now())


@pytest.fixture
async def declared(store):
    """Two nodes."""
    await rows.apply(store, make_bundle(make_node_spec("nl-1"), make_node_spec("nl-2")))
    return store


async def told(store):
    """What the command prints, as JSON, and its exit code."""
    url = store.engine.url.set(drivername=store.engine.url.get_backend_name())
    settings = {
        "X3FLEET_DATABASE__URL": url.render_as_string(hide_password=False),
        "X3FLEET_ENCRYPTION_KEYS": KEY,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "replicas", "list", "--output", "json",
        cwd=ROOT, env={**os.environ, **settings}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    return process.returncode, json.loads(printed)


async def test_a_database_that_nobody_works_on_says_so(declared):
    expected = {"replicas": [], "leases": [], "unheld": ["nl-1", "nl-2"]}

    assert (0, expected) == await told(declared)


async def test_a_controller_that_is_alone_holds_every_node(declared):
    lease = SoleLease()
    await lease.take(declared, HolderKind.DAEMON)

    found = await read(declared)

    (one,) = found.replicas
    assert ("daemon", "live", True, ("nl-1", "nl-2"), None, os.getpid()) == (
        one.kind, one.state, one.leads, one.nodes, one.expires_in_s, one.pid,
    )  # fmt: skip
    assert () == found.unheld


async def test_a_controller_that_ended_holds_nothing(declared):
    lease = SoleLease()
    await lease.take(declared)
    await lease.release_all()

    found = await read(declared)

    assert [("one-shot", "left", False, ())] == [
        (r.kind, r.state, r.leads, r.nodes) for r in found.replicas
    ]
    assert ("nl-1", "nl-2") == found.unheld


async def test_a_killed_controller_is_not_called_live(declared):
    """Its row says so until the next start; its process id tells better."""
    lease = SoleLease()
    await lease.take(declared, HolderKind.DAEMON)
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    async with declared.recording() as session:
        await session.execute(update(ReplicaRow).values(pid=ended.pid))

    _, document = await told(declared)

    (one,) = document["replicas"]
    assert ("dead", False, []) == (one["state"], one["leads"], one["nodes"])
    assert ["nl-1", "nl-2"] == document["unheld"]


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_replicas_are_listed_with_what_each_of_them_holds(declared):
    leases = [
        ReplicaLease(replace(declared, randomness=SeededRandomness(n)), Terms(60, 0.001))
        for n in (7, 8)
    ]
    for lease in leases * 4:
        await lease._tick()

    code, document = await told(declared)
    listed = {one["id"]: one for one in document["replicas"]}
    for lease in leases:
        await lease.release_all()

    assert 0 == code
    assert 1 == sum(one["leads"] for one in listed.values())
    assert [["nl-1"], ["nl-2"]] == sorted(one["nodes"] for one in listed.values())
    assert {("replica", "live", socket.gethostname(), os.getpid())} == {
        (one["kind"], one["state"], one["host"], one["pid"]) for one in listed.values()
    }
    assert all(0 < one["expires_in_s"] <= 60 for one in listed.values())
    assert [] == document["unheld"]
    assert {"nl-1", "nl-2"} == {one["node"] for one in document["leases"]}


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_one_whose_lease_ran_out_is_late_until_somebody_declares_it_dead(declared):
    lease = ReplicaLease(declared, Terms(60, 0.001))
    await lease._tick()
    await lease._tick()
    async with declared.recording() as session:
        await session.execute(
            text("UPDATE status.replica SET expires_at = expires_at - interval '1 hour'")
        )

    found = await read(declared)
    await lease.release_all()

    assert ["late"] == [one.state for one in found.replicas]
    assert ("nl-1", "nl-2") == found.unheld
