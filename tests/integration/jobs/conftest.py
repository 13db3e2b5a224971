"""What tests of jobs share: a fleet, its conditions, and proof that desired state stays as it is."""

import pytest
from sqlalchemy import select

from desired_state.store.tables.status import NotificationRow
from tests.data import rows
from tests.data.datasets import DATASETS


@pytest.fixture
async def fleet(store):
    """Three ready nodes."""
    await DATASETS["fleet without keys"](store)
    return store


@pytest.fixture
def lose(fleet):
    """Let a node be unreachable from now on."""

    async def lose_node(node):
        now = fleet.clock.now()
        await rows.replace_status(fleet, node, rows.condition("Unreachable", "Timeout", now))

    return lose_node


@pytest.fixture
def told(fleet):
    """Read what was told: state and alert of each notification, in order."""

    async def read():
        async with fleet.reading() as session:
            found = await session.scalars(select(NotificationRow).order_by(NotificationRow.id))
            return [(row.state, row.alert) for row in found]

    return read
