"""Leases of several replicas: one database, every node held by one of them, fenced by its epoch.

A replica renews one row; who does not is declared dead by the others and its nodes are taken. What may
be written is decided without a wait, by a deadline on a clock of this machine that only grows; what may
be recorded is decided by the database, inside each record's transaction. PostgreSQL only. Callers: the
service. Not here: statements (`lease_sql`), the lease of a controller that is alone (`lease`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.panels.api.clock import since_boot
from controller.runtime import lease_rows, lease_sql
from controller.runtime.errors import HolderKind, LeaseLost
from controller.runtime.lease import NOT_HELD
from controller.runtime.lease_rows import LEADER, REMOVES_AFTER_S, Member, this_process
from controller.runtime.lease_sql import Claimed, Line
from controller.telemetry import events, metrics
from desired_state.model.ids import Epoch, NodeName
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError

log = structlog.get_logger(__name__)

GLANCE_S = 0.5
"""How soon a node that was freed is taken, and a wake-up of another replica heard."""
SAFETY = 0.1
"""Part of the lease that is not used: the deadline here comes before the one in the database."""
JITTER = 0.1
"""Part of the renewal's period by which it varies, so that replicas do not renew in step."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long leases last without a renewal, and how often they are renewed, in seconds.

    `removes_after_s`: after a takeover; never less than a write may take.
    """

    ttl_s: float = 15.0
    renew_s: float = 5.0
    removes_after_s: float = REMOVES_AFTER_S


@dataclass(frozen=True, slots=True)
class Held:
    """A lease of ours. `removes_from_s`: on our clock, when clients may be removed."""

    epoch: Epoch
    removes_from_s: float


class ReplicaLease:
    """The leases of this process.

    Args:
        store: the database; leases have a connection of their own.
        terms: of all leases; the same for every replica.
        elapsed: seconds that only grow.
    """

    alone = False

    def __init__(
        self,
        store: Store,
        terms: Terms | None = None,
        *,
        elapsed: Callable[[], float] = since_boot,
    ) -> None:
        self.changed = asyncio.Event()
        self._store = store
        self._terms = terms or Terms()
        self._elapsed = elapsed
        self._line: Line | None = None
        self._one_at_a_time = asyncio.Lock()
        self._me: Member | None = None
        self._deadline_s = self._renew_at_s = 0.0
        self._held: dict[NodeName, Held] = {}
        self._giving: set[NodeName] = set()
        self._woken: set[NodeName] = set()
        self._heard: dict[NodeName, int] = {}
        self._waiting: set[NodeName] = set()
        self._busy: Counter[NodeName] = Counter()
        self._live = 0
        self._leaving = self._is_kept_out = False

    # -- what may be done ----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """This replica's present id; "" while it has none."""
        return "" if self._me is None else self._me.id

    @property
    def seconds_left(self) -> float:
        """How long anything may be written without a renewal; 0 when nothing may."""
        return 0.0 if self._leaving else max(0.0, self._deadline_s - self._elapsed())

    @property
    def leads(self) -> bool:
        """Whether the reserved lease is held and has not run out."""
        return LEADER in self._held and self.seconds_left > 0

    def nodes(self) -> frozenset[NodeName] | None:
        """Nodes that are held and not being given away."""
        if self._leaving:
            return frozenset()
        return frozenset(self._held) - self._giving - {LEADER}

    def take_woken(self) -> frozenset[NodeName]:
        """Hand out, once, held nodes to be looked at."""
        woken, self._woken = self._woken, set()
        return (self.nodes() or frozenset()) & woken

    def epoch(self, node: NodeName) -> Epoch:
        """The epoch of a held node."""
        held = self._held.get(node)
        return NOT_HELD if held is None else held.epoch

    def may_write(self, node: NodeName) -> bool:
        """Whether it is held and the deadline has not come."""
        return node in self._held and node not in self._giving and self.seconds_left > 0

    def may_remove(self, node: NodeName) -> bool:
        """Whether no request of its last holder can still be on its way."""
        held = self._held.get(node)
        return held is not None and self._elapsed() >= held.removes_from_s

    def turn(self, node: NodeName) -> AbstractContextManager[None]:
        """Keep a node from being given away in the middle of its turn."""
        return self._in_use(node)

    @contextmanager
    def _in_use(self, node: NodeName) -> Iterator[None]:
        self._busy[node] += 1
        try:
            yield
        finally:
            self._busy[node] -= 1
            if not self._busy[node]:
                del self._busy[node]

    # -- inside records ------------------------------------------------------------------------------

    async def check(self, connection: AsyncConnection, node: NodeName, epoch: Epoch) -> None:
        """Refuse a record whose epoch is not the node's any more; the database decides.

        Raises:
            LeaseLost: another replica holds the node, or held it in between.
        """
        me = self._me
        if me is not None and epoch != NOT_HELD:
            # A process that stops in the middle of a record must not keep the lease's row.
            await lease_sql.limit_idling(connection, self._terms.ttl_s)
            if await lease_rows.touch(connection, node, me.id, epoch):
                return
        metrics.FINALIZE_FENCED.inc()
        log.warning(events.WRITE_FENCED, node=node, epoch=epoch)
        raise LeaseLost(f"epoch {epoch} of node {node} is not held by this replica")

    async def check_leads(self, connection: AsyncConnection) -> None:
        """Refuse what runs once an installation where another replica leads.

        Raises:
            LeaseLost: it does, or did in between.
        """
        await self.check(connection, LEADER, self.epoch(LEADER))

    async def wake(self, connection: AsyncConnection, nodes: Iterable[NodeName]) -> None:
        """Tell whoever holds these nodes to look."""
        await lease_rows.wake(connection, nodes)

    # -- for as long as the service runs -------------------------------------------------------------

    async def run(self) -> None:
        """Join, renew, reap, claim and give away, until `release_all`."""
        while not self._leaving:
            pause_s = GLANCE_S
            try:
                async with self._one_at_a_time:
                    if not self._leaving:
                        await self._tick()
            except StoreError as error:
                log.warning(
                    events.LEASE_NOT_RENEWED,
                    error=type(error).__name__,
                    seconds_left=round(self.seconds_left, 1),
                )
                pause_s = min(1.0, self._terms.renew_s / 2)
            self._tell_metrics()
            await asyncio.sleep(min(pause_s, self._terms.renew_s / 4))

    async def release_all(self) -> None:
        """Give everything back at once; nothing may be written from the call on."""
        self._leaving = True
        async with self._one_at_a_time:
            me, self._me = self._me, None
            given = len(self._held)
            self._held = {}
            if me is not None and self._line is not None:
                try:
                    async with self._line.transaction() as connection:
                        now = await lease_rows.moment(connection, self._store.clock.now())
                        await lease_rows.leave(connection, me.id, now)
                    log.info(events.LEASE_RELEASED, nodes=given)
                except StoreError as error:
                    # They end by themselves, and the next holder waits for our last request.
                    log.warning(events.LEASE_NOT_RELEASED, error=type(error).__name__)
            if self._line is not None:
                await self._line.close()
                self._line = None
        self.changed.set()
        self._tell_metrics()

    async def _tick(self) -> None:
        if self._line is None:
            self._line = Line(self._store.engine.url, "x3fleet replica")
        self._wake_ready()
        if self._me is None:
            if not await self._join(self._line):
                return
        elif self._elapsed() >= self._renew_at_s:
            if not await self._renew(self._line, self._me):
                return
        elif not await self._is_due(self._line, self._me):
            return
        if self._me is not None:
            await self._share(self._line, self._me)

    async def _join(self, line: Line) -> bool:
        me = this_process(self._store.randomness.draw(5), HolderKind.REPLICA.value)
        sent_s = self._elapsed()
        async with line.transaction() as connection:
            joined = await lease_sql.join(connection, me, self._terms.ttl_s)
        if not joined:
            if not self._is_kept_out:
                log.warning(events.REPLICA_WAITS)
            self._is_kept_out = True
            return False
        self._me, self._is_kept_out = me, False
        self._live_until(sent_s)
        log.info(events.REPLICA_JOINED, replica=me.id)
        return True

    async def _renew(self, line: Line, me: Member) -> bool:
        sent_s = self._elapsed()
        async with line.transaction() as connection:
            renewed = await lease_sql.renew(connection, me.id, self._terms.ttl_s)
        if not renewed:
            self._lose()
            return False
        self._live_until(sent_s)
        return True

    def _live_until(self, sent_s: float) -> None:
        """Count the lease from before the renewal was sent: the database counted it from later."""
        self._deadline_s = sent_s + self._terms.ttl_s * (1 - SAFETY)
        drawn = int.from_bytes(self._store.randomness.draw(2), "big") / 0xFFFF
        self._renew_at_s = sent_s + self._terms.renew_s * (1 + JITTER * (2 * drawn - 1))

    def _lose(self) -> None:
        """We were declared dead: nothing of what we held is ours, whoever has it now."""
        lost = len(self._held)
        self._me, self._held, self._deadline_s = None, {}, 0.0
        self._giving.clear()
        self._waiting.clear()
        metrics.LEASE_LOST.inc(lost)
        log.error(events.LEASE_LOST, nodes=lost)
        self.changed.set()

    async def _is_due(self, line: Line, me: Member) -> bool:
        """Hear what others tell, and say whether leases are to be shared out anew."""
        async with line.transaction() as connection:
            seen = await lease_sql.glance(connection, me.id)
        self._hear(seen.wakes)
        changed = seen.live != self._live
        self._live = seen.live
        return seen.is_due or changed

    def _hear(self, wakes: dict[NodeName, int]) -> None:
        self._wake(node for node, number in wakes.items() if self._heard.get(node) != number)
        self._heard = wakes

    def _wake_ready(self) -> None:
        """Look again, for what had to wait, where clients may be removed by now."""
        ready = {node for node in self._waiting if self.may_remove(node)}
        self._waiting = (self._waiting & self._held.keys()) - ready
        self._wake(ready)

    def _wake(self, nodes: Iterable[NodeName]) -> None:
        woken = set(nodes)
        if woken:
            self._woken |= woken
            self.changed.set()

    # -- who gets what -------------------------------------------------------------------------------

    async def _share(self, line: Line, me: Member) -> None:
        """Reap, give away what is too much, or claim what is missing: one transaction."""
        claimed: list[Claimed] = []
        wait_s = self._terms.removes_after_s
        async with line.transaction() as connection:
            if not await lease_sql.may_begin(connection):
                return
            for died in await lease_sql.reap(connection, me.id):
                log.warning(events.REPLICA_DIED, replica=died)
            await lease_sql.add_missing(connection)
            nodes, live = await lease_sql.count(connection)
            mine = await lease_sql.mine(connection, me.id)
            # What the database says is what is held, should an answer have been lost before.
            self._hold({node: lease for node, (lease, _) in mine.items()})
            gone = [node for node, (_, declared) in mine.items() if not declared]
            share = -(-nodes // max(1, live))
            surplus = self._too_many(gone, share)
            if surplus:
                # First here, then there: from now on no turn of them writes anything.
                self._giving = set(surplus)
                await lease_sql.give(connection, me.id, surplus)
            else:
                self._giving = set()
            want = share - (len(self._held.keys() - {LEADER}) - len(surplus))
            if want > 0 and not surplus:
                claimed = await lease_sql.claim(connection, me.id, want, wait_s)
            claimed += await lease_sql.claim_leader(connection, me.id, wait_s)
        self._settle(surplus, claimed)

    def _too_many(self, gone: list[NodeName], share: int) -> list[NodeName]:
        """Choose what to give away: what is not declared any more, and idle nodes above the share."""
        held = sorted(self._held.keys() - {LEADER, *gone})
        idle = [node for node in held if node not in self._busy]
        return [n for n in gone if n not in self._busy] + idle[: max(0, len(held) - share)]

    def _settle(self, given: list[NodeName], claimed: list[Claimed]) -> None:
        """Do here what the database has committed."""
        for node in given:
            self._held.pop(node, None)
        self._giving -= set(given)
        if given:
            log.info(events.LEASE_RELEASED, nodes=len(given))
        now_s = self._elapsed()
        for lease in claimed:
            self._held[lease.node] = Held(lease.epoch, now_s + lease.removes_in_s)
        fresh = {lease.node for lease in claimed}
        self._waiting |= {lease.node for lease in claimed if lease.removes_in_s > 0}
        if claimed:
            over = sum(lease.taken_over for lease in claimed)
            log.info(events.LEASE_ACQUIRED, nodes=len(claimed), taken_over=over)
        if given or claimed:
            self.changed.set()
        self._wake(fresh - {LEADER})

    def _hold(self, mine: dict[NodeName, Claimed]) -> None:
        """Correct what we believe to hold by what the database says."""
        now_s = self._elapsed()
        before = self._held
        self._held = {
            node: before[node]
            if node in before and before[node].epoch == lease.epoch
            else Held(lease.epoch, now_s + lease.removes_in_s)
            for node, lease in mine.items()
        }
        found = self._held.keys() - before.keys()
        self._waiting |= {node for node in found if not self.may_remove(node)}
        self._wake(found - {LEADER})
        if before.keys() - self._held.keys():
            self.changed.set()

    def _tell_metrics(self) -> None:
        metrics.LEASE_SECONDS_LEFT.set(self.seconds_left)
        metrics.LEADER.labels("x3fleet").set(self.leads)
