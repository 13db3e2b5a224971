"""The work queue: each name once, one worker a name, higher priorities first, delays kept."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.runtime.queue import Agenda, Priority, QueueClosed, WorkQueue
from tests.fakes.loop import run_fast

NAMES = st.sampled_from(["a", "b", "c", "d"])
PRIORITIES = st.sampled_from([int(priority) for priority in Priority])


@dataclass
class Model:
    """What the queue is, said the slow way: rows that wait, and names that are worked on."""

    rows: dict[str, list[float]] = field(default_factory=dict)  # name: priority, ready at, number
    working: set[str] = field(default_factory=set)
    number: int = 0

    def add(self, name, priority, ready_at):
        if name in self.rows:
            row = self.rows[name]
            self.rows[name] = [max(row[0], priority), min(row[1], ready_at), row[2]]
        else:
            self.number += 1
            self.rows[name] = [priority, ready_at, self.number]

    def ready(self, now):
        names = [n for n, row in self.rows.items() if row[1] <= now and n not in self.working]
        return sorted(names, key=lambda name: (-self.rows[name][0], self.rows[name][2]))


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done to the queue, it hands out what the model hands out."""

    def __init__(self):
        super().__init__()
        self.agenda, self.model, self.now = Agenda(), Model(), 0.0

    @rule(name=NAMES, priority=PRIORITIES, after=st.sampled_from([0.0, 0.2, 1.0, 60.0]))
    def add(self, name, priority, after):
        self.agenda.add(name, priority, self.now + after)
        self.model.add(name, priority, self.now + after)

    @rule(seconds=st.sampled_from([0.1, 0.2, 1.0, 30.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def take(self):
        ready = self.model.ready(self.now)
        taken = self.agenda.take(self.now)
        if not ready:
            assert taken is None
            return
        name = ready[0]
        priority, ready_at, number = self.model.rows.pop(name)
        self.model.working.add(name)
        assert taken is not None
        entry = taken[1]
        assert (name, priority, ready_at, number) == (
            taken[0], entry.priority, entry.ready_at, entry.number,
        )  # fmt: skip

    @precondition(lambda self: self.model.working)
    @rule(data=st.data())
    def done(self, data):
        name = data.draw(st.sampled_from(sorted(self.model.working)))
        self.agenda.done(name)
        self.model.working.remove(name)

    @rule(name=NAMES)
    def forget(self, name):
        self.agenda.forget(name)
        self.model.rows.pop(name, None)

    @invariant()
    def tells_what_it_holds(self):
        ready = self.model.ready(self.now)
        depth = {}
        for name in ready:
            priority = self.model.rows[name][0]
            depth[priority] = depth.get(priority, 0) + 1
        known = self.model.rows.keys() | self.model.working
        assert depth == dict(self.agenda.depth(self.now))
        assert bool(ready) == self.agenda.has_ready(self.now)
        assert self.model.working == self.agenda.working
        assert {n: n in known for n in "abcd"} == {n: self.agenda.knows(n) for n in "abcd"}
        assert self.model.rows.keys() == {n for n in "abcd" if self.agenda.waits(n)}

    @invariant()
    def no_delay_is_overslept(self):
        """Whatever becomes ready by time alone is announced by `next_at`, never later than it is."""
        waiting = [
            row[1] for name, row in self.model.rows.items()
            if name not in self.model.working and row[1] > self.now
        ]  # fmt: skip
        moment = self.agenda.next_at()
        assert not waiting or (moment is not None and moment <= min(waiting))


TestQueueAgainstItsModel = QueueMachine.TestCase


async def drained(queue, *, now=lambda: asyncio.get_running_loop().time()):
    """Take and give back until nothing comes for a day; what came, and after how many seconds."""
    started, found = now(), []
    while True:
        try:
            async with asyncio.timeout(86_400):
                item = await queue.get()
        except TimeoutError:
            return found
        found.append((item, round(now() - started, 3)))
        queue.done(item)


def test_a_burst_within_the_window_is_one_look():
    """Ten changes of one node within 200 ms lead to one turn, 200 ms after the first of them."""

    async def burst():
        queue = WorkQueue("nodes")
        taken = asyncio.create_task(drained(queue))
        for _ in range(10):
            queue.add("a", priority=Priority.CUSTOMER, after_s=0.2)
            await asyncio.sleep(0.015)
        await asyncio.sleep(1)
        queue.add("a", priority=Priority.CUSTOMER, after_s=0.2)
        return await taken

    assert [("a", 0.2), ("a", 1.35)] == run_fast(burst())


def test_a_change_overtakes_a_thousand_routine_looks():
    async def crowd():
        queue = WorkQueue("nodes")
        for number in range(1_000):
            queue.add(number, priority=Priority.ROUTINE)
        queue.add("changed", priority=Priority.CUSTOMER)
        queue.add("asked", priority=Priority.ASKED)
        return [await queue.get() for _ in range(3)]

    assert ["changed", "asked", 0] == run_fast(crowd())


def test_a_name_that_is_worked_on_is_handed_out_again_only_after_it_was_given_back():
    """And exactly once, however often it was added meanwhile: no wake-up is lost, none doubled."""

    async def work():
        queue = WorkQueue("nodes")
        queue.add("a")
        first = await queue.get()
        for _ in range(3):
            queue.add("a", priority=Priority.CUSTOMER)
        second = asyncio.create_task(drained(queue))
        await asyncio.sleep(5)
        came_while_working = second.done()
        queue.done(first)
        return came_while_working, await second

    assert (False, [("a", 5.0)]) == run_fast(work())


def test_a_delayed_look_is_brought_forward_and_never_put_off():
    async def forward():
        queue = WorkQueue("nodes")
        queue.add("sooner", after_s=300)
        queue.add("sooner", after_s=10)
        queue.add("later", after_s=20)
        queue.add("later", after_s=600)
        return await drained(queue)

    assert [("sooner", 10.0), ("later", 20.0)] == run_fast(forward())


def test_every_waiting_worker_gets_its_item():
    """One addition after another, and several at once: nobody sleeps while something is ready."""

    async def many():
        queue = WorkQueue("nodes")
        workers = [asyncio.create_task(queue.get()) for _ in range(32)]
        await asyncio.sleep(0)
        for number in range(32):
            queue.add(number, after_s=number // 16)
        async with asyncio.timeout(10):
            return sorted(await asyncio.gather(*workers))

    assert list(range(32)) == run_fast(many())


def test_a_worker_that_is_cancelled_at_its_signal_leaves_the_item_to_another():
    async def cancelled():
        queue = WorkQueue("nodes")
        first, second = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        async with asyncio.timeout(10):
            return await second

    assert "a" == run_fast(cancelled())


def test_a_closed_queue_ends_those_who_wait_and_those_who_come():
    async def close():
        queue = WorkQueue("nodes")
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("too late", after_s=1)
        queue.close()
        with pytest.raises(QueueClosed):
            await waiting
        with pytest.raises(QueueClosed):
            await queue.get()
        queue.add("ignored")

    run_fast(close())


@dataclass
class Heard:
    """A watcher that remembers."""

    lines: list[tuple[str, float]] = field(default_factory=list)

    def added(self, priority):
        self.lines.append(("added", priority))

    def taken(self, waited_s):
        self.lines.append(("taken", round(waited_s, 3)))

    def finished(self, worked_s):
        self.lines.append(("finished", round(worked_s, 3)))


def test_the_watcher_hears_how_long_an_item_was_ready_and_how_long_it_was_worked_on():
    """A delay that was asked for is no waiting."""

    async def watch():
        heard = Heard()
        queue = WorkQueue("nodes", heard)
        queue.add("a", priority=Priority.RETRY, after_s=60)
        await asyncio.sleep(62)
        item = await queue.get()
        await asyncio.sleep(7)
        running = dict(queue.running())
        queue.done(item)
        return heard.lines, running, dict(queue.running())

    expected = [("added", 0), ("taken", 2.0), ("finished", 7.0)]
    assert (expected, {"a": 7.0}, {}) == run_fast(watch())
