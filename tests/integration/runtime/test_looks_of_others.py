"""Two replicas: a key leaves a node of one of them on the word of a look that the other one made lately.

Both run in one process over one PostgreSQL database; panels are in memory. The age of a look is the
database's: tests age the row, no clock of ours decides.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from controller.runtime.leases import ReplicaLease, Terms
from controller.service import build_controller
from controller.settings import ControllerSettings
from desired_state.commands import keys, nodes
from desired_state.model.ids import NodeName, TariffName
from desired_state.model.policy import MoveOrder
from desired_state.store.engine import open_store
from desired_state.store.tables.status import PlacementRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data import rows
from tests.fakes.panel import FakePanel
from tests.fakes.pool import FakePool, OneClock
from tests.stores import FrozenClock, SeededRandomness, settings_for

NAMES = NodeName("a"), NodeName("b")


@pytest.fixture
def backend():
    return "postgresql"


@dataclass
class Replica:
    """One of two: its controller, its lease."""

    controller: object
    lease: ReplicaLease

    async def turn(self, node):
        assert node in self.lease.nodes()
        return await self.controller.worker.turn(node)


class Pair:
    """Two replicas with a node each. `old` leads, and holds the node `here`, which is left for `there`."""

    def __init__(self, store):
        self.store = store
        self.clock = FrozenClock()
        self.pool = FakePool(self.clock)
        self.old = self.new = self.here = self.there = None

    async def join(self, stack, seed):
        url = self.store.engine.url.render_as_string(hide_password=False)
        settings = settings_for(url)
        randomness = SeededRandomness(seed)
        store = await stack.enter_async_context(
            open_store(settings, clock=self.clock, randomness=randomness)
        )
        lease = ReplicaLease(store, Terms(ttl_s=600, renew_s=60))
        stack.push_async_callback(lease.release_all)
        clock = OneClock(self.clock)
        controller = build_controller(
            store, self.pool, clock, ControllerSettings(store=settings), lease
        )
        stack.callback(controller.worker.close)
        return Replica(controller, lease)

    async def share(self, *replicas):
        for _ in range(6):
            for one in replicas:
                await one.lease._tick()
        self.old, self.new = sorted(replicas, key=lambda one: not one.lease.leads)
        (self.here,), (self.there,) = self.old.lease.nodes(), self.new.lease.nodes()

    async def place(self):
        return await self.old.controller.place()

    async def run(self, command, *words, **options):
        async with begin(self.store, "test") as work:
            return await command(work, *words, **options)

    async def leaving(self):
        async with self.store.reading() as session:
            return (await session.get_one(PlacementRow, (self.key, self.here))).leaving

    async def age(self, seconds):
        """Let every look that was told of grow older, as the database sees it."""
        older = "UPDATE status.sight SET seen_at = seen_at - make_interval(secs => :s)"
        async with self.store.recording() as session:
            await session.execute(text(older), {"s": seconds})

    def served(self):
        return tuple(
            sum(c.enable for c in self.pool.panels[n].ours()) for n in (self.here, self.there)
        )


@pytest.fixture
async def pair(store, monkeypatch):
    """A key on the old node, which is drained; the new one of the other replica has it too by now."""
    for name in NAMES:
        monkeypatch.setenv(f"{name.upper()}_TOKEN", "t" * 48)
    made = Pair(store)
    for name in NAMES:
        made.pool.panels[name] = FakePanel.of((3, 6, 0), node=name, guid=f"guid-{name}")
    policy = make_policy(
        move_order=MoveOrder.CREATE_FIRST, require_xray=False, fleet_delete_share=1.0
    )
    tariff = make_tariff("month", nodes=make_selector(1))
    specs = [make_node_spec(name, labels=()) for name in NAMES]
    await rows.apply(store, make_bundle(*specs, tariff, policy))
    async with AsyncExitStack() as stack:
        replicas = [await made.join(stack, seed) for seed in (101, 102)]
        await made.share(*replicas)
        await made.run(nodes.cordon, made.there)
        made.key = (await made.run(keys.issue, TariffName("month"))).key.id
        await made.place()
        await made.old.turn(made.here)
        await made.run(nodes.uncordon, made.there)
        await made.run(nodes.drain, made.here)
        await made.place()
        await made.new.turn(made.there)
        assert (1, 1) == made.served()
        yield made


async def test_a_place_ends_only_after_the_other_replica_told_of_a_look(pair):
    """The pass asks for it; the other replica's next turn tells."""
    before = await pair.place(), await pair.leaving()
    await pair.new.turn(pair.there)
    after = await pair.place(), await pair.leaving()

    assert ((), (pair.there,), None) == (before[0].ended, before[0].looks, before[1])
    assert (1, "drained") == (len(after[0].ended), after[1])


async def test_a_look_of_the_other_replica_that_is_old_by_the_database_deletes_nothing(pair):
    """Whoever holds the old node asks for another one, and goes on from it."""
    await pair.place()
    await pair.new.turn(pair.there)
    await pair.place()
    await pair.age(60)

    await pair.old.turn(pair.here)
    kept = pair.served()
    await pair.new.turn(pair.there)
    await pair.old.turn(pair.here)

    assert ((1, 1), (0, 1)) == (kept, pair.served())


async def test_while_the_other_replicas_node_is_dead_the_old_key_stays(pair):
    """Complaint 1.2: its record says live, and nobody has looked since it fell."""
    await pair.place()
    await pair.new.turn(pair.there)
    await pair.place()
    await pair.age(60)
    pair.pool.dead.add(pair.there)

    await pair.old.turn(pair.here)
    unseen = pair.served()[0]
    await pair.new.turn(pair.there)
    await pair.old.turn(pair.here)

    assert (1, 1) == (unseen, pair.served()[0])


async def test_a_look_that_lies_ahead_of_the_databases_clock_tells_nothing(pair):
    """A restored database may hold one."""
    await pair.place()
    await pair.new.turn(pair.there)
    await pair.place()
    await pair.age(-3600)

    await pair.old.turn(pair.here)

    assert (1, 1) == pair.served()


async def test_nobody_who_waits_for_nothing_is_told_of_looks(pair):
    """A converged fleet writes nothing: looks are stored where somebody asked."""
    await pair.new.turn(pair.there)

    async with pair.store.reading() as session:
        assert 0 == await session.scalar(text("SELECT count(*) FROM status.sight"))
