"""Two runs at once, runs that are ended, and plans that wait for a person."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.e2e.operator import finish, node, shape


class Door:
    """A proxy in front of a panel: callers wait until it is opened."""

    def __init__(self, url: str) -> None:
        self._panel = urlsplit(url)
        self.opened = asyncio.Event()
        self.knocked = asyncio.Event()
        self.url = ""

    async def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one connection, then pass everything on."""
        self.knocked.set()
        await self.opened.wait()
        onward = await asyncio.open_connection(self._panel.hostname, self._panel.port)
        await asyncio.gather(_pass(reader, onward[1]), _pass(onward[0], writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # a caller that was ended
    finally:
        writer.close()


@asynccontextmanager
async def door(url: str) -> AsyncIterator[Door]:
    """Put a closed door in front of a panel."""
    made = Door(url)
    server = await asyncio.start_server(made.let_in, "127.0.0.1", 0)
    try:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield made
    finally:
        server.close()


async def test_two_runs_at_once_never_mix(operator, start_panel) -> None:
    """The second is refused and names the first; with --wait it goes on after it."""
    panel = await start_panel("3.6.0")
    async with door(panel.url) as entrance:
        await operator.set_up(node("a", entrance.url), keys=1)
        first = await operator.start("reconcile", "now", "--output", "json")
        await entrance.knocked.wait()

        refused = await operator.run("reconcile", "now", "--output", "json")
        queued = await operator.start("reconcile", "now", "--wait", "--output", "json")
        entrance.opened.set()
        one, two = await asyncio.gather(finish(first), finish(queued))

    assert 1 == refused.code
    assert "already_running" == refused.document["error"]["code"]
    assert f"process id {first.pid}" in refused.err
    assert "--wait" in refused.err
    assert (0, 0) == (one.code, two.code)
    assert [1, 0] == [run.document["totals"]["created"] for run in (one, two)]
    assert 0 == two.document["totals"]["writes"]


async def test_a_run_that_is_ended_gives_its_lock_back(operator, start_panel) -> None:
    panel = await start_panel("3.6.0")
    async with door(panel.url) as entrance:
        await operator.set_up(node("a", entrance.url), keys=1)
        ended = await operator.start("reconcile", "now")
        await entrance.knocked.wait()

        ended.send_signal(signal.SIGTERM)
        run = await finish(ended)
        entrance.opened.set()
        after = await operator.ask("reconcile", "now")

    assert (143, "x3fleet: interrupted\n") == (run.code, run.err)
    assert (True, 1) == (after["in_sync"], after["totals"]["created"])


async def test_a_blocked_plan_waits_for_its_approval_and_is_then_done(
    operator, start_panel
) -> None:
    """3 until a person approves exactly what is withheld; everything else goes on meanwhile."""
    panel = await start_panel("3.6.0")
    keys = await operator.set_up(node("a", panel.url), keys=20)
    await operator.ask("reconcile", "now")
    await operator.ask("keys", "revoke", *keys[:10])
    issued = await operator.ask("keys", "issue", "--tariff", "all")

    planned = await operator.ask("plan", code=3)
    digest = planned["nodes"][0]["blocked"][0]["digest"]
    early, advised = await operator.run("approve", digest), await operator.run("plan")
    blocked = await operator.ask("reconcile", "now", code=3)
    meanwhile = set(panel.emails)
    table, again = await operator.run("nodes", "show", "a"), await operator.run("plan")
    wrong = await operator.run("approve", "deadbeefdeadbeef")
    approved = await operator.ask("approve", digest[:12])
    done = await operator.ask("reconcile", "now")

    new = issued["keys"][0]["key"]
    approve = f"x3fleet approve {digest[:12]}, then x3fleet reconcile now --node a"
    assert (1, True) == (early.code, "x3fleet reconcile now keeps what it withholds" in early.err)
    assert f"now --node a first, which does the rest, then {approve}" in advised.out
    assert f"if that is right: {approve}" in again.out
    assert [digest] == [one["digest"] for one in blocked["nodes"][0]["blocked"]]
    assert {"blocked"} == {planned["nodes"][0]["state"], blocked["nodes"][0]["state"]}
    assert {f"x3f-{key}-g1" for key in (*keys, new)} == meanwhile
    assert f"x3fleet approve {digest[:12]}" in table.out
    assert (1, True) == (wrong.code, "nothing is withheld under deadbeef" in wrong.err)
    assert {"node": "str", "kind": "str", "digest": "str", "emails": ["str"]} == shape(approved)
    assert sorted(f"x3f-{key}-g1" for key in keys[:10]) == approved["emails"]
    assert (True, 10) == (done["in_sync"], done["totals"]["deleted"])
    assert sorted(f"x3f-{key}-g1" for key in (*keys[10:], new)) == panel.emails


async def test_another_panel_under_the_address_is_left_alone_until_a_person_accepts_it(
    operator, start_panel
) -> None:
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=2)
    await operator.ask("reconcile", "now")
    panel.panel.state.guid = "11111111-2222-4333-8444-555555555555"
    before = panel.writes

    stalled = await operator.ask("reconcile", "now", code=3)
    after = panel.writes
    asked = await operator.ask("nodes", "rebind", "a")
    bound = await operator.ask("reconcile", "now")

    held = [f"{c['type']}/{c['reason']}" for c in stalled["nodes"][0]["conditions"] if c["status"]]
    assert (["Stalled/IdentityChanged"], before) == (held, after)
    assert {"node": "str", "request": "str", "token": "str"} == shape(asked)
    assert bound["in_sync"]


async def test_overrides_stand_until_they_are_taken_back(operator, start_panel) -> None:
    """A paused node is not contacted; a cordoned one gets no new key."""
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url))
    paused = await operator.ask("nodes", "pause", "a")
    quiet = await operator.ask("reconcile", "now")
    seen = len(panel.panel.log)
    await operator.ask("nodes", "resume", "a")
    await operator.ask("nodes", "cordon", "a")
    await operator.ask("keys", "issue", "--tariff", "all")

    cordoned = await operator.ask("reconcile", "now", code=2)
    open_again = await operator.ask("nodes", "uncordon", "a")
    done = await operator.ask("reconcile", "now")

    assert {
        "node": "a", "changed": True, "mode": "paused", "paused": True, "cordoned": False,
        "draining": False, "schedulable": True,
    } == paused  # fmt: skip
    assert ("paused", 0) == (quiet["nodes"][0]["state"], seen)
    assert 1 == len(cordoned["unschedulable"])
    assert {"key": "str", "missing": "int", "reason": "str"} == shape(cordoned["unschedulable"][0])
    assert (False, 1) == (open_again["cordoned"], done["totals"]["created"])
