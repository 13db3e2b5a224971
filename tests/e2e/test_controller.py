"""The controller as a process that stays: woken by others, ended by signals, killed at any moment."""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from simulator import by_hand
from tests.drill.audit import Account, Books, Findings, Row, audit
from tests.e2e.operator import finish, node, shape
from tests.e2e.service import serving, start, until

STRANGER = {
    "email": "a-stranger", "id": "1c9b0a3e-0000-4000-8000-000000000001", "enable": True,
    "subId": "strangers-sub", "limitIp": 0, "totalGB": 0, "expiryTime": 0,
}  # fmt: skip
"""Complete: what is missing, a panel fills in by itself when it writes the inbound."""
DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
KILLS = 60 if DEEP else 3
OPEN_HANDED = """\
apiVersion: x3fleet/v1
kind: Policy
metadata: {name: default}
spec:
  guards: {deletes: {share: 1.0, floor: 100}, fleetDeletes: {share: 1.0, window: 10m}}
"""
"""So many kills take longer than a window of the fleet's share, and each of them deletes something."""


ROWS = """
SELECT row.node, row.email, row.key, row.state,
       coalesce(
           row.delete_reason,
           CASE WHEN key.deleted_at IS NOT NULL OR row.generation < key.generation THEN 'declared' END
       ),
       row.gone_at
FROM remote_generation AS row LEFT JOIN key ON key.id = row.key
"""
"""Of a delete that was sent just before the end, the journal has no reason yet: what was declared has."""


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


async def test_reconcile_now_beside_it_is_handled_by_it_and_ends_as_a_run_of_its_own_would(
    operator, start_panel
) -> None:
    """The same document and exit codes: done, blocked, a panel that cannot be reached."""
    panel, other = await start_panel("3.6.0"), await start_panel("2.9.4")
    keys = await operator.set_up(node("a", panel.url), node("b", other.url), keys=8)
    async with serving(operator) as service:
        done = await operator.ask("reconcile", "now")
        matched = await operator.ask("nodes", "rematch", "b", "--wait")
        for key in keys[:7]:
            await operator.ask("keys", "revoke", key)
        blocked = await operator.run("reconcile", "now", "--node", "a", "--wait")
        digest = (await operator.ask("reconcile", "now", "--node", "a", code=3))["nodes"][0]
        await operator.ask("approve", digest["blocked"][0]["digest"])
        await until(lambda: len(panel.emails) == 1)
        fleet = operator.declare(node("a", panel.url), node("b", "http://127.0.0.1:9/"))
        await operator.ask("manifests", "apply", str(fleet))
        lost = await operator.ask("reconcile", "now", "--node", "b", code=1)
        answers = [line for line in service.lines if line["event"] == "request_answered"]

    assert (True, ["in sync", "in sync"]) == (done["in_sync"], [n["state"] for n in done["nodes"]])
    assert ("InSync", True) == (matched["outcome"], matched["ready"])
    assert 8 * 2 == done["totals"]["verified"]
    assert (3, "") == (blocked.code, blocked.err)
    assert "a: Blocked/TooManyDeletes" in blocked.out
    assert "failed" == lost["nodes"][0]["state"]
    assert ["in sync", "in sync", "blocked", "blocked", "failed"] == [
        line["outcome"] for line in answers
    ]


async def test_a_probe_beside_it_is_answered_by_it_and_opens_no_session_of_its_own(
    operator, start_panel
) -> None:
    """The same document and exit code as a probe without it, drift included."""
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=2)
    await operator.ask("reconcile", "now")
    alone = await operator.ask("nodes", "probe", "a")
    async with serving(operator) as service:
        await service.logged("cycle_finished", node="a")
        logins, writes = panel.logins, panel.writes

        beside = await operator.ask("nodes", "probe", "a")
        told = await operator.run("nodes", "probe", "a")
        await service.logged("request_answered", node="a", kind="probe")

    assert (logins, writes) == (panel.logins, panel.writes)
    assert shape(alone) == shape(beside)
    assert (2, "in sync", "3.6.0") == (beside["verified"], beside["state"], beside["version"])
    assert (0, "") == (told.code, told.err)
    assert "a answers: 3x-ui 3.6.0" in told.out


async def test_a_follower_does_not_wait_for_a_controller_that_is_gone(
    operator, start_panel
) -> None:
    """It says so; the request stays, and the next controller handles it."""
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=1)
    service = await start(operator)
    await until(lambda: panel.emails)
    # Looks take so long that the answer cannot come before the controller is killed.
    panel.panel.faults.arm({"kind": "slow", "method": "GET", "delay_s": 6, "count": 100})
    follower = await operator.start("reconcile", "now")
    await until(lambda: _requests(operator))

    await service.end(signal.SIGKILL)
    run = await finish(follower)
    panel.panel.faults.clear()

    assert 1 == run.code
    assert "the controller ended before it answered" in run.err
    async with serving(operator) as next_one:
        await next_one.logged("request_answered", node="a", outcome="in sync")


async def test_everything_that_forbids_a_start_is_told_at_once(operator) -> None:
    wrong = {
        "X3FLEET_CONTROLLER__TURN_S": "soon",
        "X3FLEET_CONTROLLER__METRICS__PORT": "70000",
        "X3FLEET_SYNC__EVERY_S": "0",
        "X3FLEET_DATABASE__URL": "mysql://db.example.net/x3fleet",
    }

    run = await operator.run("controller", **wrong)
    missing = await operator.run("controller", X3FLEET_CONTROLLER__METRICS__PORT="0")

    assert (1, "") == (run.code, run.out)
    assert all(name in run.err for name in wrong)
    assert "not started: 4 things to correct" in run.err
    assert 1 == missing.code
    assert "x3fleet db upgrade" in missing.err


async def test_a_node_whose_secret_is_missing_does_not_keep_the_others_from_being_served(
    operator, start_panel
) -> None:
    panel = await start_panel("3.6.0")
    lonely = node("lonely", "http://127.0.0.1:9/", auth="{token: {env: NOBODY_SET_THIS}}")
    await operator.set_up(node("a", panel.url), lonely, keys=1)
    async with serving(operator) as service:
        warned = await service.logged("start_warned")
        await until(lambda: panel.emails)

    assert ("lonely", True) == (warned["subject"], "NOBODY_SET_THIS" in warned["message"])


@pytest.mark.timeout(3600 if DEEP else 300)
async def test_killed_at_any_moment_it_converges_at_the_next_start(
    operator, start_panel, rng, report_count
) -> None:
    """SIGKILL while keys come, change and go; panels and database are audited after each."""
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    for panel in (old, new):
        by_hand.add_client(panel.panel, 1, STRANGER)
        panel.panel.trail.begin(on=True)
    nodes = node("old", old.url), node("new", new.url)
    keys = await operator.set_up(OPEN_HANDED, *nodes, keys=6)
    panels, audited = {"old": old, "new": new}, 0
    for number in range(KILLS):
        service = await start(operator, "run")
        if number % 3:
            # Of three one dies over what the last one left behind.
            await _converges(operator, panels)
        change = asyncio.create_task(_change_something(operator, keys, rng))
        await asyncio.sleep(rng.uniform(0, 1.2))
        await service.end(signal.SIGKILL)
        await change
        found = _audit(operator, panels)
        audited += sum(found.checked.values())
        assert ([], []) == (service.errors, found.broken)

    async with serving(operator, "run"):
        await _converges(operator, panels)
    after = await operator.ask("reconcile", "now")

    report_count({"kill -9 of x3fleet run": KILLS, "lines of books audited": audited})
    assert [] == _audit(operator, panels).broken
    assert (True, 0) == (after["in_sync"], after["totals"]["writes"])
    assert ["a-stranger"] == [e for e in old.emails if not e.startswith("x3f-")]
    assert ["a-stranger"] == [e for e in new.emails if not e.startswith("x3f-")]


async def _converges(operator, panels) -> None:
    wanted = await _wanted(operator)
    await until(lambda: all(_keys_on(panel) == wanted for panel in panels.values()))


def _audit(operator, panels) -> Findings:
    """Hold the panels' own trails against the journal as it is stored at this moment."""
    with closing(sqlite3.connect(operator.database)) as connection:
        rows = connection.execute(ROWS).fetchall()
    journal = tuple(Row(*row[:5], None if row[5] is None else _moment(row[5])) for row in rows)
    accounts = [
        Account(name, tuple(line.__dict__ for line in panel.panel.trail.lines))
        for name, panel in panels.items()
    ]
    return audit(accounts, Books(journal))


def _moment(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def _requests(operator) -> int:
    with closing(sqlite3.connect(operator.database)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM request").fetchone()
    return int(number)


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
