"""Leases of several replicas on PostgreSQL: who holds what, until when, and what a stale one may not do.

Time is moved by hand: the lease's own clock by the test, the database's by ageing a replica's row.
Processes that are killed or stopped stand in `test_replicas`.
"""

import asyncio
import os
from contextlib import AsyncExitStack, ExitStack

import pytest
from sqlalchemy import text

from controller.core import effects as fx
from controller.runtime import lease_sql
from controller.runtime.errors import AlreadyRunning, HolderKind, LeaseLost
from controller.runtime.lease import NOT_HELD, SoleLease
from controller.runtime.lease_rows import LEADER, NODE_LEASE, REPLICA
from controller.runtime.leases import ReplicaLease, Terms
from controller.runtime.records import Records
from controller.runtime.single import hold_lock
from controller.runtime.versions import StatusVersions
from desired_state.model.ids import Epoch, NodeName
from desired_state.store.engine import open_store
from desired_state.store.errors import StoreError
from tests.builders import make_bundle, make_node_spec
from tests.data import rows
from tests.stores import SeededRandomness, settings_for

TERMS = Terms(ttl_s=10, renew_s=3)


@pytest.fixture
def backend():
    return "postgresql"


class Time:
    """A clock that a test moves on."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s

    def pass_(self, seconds):
        self.now_s += seconds


class Crowd:
    """Some replicas of one database in one process, each with a clock of its own."""

    def __init__(self, store, stack):
        self.store, self._stack, self._seed = store, stack, 100

    async def replica(self):
        self._seed += 1
        # Ids are drawn: replicas of one seed would have one id.
        settings = settings_for(self.store.engine.url.render_as_string(hide_password=False))
        store = await self._stack.enter_async_context(
            open_store(settings, randomness=SeededRandomness(self._seed))
        )
        time = Time()
        lease = ReplicaLease(store, TERMS, elapsed=time)
        lease.time = time
        self._stack.push_async_callback(lease.release_all)
        return lease

    async def started(self, count):
        """Replicas that have had time to share the nodes."""
        leases = [await self.replica() for _ in range(count)]
        await settle(*leases)
        return leases

    async def age(self, lease, seconds=60):
        """Let a replica's row run out, as if it had not renewed."""
        async with self.store.recording() as session:
            await session.execute(
                text(
                    "UPDATE status.replica SET expires_at = expires_at - make_interval(secs => :s)"
                    " WHERE id = :id"
                ),
                {"s": seconds, "id": lease.id},
            )

    async def holders(self):
        async with self.store.reading() as session:
            found = await session.execute(
                NODE_LEASE.select().with_only_columns(NODE_LEASE.c.node, NODE_LEASE.c.holder)
            )
            return dict(tuple(row) for row in found)

    async def states(self):
        async with self.store.reading() as session:
            found = await session.execute(
                REPLICA.select().with_only_columns(REPLICA.c.id, REPLICA.c.state)
            )
            return dict(tuple(row) for row in found)

    async def declare(self, count):
        specs = [
            make_node_spec(f"n{number:02}", url=f"https://n{number:02}.example.net:2053/")
            for number in range(count)
        ]
        await rows.apply(self.store, make_bundle(*specs))


async def settle(*leases, rounds=4):
    """Let each replica work some times, renewals included."""
    for _ in range(rounds):
        for lease in leases:
            lease.time.pass_(TERMS.renew_s * 1.2)
            await lease._tick()


@pytest.fixture
async def crowd(store):
    async with AsyncExitStack() as stack:
        crowd = Crowd(store, stack)
        await crowd.declare(6)
        yield crowd


def counts(leases):
    return sorted(len(lease.nodes()) for lease in leases)


# -- who holds what --------------------------------------------------------------------------------


async def test_one_replica_holds_every_node_and_leads(crowd):
    (one,) = await crowd.started(1)

    assert {NodeName(f"n{n:02}") for n in range(6)} == one.nodes()
    assert one.leads
    assert one.nodes() == one.take_woken()
    assert frozenset() == one.take_woken()


async def test_replicas_share_the_nodes_evenly_and_one_of_them_leads(crowd):
    await crowd.declare(31)

    leases = await crowd.started(3)

    assert [9, 11, 11] == counts(leases)
    assert 31 == len(frozenset().union(*(lease.nodes() for lease in leases)))
    assert 1 == sum(lease.leads for lease in leases)


async def test_who_joins_later_gets_a_fair_share_with_higher_epochs(crowd):
    (one,) = await crowd.started(1)
    before = {node: one.epoch(node) for node in one.nodes()}

    two = await crowd.replica()
    await settle(two, one, rounds=4)

    assert [3, 3] == counts([one, two])
    assert {before[node] + 1 for node in two.nodes()} == {two.epoch(node) for node in two.nodes()}
    assert all(one.epoch(node) == before[node] for node in one.nodes())
    assert two.nodes() == two.take_woken()


async def test_a_node_in_the_middle_of_its_turn_is_not_given_away(crowd):
    (one,) = await crowd.started(1)
    every = one.nodes()
    two = await crowd.replica()

    async def during():
        await settle(two, one, rounds=4)
        return one.nodes(), two.nodes()

    with ExitStack() as stack:
        for node in every:
            stack.enter_context(one.turn(node))
        held, others = await during()
    await settle(one, two)

    assert (every, frozenset()) == (held, others)
    assert [3, 3] == counts([one, two])


async def test_a_new_node_is_held_and_one_that_vanished_is_not(crowd):
    (one,) = await crowd.started(1)
    await crowd.declare(7)
    await settle(one)
    with_it = one.nodes()
    async with crowd.store.engine.begin() as connection:
        await connection.execute(text("DELETE FROM desired.node WHERE name = 'n06'"))

    await settle(one)

    assert NodeName("n06") in with_it
    assert with_it - {NodeName("n06")} == one.nodes()


async def test_the_epoch_of_a_node_never_goes_back_even_when_it_is_declared_again(crowd):
    (one,) = await crowd.started(1)
    node = NodeName("n05")
    before = one.epoch(node)
    async with crowd.store.engine.begin() as connection:
        await connection.execute(text("DELETE FROM desired.node WHERE name = 'n05'"))
    await settle(one)
    await crowd.declare(6)

    await settle(one)

    assert before + 1 == one.epoch(node)


async def test_who_leaves_hands_over_at_once(crowd):
    one, two = await crowd.started(2)

    await one.release_all()
    two.time.pass_(0.5)
    await two._tick()

    assert 6 == len(two.nodes())
    assert two.leads
    assert not any(one.may_write(node) for node in two.nodes())
    # Nothing of the one who left is on its way.
    assert all(two.may_remove(node) for node in two.nodes())


# -- until when ------------------------------------------------------------------------------------


@pytest.mark.promise("S7")
async def test_without_a_renewal_nothing_is_written_after_the_deadline(crowd):
    (one,) = await crowd.started(1)
    node = min(one.nodes())
    asked = one.time.now_s

    seen = []
    for seconds in (0, 8.9, 9.1, 500):
        one.time.now_s = asked + seconds
        seen.append((one.may_write(node), one.leads, one.seconds_left > 0))

    assert [(True,) * 3, (True,) * 3, (False,) * 3, (False,) * 3] == seen


async def test_the_lease_counts_from_before_its_renewal_was_sent(crowd):
    """An answer that took six of ten seconds leaves three, not nine."""
    (one,) = await crowd.started(1)
    one.time.pass_(5)
    renew = lease_sql.renew

    async def slowly(*arguments):
        one.time.pass_(6)
        return await renew(*arguments)

    lease_sql.renew = slowly
    try:
        await one._tick()
    finally:
        lease_sql.renew = renew

    assert 3 == pytest.approx(one.seconds_left)


async def test_a_replica_that_was_late_and_that_nobody_missed_goes_on(crowd):
    (one,) = await crowd.started(1)
    before = one.id, one.epoch(NodeName("n00"))
    await crowd.age(one)
    one.time.pass_(300)

    await one._tick()

    assert before == (one.id, one.epoch(NodeName("n00")))
    assert one.may_write(NodeName("n00"))


async def test_renewals_vary_so_that_replicas_do_not_renew_in_step(crowd):
    (one,) = await crowd.started(1)
    periods = []
    for _ in range(20):
        sent = one.time.now_s
        one._live_until(sent)
        periods.append(one._renew_at_s - sent)

    assert len(set(periods)) > 10
    assert all(0.9 * TERMS.renew_s <= period <= 1.1 * TERMS.renew_s for period in periods)


# -- taken over ------------------------------------------------------------------------------------


async def test_nodes_of_a_replica_that_does_not_renew_are_taken_over(crowd):
    one, two = await crowd.started(2)
    lost = one.nodes()
    await crowd.age(one)

    two.time.pass_(0.5)
    await two._tick()

    assert 6 == len(two.nodes())
    assert "dead" == (await crowd.states())[one.id]
    assert lost <= two.take_woken()


async def test_after_a_takeover_nothing_is_removed_for_as_long_as_a_write_may_take(crowd):
    one, two = await crowd.started(2)
    kept, lost = two.nodes(), one.nodes()
    await crowd.age(one)
    two.time.pass_(0.5)
    await two._tick()
    two.take_woken()

    seen = []
    for seconds in (0, 29, 2):
        two.time.pass_(seconds)
        seen.append({two.may_remove(node) for node in lost})
    await two._tick()

    assert [{False}, {False}, {True}] == seen
    assert {True} == {two.may_remove(node) for node in kept}
    # And they are looked at again, for what had to wait.
    assert lost <= two.take_woken()


async def test_the_wait_after_a_takeover_goes_with_the_node(crowd):
    """Its next holder, though it got the node in good order, has to wait for the rest of it."""
    one, two = await crowd.started(2)
    lost = one.nodes()
    await crowd.age(one)
    two.time.pass_(0.5)
    await two._tick()
    await two.release_all()

    three = await crowd.replica()
    await settle(three, rounds=1)

    assert {False} == {three.may_remove(node) for node in lost}


async def test_who_was_declared_dead_drops_everything_and_comes_back_as_another(crowd):
    one, two = await crowd.started(2)
    stale, epochs, before = one.nodes(), {n: one.epoch(n) for n in one.nodes()}, one.id
    await crowd.age(one)
    two.time.pass_(0.5)
    await two._tick()
    one.changed.clear()

    one.time.pass_(TERMS.renew_s * 1.2)
    await one._tick()
    dropped = one.nodes(), [one.epoch(node) for node in stale], one.changed.is_set()
    await settle(one, two)

    assert (frozenset(), [NOT_HELD] * 3, True) == dropped
    assert before != one.id
    assert [3, 3] == counts([one, two])
    assert all(two.epoch(node) > epochs[node] for node in stale & two.nodes())


# -- what a stale one may not record ---------------------------------------------------------------


async def record(lease, store, node, epoch):
    records = Records(store, StatusVersions(), lease)
    effect = fx.Bind(node, (), "digest", None, epoch)
    return await records.record(effect, store.clock.now(), "cycle")


@pytest.mark.promise("S6")
async def test_a_replica_that_does_not_know_of_its_death_records_nothing(crowd):
    one, two = await crowd.started(2)
    node = min(one.nodes())
    epoch = one.epoch(node)
    await record(one, crowd.store, node, epoch)
    await crowd.age(one)
    two.time.pass_(0.5)
    await two._tick()

    with pytest.raises(LeaseLost):
        await record(one, crowd.store, node, epoch)
    await record(two, crowd.store, node, two.epoch(node))


@pytest.mark.promise("S6")
@pytest.mark.parametrize("moved", [-1, 1])
async def test_a_record_of_another_epoch_than_the_present_one_is_refused(crowd, moved):
    (one,) = await crowd.started(1)
    node = min(one.nodes())

    with pytest.raises(LeaseLost):
        await record(one, crowd.store, node, Epoch(one.epoch(node) + moved))


async def test_what_runs_once_an_installation_is_refused_where_another_one_leads(crowd):
    one, two = await crowd.started(2)
    leader, other = (one, two) if one.leads else (two, one)

    async def ask(lease):
        async with crowd.store.recording() as session:
            await lease.check_leads(await session.connection())

    await ask(leader)
    with pytest.raises(LeaseLost):
        await ask(other)


async def test_a_replica_that_stops_in_the_middle_of_a_record_does_not_keep_its_node(crowd):
    """Its transaction holds the lease's row; the server ends it, and the takeover goes on."""
    one, two = await crowd.started(2)
    node = min(one.nodes())
    one._terms = Terms(ttl_s=0.3, renew_s=0.1)

    passed_over = []

    async def stop_half_way():
        async with crowd.store.recording() as session:
            connection = await session.connection()
            await one.check(connection, node, one.epoch(node))
            await crowd.age(one)
            for pause_s in (0, 1):
                await asyncio.sleep(pause_s)
                two.time.pass_(0.5)
                await two._tick()
                passed_over.append(node not in two.nodes())
            await connection.execute(text("SELECT 1"))

    with pytest.raises(StoreError):
        await stop_half_way()

    assert [True, False] == passed_over


async def test_one_replica_wakes_a_node_that_another_one_holds(crowd):
    one, two = await crowd.started(2)
    node = min(two.nodes())
    two.take_woken()
    async with crowd.store.recording() as session:
        await one.wake(await session.connection(), [node, min(one.nodes())])

    await settle(two, rounds=1)
    two.time.pass_(0.1)
    await two._tick()

    assert {node} == two.take_woken()


# -- one-shot runs ---------------------------------------------------------------------------------


async def test_a_one_shot_run_is_refused_while_a_replica_lives_and_told_which(crowd):
    await crowd.started(1)

    with pytest.raises(AlreadyRunning) as refused:
        async with hold_lock(crowd.store, HolderKind.ONE_SHOT, wait=True):
            pass

    assert (HolderKind.REPLICA, os.getpid()) == (
        refused.value.holder.kind,
        refused.value.holder.pid,
    )
    assert "replica" in str(refused.value)


async def test_no_replica_begins_while_a_one_shot_run_is_at_work(crowd):
    one = await crowd.replica()
    async with hold_lock(crowd.store, HolderKind.ONE_SHOT):
        await settle(one)
        during = one.nodes(), one.id
    await settle(one)

    assert (frozenset(), "") == during
    assert 6 == len(one.nodes())


@pytest.mark.promise("S6")
async def test_a_one_shot_run_fences_replicas_that_ran_out_and_waits_for_their_requests(crowd):
    (one,) = await crowd.started(1)
    node = min(one.nodes())
    epoch = one.epoch(node)
    # Ten seconds ago by the database's clock.
    await crowd.age(one, TERMS.ttl_s + 10)
    time = Time()
    sole = SoleLease(elapsed=time)
    async with hold_lock(crowd.store, HolderKind.ONE_SHOT):
        await sole.take(crowd.store)
        taken = sole.epoch(node)
        with pytest.raises(LeaseLost):
            await record(one, crowd.store, node, epoch)
        await record(sole, crowd.store, node, taken)
        removes = [sole.may_remove(node)]
        time.pass_(31)
        removes.append(sole.may_remove(node))
        await sole.release_all()
    await settle(one)

    assert epoch < taken < one.epoch(node)
    assert [False, True] == removes


async def test_leases_that_a_killed_one_shot_run_left_are_taken(crowd):
    sole = SoleLease()
    async with hold_lock(crowd.store, HolderKind.ONE_SHOT):
        await sole.take(crowd.store)

    (one,) = await crowd.started(1)

    assert 6 == len(one.nodes())
    assert one.leads


# -- the embedded mode -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_every_start_of_a_sole_controller_has_a_higher_epoch_that_is_stored(store):
    node = NodeName("n00")
    epochs = []
    for _ in range(3):
        lease = SoleLease()
        await lease.take(store)
        epochs.append(lease.epoch(node))

    async with store.reading() as session:
        stored = await session.scalar(
            NODE_LEASE.select()
            .with_only_columns(NODE_LEASE.c.epoch)
            .where(NODE_LEASE.c.node == LEADER)
        )
    assert [1, 2, 3] == epochs
    assert 3 == stored


@pytest.mark.promise("S6")
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_an_earlier_sole_controller_records_nothing_any_more(store):
    first, second = SoleLease(), SoleLease()
    await first.take(store)
    epoch = first.epoch(NodeName("n00"))
    await second.take(store)

    with pytest.raises(LeaseLost):
        await record(first, store, NodeName("n00"), epoch)
    await record(second, store, NodeName("n00"), second.epoch(NodeName("n00")))


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_embedded_database_knows_one_controller_at_a_time(store):
    for _ in range(3):
        lease = SoleLease()
        await lease.take(store, HolderKind.DAEMON)
    async with store.reading() as session:
        during = (await session.execute(REPLICA.select())).mappings().all()
    await lease.release_all()
    async with store.reading() as session:
        after = (await session.execute(REPLICA.select())).mappings().all()

    assert [("daemon", "live")] == [(row["kind"], row["state"]) for row in during]
    assert [("daemon", "left")] == [(row["kind"], row["state"]) for row in after]
