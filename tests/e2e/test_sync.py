"""A fleet that follows a git repository, with nobody at the keyboard: the command as people run it."""

import asyncio
import json
import os
import signal

import psycopg
import pytest

from desired_state.store.secrets import make_key
from tests.e2e.operator import TARIFF, finish
from tests.e2e.operator import node as panel_node
from tests.integration.manifests.repositories import Repository, node
from tests.integration.runtime.serving import eventually
from tests.stores import Databases

PATIENCE_S = 60
"""Only how long a test that fails takes to say so."""


async def status_when(operator, holds, code=0):
    """Ask `manifests status` until it tells what is waited for, and give that."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            run = await operator.run("manifests", "status", "--output", "json")
            document = run.document
            if document["sources"] and holds(document["sources"][0]):
                assert code == run.code
                return document["sources"][0]
            await asyncio.sleep(0.2)


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "fleet.git")


async def test_a_commit_becomes_a_node_by_the_running_sync(operator, repository) -> None:
    """And a bad one changes nothing, is shown with its place, and is forgotten after a good one."""
    await operator.ask("db", "upgrade")
    first = repository.commit({"nl.yaml": node("nl-1")})
    operator.settings["X3FLEET_SYNC__REPOSITORY"] = f"file://{repository.path}"
    process = await operator.start("sync", X3FLEET_SYNC__EVERY_S="1")
    await status_when(operator, lambda found: found["applied"] == first)

    second = repository.commit({"nl.yaml": node("nl-1"), "de.yaml": node("de-1")})
    await status_when(operator, lambda found: found["applied"] == second)
    bad = repository.commit({"nl.yaml": node("nl-1").replace(":2053", ":99999")})
    refused = await status_when(operator, lambda found: found["fetched"] == bad, code=2)
    listed = await operator.ask("nodes", "list")
    # A forced push, over the bad one.
    forced = repository.commit({"de.yaml": node("de-1")}, onto=None)
    well = await status_when(operator, lambda found: found["applied"] == forced)
    process.send_signal(signal.SIGTERM)
    ended = await finish(process)

    assert ["de-1", "nl-1"] == [one["node"] for one in listed["nodes"]]
    assert (second, False) == (refused["applied"], refused["in_force"])
    (fault,) = refused["error"]["faults"]
    assert ("nl.yaml", 6, "spec.panel.url") == (fault["file"], fault["line"], fault["field"])
    assert (None, True, [{"node": "nl-1", "draining": False}]) == (
        well["error"], well["in_force"], well["orphans"],
    )  # fmt: skip
    assert 0 == ended.code, ended.err
    events = [json.loads(line)["event"] for line in ended.err.splitlines()]
    assert ["manifest_loaded", "manifest_loaded", "manifest_rejected", "source_recovered"] == (
        events[:4]
    )


async def test_once_looks_once_and_says_by_its_exit_code_whether_it_is_in_force(
    operator, repository
) -> None:
    await operator.ask("db", "upgrade")
    good = repository.commit({"nl.yaml": node("nl-1")})
    operator.settings["X3FLEET_SYNC__REPOSITORY"] = str(repository.path)

    applied = await operator.ask("sync", "--once")
    again = await operator.ask("sync", "--once")
    bad = repository.commit({"nl.yaml": "kind: Nod"})
    refused = await operator.ask("sync", "--once", code=1)
    told = await operator.run("sync", "--once")

    source = f"{repository.path}#main"
    assert {
        "source": source, "fetched": good, "applied": good, "differences": 1, "error": None,
    } == applied  # fmt: skip
    assert {**applied, "differences": 0} == again
    assert (bad, good, "manifest_schema") == (
        refused["fetched"], refused["applied"], refused["error"]["code"],
    )  # fmt: skip
    assert f"{good[:12]} stays in force" in told.out
    assert "nl.yaml:1:" in told.out


async def test_without_a_source_sync_says_what_to_set(operator) -> None:
    await operator.ask("db", "upgrade")

    run = await operator.run("sync")

    assert 1 == run.code
    assert "X3FLEET_SYNC__DIRECTORY or X3FLEET_SYNC__REPOSITORY" in run.err


async def test_a_wrong_setting_stops_the_start_and_repeats_no_secret(operator) -> None:
    await operator.ask("db", "upgrade")

    run = await operator.run(
        "sync", X3FLEET_SYNC__REPOSITORY="https://git:hunter2@git.example.net/fleet.git"
    )

    assert (1, True) == (run.code, "X3FLEET_SYNC__TOKEN" in run.err)
    assert "hunter2" not in run.err + run.out


class TestGrants:
    """`x3fleet db grants` against a real server."""

    @pytest.fixture
    def backend(self) -> str:
        return "postgresql"

    async def test_rights_are_printed_as_sql_and_applied_as_the_same(
        self, operator, databases: Databases
    ) -> None:
        url = databases.empty()
        operator.settings |= {
            "X3FLEET_DATABASE__URL": url, "X3FLEET_ENCRYPTION_KEYS": make_key(),
        }  # fmt: skip
        await operator.ask("db", "upgrade")
        prefix = f"x3e{os.getpid()}"

        printed = await operator.run("db", "grants", "--prefix", prefix)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(printed.out.encode())
            by_hand = rights(connection)
            connection.execute(f"REVOKE ALL ON desired.node FROM {prefix}_front_end".encode())
            applied = await operator.ask("db", "grants", "--apply", "--prefix", prefix)
            by_command = rights(connection)
            for role in applied["roles"].values():
                connection.execute(f"DROP OWNED BY {role}".encode())
                connection.execute(f"DROP ROLE {role}".encode())

        assert by_hand == by_command
        assert {f"{prefix}_front_end", f"{prefix}_controller", f"{prefix}_subscription"} == set(
            applied["roles"].values()
        )


def rights(connection: "psycopg.Connection[tuple[object, ...]]") -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace IN"
        " ('desired'::regnamespace, 'status'::regnamespace) AND relkind IN ('r', 'S') ORDER BY 1"
    ).fetchall()


async def test_what_was_applied_by_hand_is_transferred_to_the_source(operator, repository) -> None:
    """From a folder into git without a node being lost in between."""
    await operator.ask("db", "upgrade")
    fleet = operator.declare(node("nl-1"), tariff=node("nl-2"))
    await operator.ask("manifests", "apply", str(fleet))
    repository.commit({"nl.yaml": node("nl-1"), "nl2.yaml": node("nl-2")})
    operator.settings["X3FLEET_SYNC__REPOSITORY"] = str(repository.path)

    refused = await operator.ask("sync", "--once", code=1)
    moved = await operator.ask("manifests", "transfer", str(fleet))
    applied = await operator.ask("sync", "--once")

    assert "conflict" == refused["error"]["code"]
    assert {"before": str(fleet), "source": f"{repository.path}#main", "moved": 2} == moved
    assert (None, 0) == (applied["error"], applied["differences"])


async def test_a_merged_manifest_becomes_a_filled_node_of_the_running_service(
    operator, repository, start_panel
) -> None:
    """`x3fleet run`, one commit, and the key of a customer is on the new panel."""
    first, second = await start_panel("3.2.8"), await start_panel("2.9.4", seed=1)
    await operator.ask("db", "upgrade")
    one = {"tariff.yaml": TARIFF, "nl.yaml": panel_node("nl-1", first.url)}
    repository.commit(one)
    operator.settings |= {
        "X3FLEET_SYNC__REPOSITORY": str(repository.path),
        "X3FLEET_SYNC__EVERY_S": "1",
        "X3FLEET_CONTROLLER__METRICS__PORT": "0",
    }
    await operator.ask("sync", "--once")
    await operator.ask("keys", "issue", "--tariff", "all")
    process = await operator.start("run")
    await eventually(lambda: first.emails)

    repository.commit({**one, "de.yaml": panel_node("de-1", second.url)})
    await eventually(lambda: second.emails)
    process.send_signal(signal.SIGTERM)
    ended = await finish(process)

    assert 0 == ended.code, ended.err
    assert 1 == len(first.emails) == len(second.emails)
