"""Wake-ups: whatever a command wrote is heard, in order, once, by whoever reads from its cursor on."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from controller.runtime import wakeups as wakeups_module
from controller.runtime.wakeups import Wakeups
from desired_state.commands import nodes, requests
from desired_state.model.ids import NodeName
from desired_state.model.request import RequestKind
from desired_state.store import unit_of_work
from desired_state.store.errors import StoreBusy
from tests.builders import make_bundle, make_node_spec
from tests.data.rows import apply
from tests.integration.runtime.serving import eventually

A, B = NodeName("a"), NodeName("b")


@pytest.fixture
async def declared(store):
    await apply(
        store,
        make_bundle(
            make_node_spec(A, url="https://a.example.net/"),
            make_node_spec(B, url="https://b.example.net/"),
        ),
    )
    return store


class Heard:
    """Collects what was woken."""

    def __init__(self):
        self.woken = []

    async def __call__(self, woken):
        self.woken.append(woken)

    @property
    def nodes(self):
        return sorted({n for one in self.woken for n in one.nodes | one.asked})


@asynccontextmanager
async def listening(store):
    heard = Heard()
    wakeups = Wakeups(store, heard)
    await wakeups.start()
    task = asyncio.create_task(wakeups.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        wakeups.close()


async def pause(store, node):
    async with unit_of_work.begin(store, "test") as work:
        await nodes.pause(work, node)


async def test_what_is_written_after_the_start_is_heard_and_nothing_before(declared):
    await pause(declared, A)
    async with listening(declared) as heard:
        await pause(declared, B)
        await eventually(lambda: heard.nodes)

    assert [B] == heard.nodes
    assert any(one.scheduler for one in heard.woken)


async def test_a_request_is_told_from_a_change(declared):
    """Somebody's wish to look goes behind customers' changes."""
    async with listening(declared) as heard:
        async with unit_of_work.begin(declared, "test") as work:
            await requests.ask(work, RequestKind.PROBE, node=A)
        await eventually(lambda: heard.woken)

    (woken,) = heard.woken
    assert (frozenset(), {A}, True, False) == (
        woken.nodes, woken.asked, woken.requests, woken.scheduler,
    )  # fmt: skip


async def test_a_flood_is_read_in_pieces_and_nothing_of_it_is_lost(declared, monkeypatch):
    monkeypatch.setattr(wakeups_module, "AT_ONCE", 2)
    heard = Heard()
    wakeups = Wakeups(declared, heard)
    await wakeups.start()
    for node in (A, B, A):
        await pause(declared, node)
        async with unit_of_work.begin(declared, "test") as work:
            await nodes.resume(work, node)

    await wakeups.read()
    pieces = len(heard.woken)
    await wakeups.read()

    assert [A, B] == heard.nodes
    assert pieces > 2
    assert pieces == len(heard.woken)


async def test_what_nobody_heard_of_is_read_again(declared):
    """Whoever is told may fail; the cursor stands until it does not."""
    heard, calls = [], []

    async def woken(one):
        calls.append(one)
        if len(calls) == 1:
            raise StoreBusy("it is busy")
        heard.append(one)

    wakeups = Wakeups(declared, woken)
    await wakeups.start()
    await pause(declared, A)
    with pytest.raises(StoreBusy):
        await wakeups.read()

    await wakeups.read()

    assert [{A}] == [one.nodes for one in heard]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=False)
async def test_a_lost_listener_costs_a_poll_and_comes_back(declared, backend, monkeypatch):
    """The notification is a hint: with nobody listening the next poll finds the same."""
    del backend
    monkeypatch.setattr(wakeups_module, "POLL_ALONE_S", 0.05)
    monkeypatch.setattr(wakeups_module, "RELISTEN_S", 3_600)
    monkeypatch.setattr(Wakeups, "_hear", _no_listener)
    async with listening(declared) as heard:
        await pause(declared, A)
        await eventually(lambda: heard.nodes)

    assert [A] == heard.nodes


async def _no_listener(self):
    raise StoreBusy("no connection is left")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=False)
async def test_a_listener_hears_at_once_what_the_poll_would_find_later(
    declared, backend, monkeypatch
):
    del backend
    monkeypatch.setattr(wakeups_module, "POLL_LISTENING_S", 3_600)
    async with listening(declared) as heard:
        await asyncio.sleep(0.5)
        await pause(declared, A)
        await eventually(lambda: heard.nodes)

    assert [A] == heard.nodes
