"""Two controllers on one PostgreSQL database: they share the nodes, and one that is killed is replaced."""

import asyncio
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
