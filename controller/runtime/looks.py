"""Which nodes this controller has seen well lately, and who waits for a look at which.

A client is taken off a node because its key lives elsewhere; whether it is served there, the last record of
that node cannot tell: nobody may have looked since. Written by the worker, read by the pass and by `reads`.
Own nodes' looks are in memory, those of other replicas are stored where somebody waits for them (`sights`).
Not here: what is stored of a node otherwise, looking, deciding.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from math import inf
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from controller.runtime import sights
from controller.runtime.lease import Lease
from controller.runtime.lease_rows import LEADER
from desired_state.model.ids import NodeName
from desired_state.scheduling.proofs import FRESH_S, SeenAt
from desired_state.store.engine import Store

ASKED_AGAIN_S = 5.0
"""Nobody is asked more often for a look that did not come: its node may be slow, or dead."""


class Elapsed(Protocol):
    """The monotonic clock."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class Looks:
    """Remembers the last good look at each node, in memory: none outlives its controller.

    Args:
        lease: tells which nodes are looked at here.
        clock: by which a look grows old.
        store: where looks are asked for and told of.
    """

    def __init__(self, lease: Lease, clock: Elapsed, store: Store) -> None:
        self._lease = lease
        self._clock = clock
        self._store = store
        self._asked_s: dict[NodeName, float] = {}
        self._seen: dict[NodeName, tuple[datetime, float]] = {}
        self._waiting: defaultdict[NodeName, set[NodeName]] = defaultdict(set)
        self._wanted: set[NodeName] = set()
        self._missed_s: dict[NodeName, float] = {}

    async def turn_ended(self, node: NodeName, at: datetime | None) -> frozenset[NodeName]:
        """Note whether a turn saw its node well, tell whoever waits, and ask for what it waits for itself.

        Args:
            node: which one.
            at: all that was recorded until then was seen by its last look; None: it saw nothing.

        Returns:
            Nodes that are to have a turn: those that waited for this one, and those that it waits for.

        Raises:
            LeaseLost: the node is another replica's by now.
            StoreError: nobody was told, or asked.
        """
        freed: set[NodeName] = set()
        if at is None:
            self._seen.pop(node, None)
        else:
            self._seen[node] = at, self._clock.monotonic()
            self._missed_s.pop(node, None)
            freed = self._waiting.pop(node, freed)
            await self._tell(node, at)
        wanted, self._wanted = self._wanted, set()
        await self.ask(wanted)
        return frozenset(freed | wanted)

    async def ask(self, nodes: Iterable[NodeName]) -> None:
        """Ask whoever holds these nodes for a look.

        Raises:
            StoreError: nobody was asked.
        """
        now_s = self._clock.monotonic()
        names = {name for name in nodes if now_s - self._asked_s.get(name, -inf) >= ASKED_AGAIN_S}
        if not names:
            return
        self._asked_s |= dict.fromkeys(names, now_s)
        async with self._store.recording() as session:
            connection = await session.connection()
            await sights.ask(connection, names, self._store.clock.now())
            held = self._lease.nodes()
            # Whoever asks looks at its own nodes by itself.
            await self._lease.wake(connection, set() if held is None else names - held)

    async def _tell(self, node: NodeName, at: datetime) -> None:
        if self._lease.alone and node not in self._asked_s:
            return
        async with self._store.reading() as session:
            is_asked = await sights.is_asked(await session.connection(), node)
        if is_asked:
            async with self._store.recording() as session:
                connection = await session.connection()
                await self._lease.check(connection, node, self._lease.epoch(node))
                waiting = await sights.tell(connection, node, at, self._store.clock.now())
                # Whoever leads decides anew, and those who hold what is to be left.
                await self._lease.wake(connection, {LEADER, *waiting})
        self._asked_s.pop(node, None)

    def missed(self, node: NodeName) -> float:
        """Note the end of a look that failed; returns the seconds since the one before, 0 without one."""
        now_s = self._clock.monotonic()
        before_s = self._missed_s.get(node, now_s)
        self._missed_s[node] = now_s
        return now_s - before_s

    async def within(self, session: AsyncSession) -> SeenAt:
        """Tell, as of a reading, until when recent looks confirm what is recorded of nodes."""
        held = self._lease.nodes()
        if held is None:
            return self._seen_at
        others = await sights.read_sights(await session.connection(), self._store.clock.now())
        return lambda node: self._seen_at(node) if node in held else others.get(node)

    def _seen_at(self, node: NodeName) -> datetime | None:
        at, since_s = self._seen.get(node, (None, 0.0))
        return None if self._clock.monotonic() - since_s > FRESH_S else at

    def wait_for(
        self, nodes: Iterable[NodeName], waiting: NodeName, asked: Iterable[NodeName]
    ) -> None:
        """Have a node told as soon as one of these others was seen well; `asked` are looked at for that."""
        for node in nodes:
            self._waiting[node].add(waiting)
        self._wanted.update(asked)
