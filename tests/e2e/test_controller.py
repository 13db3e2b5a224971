"""The controller as a process that stays: woken by others, ended by signals, killed at any moment."""

import asyncio
import os
import random
import signal

import pytest

from simulator import by_hand
from tests.e2e.operator import node
from tests.e2e.service import serving, start, until

KILLS = 60 if os.environ.get("X3FLEET_TEST_DEEP") else 4


async def test_what_another_process_declares_reaches_the_panel_without_anybody_asking(
    operator, start_panel
) -> None:
    """A key is issued, rotated and revoked by commands of their own; the service does the rest."""
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url))
    async with serving(operator) as service:
        await service.logged("cycle_finished", node="a")

        issued = await operator.ask("keys", "issue", "--tariff", "all")
        key = issued["keys"][0]["key"]
        await until(lambda: panel.emails == [f"x3f-{key}-g1"])
        await operator.ask("keys", "rotate", key)
        await until(lambda: panel.emails == [f"x3f-{key}-g2"])
        await operator.ask("keys", "revoke", key)
        await until(lambda: panel.emails == [])


async def test_a_second_controller_refuses_and_names_the_first(operator, start_panel) -> None:
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url))
    async with serving(operator) as service:
        second = await operator.run("controller")

        assert 1 == second.code
        assert f"a daemon controller with process id {service.process.pid}" in second.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl-c"])
async def test_a_signal_ends_it_cleanly_and_gives_the_database_back(
    operator, start_panel, number
) -> None:
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=1)
    service = await start(operator)
    await until(lambda: panel.emails)

    code = await service.end(number)
    after = await operator.ask("reconcile", "now")

    stopped = await service.logged("controller_stopped")
    assert (0, True, []) == (code, stopped["clean"], service.errors)
    assert (True, 0) == (after["in_sync"], after["totals"]["writes"])


async def test_a_stop_in_the_middle_of_a_write_proves_what_was_sent_and_sends_nothing_more(
    operator, start_panel
) -> None:
    """The call in hand is waited for, looked at and recorded; the rest is left for the next start."""
    panel = await start_panel("2.9.4", inbounds=2)
    await operator.set_up(node("a", panel.url), keys=2)
    # The first call takes long enough for a signal to come in the middle of it.
    panel.panel.faults.arm({"kind": "slow", "path": "/addClient", "delay_s": 2})
    service = await start(operator)
    await until(lambda: not panel.panel.faults.list())

    service.process.send_signal(signal.SIGTERM)
    await service.logged("controller_stopping", working=1)
    code = await service.ended()
    on_panel = list(panel.emails)
    after = await operator.ask("reconcile", "now")

    assert (0, []) == (code, service.errors)
    cycle = await service.logged("cycle_finished", node="a", writes=2)
    # Two inbounds want a call each: the second one was withheld.
    assert (2, 2) == (len(on_panel), cycle["created"])
    assert await service.logged("write_withheld", cause="the controller is stopping")
    assert (True, 2) == (after["in_sync"], after["totals"]["created"])
    assert 4 == len(set(panel.emails)) == len(panel.emails)


async def test_killed_at_any_moment_it_converges_at_the_next_start(
    operator, start_panel, rng, report_count
) -> None:
    """SIGKILL while keys come, change and go: no client twice, none too many, no stranger touched."""
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    for panel in (old, new):
        by_hand.add_client(panel.panel, 1, {"email": "a-stranger"})
    keys = await operator.set_up(node("old", old.url), node("new", new.url), keys=6)
    for _ in range(KILLS):
        service = await start(operator)
        change = asyncio.create_task(_change_something(operator, keys, rng))
        await asyncio.sleep(rng.uniform(0, 1.2))
        await service.end(signal.SIGKILL)
        await change
        assert [] == service.errors

    async with serving(operator):
        wanted = await _wanted(operator)
        await until(lambda: _keys_on(old) == _keys_on(new) == wanted)
    after = await operator.ask("reconcile", "now")

    report_count({"kill -9 of a controller": KILLS})
    assert (True, 0) == (after["in_sync"], after["totals"]["writes"])
    assert ["a-stranger"] == [e for e in old.emails if not e.startswith("x3f-")]
    assert ["a-stranger"] == [e for e in new.emails if not e.startswith("x3f-")]


async def _change_something(operator, keys: list[str], rng: random.Random) -> None:
    what = rng.choice(["issue", "rotate", "revoke"])
    if what == "issue" or len(keys) < 3:
        issued = await operator.ask("keys", "issue", "--tariff", "all", "--count", "2")
        keys += [key["key"] for key in issued["keys"]]
    elif what == "rotate":
        await operator.ask("keys", "rotate", rng.choice(keys))
    else:
        await operator.ask("keys", "revoke", keys.pop(rng.randrange(len(keys))))


async def _wanted(operator) -> list[str]:
    listed = await operator.ask("keys", "list")
    return sorted(f"{key['key']}-g{key['generation']}" for key in listed["keys"])


def _keys_on(panel) -> list[str]:
    """Keys with their generations; each stands once, or the list shows it."""
    ours = (email.split("-") for email in panel.emails if email.startswith("x3f-"))
    return sorted(f"{key}-{generation}" for _, key, generation, *_ in ours)
