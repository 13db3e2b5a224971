"""Keeps how many keys each node holds, every few hours, so that a trend can be told.

A job: run by one replica of an installation. A moment that was sampled lately is not sampled again, so
that restarts make no difference. Callers: service. Not here: the trend, signals
(`desired_state.scheduling.capacity`).
"""

from datetime import timedelta

from sqlalchemy import func, select

from desired_state.queries.capacity import read_rooms
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.tables.measures import CapacitySampleRow

SAMPLED_EVERY_S = 3600.0
APART = timedelta(hours=3)
"""A week of these is 56 points: enough for a line, and few rows for a thousand nodes."""


class CapacitySamples:
    """The job.

    Args:
        store: the database.
        clock: the wall clock.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> int:
        """Sample every node, if it is time; returns how many were.

        Raises:
            StoreError: the database failed; nothing was stored.
        """
        now = self._clock.now()
        async with self._store.reading() as session:
            last = await session.scalar(select(func.max(CapacitySampleRow.at)))
            if last is not None and now - last < APART:
                return 0
            rooms = await read_rooms(session)
        async with self._store.recording() as session:
            session.add_all(
                CapacitySampleRow(at=now, node=room.name, keys=room.keys, labels=dict(room.labels))
                for room in rooms
            )
        return len(rooms)
