"""What a look tells about use and load, into status: one transaction a sample, none without news.

It costs no request: the turn's last look is the sample. Only keys whose counters moved since the last
one are read and written. Callers: the worker, at the end of a turn, while no other turn of the node runs.
Not here: the rules (`controller.core.usage`, `controller.core.load`), what follows from them.
"""

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core import effects as fx
from controller.core.features import Family
from controller.core.load import Load, Measured, is_worth_storing, measure
from controller.core.observed import HostLoad, Observation, ObservedClient
from controller.core.ownership import is_ours_by_row
from controller.core.usage import Counter, Usage, follow, most_bytes
from controller.runtime.errors import LeaseError
from controller.runtime.history import EventLog, Line
from controller.runtime.lease import Lease
from controller.runtime.tables import NODE_STATUS
from controller.runtime.usage_rows import read_periods, read_usages, store_usages, used_up
from controller.runtime.versions import StatusVersions
from controller.telemetry import events
from desired_state.model.generation import JournalRow
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.policy import LoadWeights
from desired_state.store.bulk import insert_missing
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError

log = structlog.get_logger(__name__)

HOST_ASKED_S = 300.0
"""How far apart hosts are asked where that takes a request of its own."""

Clients = dict[str, Counter]


@dataclass(slots=True)
class Sight:
    """What a turn knows when it ends: its last look, and whose client each email is.

    `rows`: its journal by lower-cased email, as the turn left it. `born`: what it meant to create.
    """

    look: Observation
    rows: dict[str, JournalRow] = field(default_factory=dict)
    born: set[str] = field(default_factory=set)

    def sums(self) -> dict[KeyId, int]:
        """A sum over the counters of each key: the same while none of them moves."""
        found: dict[KeyId, int] = {}
        for key, email, client in self._ours():
            counted = hash((email, client.up_bytes, client.down_bytes, client.traffic_row))
            found[key] = found.get(key, 0) + counted
        return found

    def of_keys(self, keys: Collection[KeyId]) -> dict[KeyId, Clients]:
        """The counters of the clients of some keys, by key and email."""
        found: dict[KeyId, Clients] = {key: {} for key in keys}
        for key, email, client in self._ours():
            if key in found:
                counter = Counter(client.up_bytes, client.down_bytes, client.traffic_row)
                found[key][email] = counter
        return found

    def _ours(self) -> Iterator[tuple[KeyId, str, ObservedClient]]:
        """Our clients by key and lower-cased email; a foreign one under our email is nobody's."""
        rows = self.rows
        for client in self.look.clients:
            email = client.email.lower()
            row = rows.get(email)
            if row is not None and row.key is not None and is_ours_by_row(client, row):
                yield row.key, email, client


class Ledger:
    """Follows what a turn journals, for the sight at its end."""

    def __init__(self) -> None:
        self._rows: dict[str, JournalRow] = {}
        self._gone: set[str] = set()
        self._born: set[str] = set()

    def note(self, effect: object) -> None:
        """Take an effect that was recorded."""
        match effect:
            case fx.JournalIntent():
                self._put(effect.rows)
                self._born |= {row.email.lower() for row in effect.rows}
            case fx.RecordRows():
                self._put(effect.rows)
            case fx.Finalise():
                self._gone |= {gone.row.email.lower() for gone in effect.gone}

    def sight(self, journal: Iterable[JournalRow], look: Observation) -> Sight:
        """What the turn knows at its end, which began with this journal."""
        rows = {row.email.lower(): row for row in journal} | self._rows
        for email in self._gone:
            rows.pop(email, None)
        return Sight(look, rows, self._born)

    def _put(self, rows: Iterable[JournalRow]) -> None:
        fresh = {row.email.lower(): row for row in rows}
        self._rows |= fresh
        self._gone -= fresh.keys()


@dataclass(slots=True)
class _Memory:
    """What is kept of a node. `stored`: its load as the database has it.

    `counters`: of each key a hash of its name and its counters, eight bytes.
    """

    stored: Load
    measured: Measured | Load
    sampled_s: float = -inf
    counters: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True)
class _Used:
    """One sample of use. `usages`: those to be stored; `grown`: bytes by key; `moved`: bases that did.

    `doubtful`: keys with a counter that fell, which the next sample is to confirm even if it stands still.
    """

    usages: dict[KeyId, Usage]
    grown: dict[KeyId, int]
    moved: bool
    doubtful: frozenset[KeyId]


class Sampler:
    """Takes samples of nodes.

    Args:
        store: the database.
        versions: told of what is written.
        lease: what every sample is conditional on.
        clock: for the moments of rows.
        every_s: looks of a node that come sooner after each other are one sample.
        wake: told the nodes on which something is to be switched off now.
    """

    def __init__(
        self,
        store: Store,
        versions: StatusVersions,
        lease: Lease,
        clock: Clock,
        *,
        every_s: float = 0.0,
        wake: Callable[[Iterable[NodeName]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._versions = versions
        self._lease = lease
        self._clock = clock
        self._every_s = every_s
        self._wake = wake
        self._nodes: dict[NodeName, _Memory] = {}
        self._asked_s: dict[NodeName, float] = {}

    def wants_host(self, look: Observation, weights: LoadWeights, at_s: float) -> bool:
        """Whether a panel should be asked how busy its host is, besides the look that was made.

        Only where the look does not tell, somebody weighs it, and it was not asked lately.
        """
        weighed = weights.cpu > 0 or weights.memory > 0
        if not weighed or look.host != HostLoad() or look.features.family is Family.V31:
            return False
        if at_s - self._asked_s.get(look.node, -inf) < HOST_ASKED_S:
            return False
        self._asked_s[look.node] = at_s
        return True

    async def sample(self, sight: Sight, at_s: float, cycle: str) -> None:
        """Take a look that was trusted as a sample; one that cannot be stored is caught up by the next.

        Args:
            sight: of the turn that ends.
            at_s: now, on the monotonic clock.
            cycle: the turn's id, for the node's history.
        """
        node = sight.look.node
        memory = self._nodes.get(node)
        # What was created just now is known to be new only now.
        if memory is not None and not sight.born and at_s - memory.sampled_s < self._every_s:
            return
        try:
            if memory is None:
                memory = await self._remember(node)
            await self._sample(sight, memory, at_s, cycle)
        except (StoreError, LeaseError) as error:
            # What is in memory may be ahead of the database.
            self._nodes.pop(node, None)
            log.warning(events.SAMPLE_LOST, node=node, error=type(error).__name__)

    async def _sample(self, sight: Sight, memory: _Memory, at_s: float, cycle: str) -> None:
        node = sight.look.node
        measured = measure(memory.measured, sight.look, at_s)
        elapsed_s = None if memory.sampled_s == -inf else at_s - memory.sampled_s
        known = frozenset(memory.counters)
        sums = {hash(counted): counted[0] for counted in sight.sums().items()}
        moved = {key for number, key in sums.items() if number not in known}
        differs = is_worth_storing(memory.stored, measured.load)
        if moved or differs:
            epoch = self._lease.epoch(node)
            async with self._store.recording() as session:
                connection = await session.connection()
                await self._lease.check(connection, node, epoch)
                if differs:
                    await self._store_load(connection, node, measured.load)
                used = await self._use(connection, sight, sight.of_keys(moved), elapsed_s)
                now = self._clock.now()
                await store_usages(connection, node, used.usages, now)
                told, woken = await used_up(connection, used.grown)
                history = EventLog(connection, node, now, cycle, epoch)
                lines = [Line(key, detail=detail) for key, detail in sorted(told.items())]
                await history.append(events.QUOTA_USED_UP, lines)
                await self._lease.wake(connection, woken)
            self._tell(node, woken, outdated=used.moved)
            sums = {number: key for number, key in sums.items() if key not in used.doubtful}
        if differs:
            memory.stored = measured.load
        memory.measured, memory.sampled_s, memory.counters = measured, at_s, array("q", sums)
        self._nodes[node] = memory

    def _tell(self, node: NodeName, woken: frozenset[NodeName], *, outdated: bool) -> None:
        """Say who reads something else from now on: turns kept what they read."""
        self._versions.note()
        if outdated:
            self._versions.bump(node)
        for other in woken:
            self._versions.bump(other)
        self._wake(woken)

    async def _use(
        self,
        connection: AsyncConnection,
        sight: Sight,
        moved: dict[KeyId, Clients],
        elapsed_s: float | None,
    ) -> _Used:
        names = sorted(moved)
        node = sight.look.node
        periods = await read_periods(connection, names)
        known = await read_usages(connection, node, names)
        before = {
            key: known.get(key, Usage(periods.get(key, 1))).in_period(periods.get(key, 1))
            for key in names
        }
        after = {key: follow(before[key], moved[key], sight.born) for key in names}
        total = sum(after[key].used_bytes - before[key].used_bytes for key in names)
        if elapsed_s is not None and total > most_bytes(elapsed_s):
            log.warning(
                events.USAGE_DISBELIEVED, node=node, bytes=total, elapsed_s=round(elapsed_s, 1)
            )
            after = {
                key: follow(before[key], moved[key], sight.born, believed=False) for key in names
            }
        usages, grown = {}, {}
        for key, usage in after.items():
            grown[key] = usage.used_bytes - before[key].used_bytes
            is_news = any(c.total_bytes for c in moved[key].values()) or key in known
            if is_news and usage != known.get(key):
                usages[key] = usage
        rebased = any(usage.base_bytes != before[key].base_bytes for key, usage in usages.items())
        doubtful = frozenset(
            key for key, usage in after.items() if any(m.fell for m in usage.marks.values())
        )
        return _Used(usages, grown, rebased, doubtful)

    async def _remember(self, node: NodeName) -> _Memory:
        """Begin with what an earlier process stored."""
        columns = (
            NODE_STATUS.c.traffic_rate_bps, NODE_STATUS.c.cpu_share, NODE_STATUS.c.memory_share,
        )  # fmt: skip
        async with self._store.reading() as session:
            row = (
                await session.execute(select(*columns).where(NODE_STATUS.c.node == node))
            ).first()
        stored = Load() if row is None else Load(*row)
        return _Memory(stored, stored)

    async def _store_load(self, connection: AsyncConnection, node: NodeName, load: Load) -> None:
        now = self._clock.now()
        await insert_missing(connection, NODE_STATUS, [{"node": node, "changed_at": now}])
        await connection.execute(
            update(NODE_STATUS)
            .where(NODE_STATUS.c.node == node)
            .values(
                traffic_rate_bps=load.traffic_rate_bps,
                cpu_share=load.cpu_share,
                memory_share=load.memory_share,
                sampled_at=now,
            )
        )
