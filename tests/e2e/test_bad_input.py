"""What is wrong is said in one sentence, where it is, before more is touched than must be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from simulator.version import Version
from tests.e2e.operator import BY_TOKEN, TARIFF, node


@asynccontextmanager
async def web_site(body: bytes) -> AsyncIterator[str]:
    """Serve something that is no 3x-ui."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def conditions(run: dict, name: str = "a") -> list[str]:
    [found] = [one for one in run["nodes"] if one["node"] == name]
    return [f"{c['type']}/{c['reason']}" for c in found["conditions"] if c["status"]]


async def test_wrong_password_is_tried_once_however_often_the_command_is_repeated(
    operator, start_panel
) -> None:
    """Five refusals lock the account: after the first one a person decides."""
    panel = await start_panel("2.9.4")
    await operator.set_up(node("a", panel.url), keys=1)
    wrong = {"PANEL_PASSWORD": "not-this-one"}

    first = await operator.ask("reconcile", "now", code=1, **wrong)
    again = await operator.ask("reconcile", "now", code=1, **wrong)
    table = await operator.run("plan", **wrong)
    tried = panel.logins
    await operator.ask("nodes", "resume", "a")
    resumed = await operator.ask("reconcile", "now", code=1, **wrong)
    corrected = await operator.ask("reconcile", "now")

    assert ["Stalled/CredentialsRefused"] == conditions(first) == conditions(again)
    assert 1 == tried
    assert "x3fleet nodes resume a" in table.out
    assert "not-this-one" not in table.out + table.err
    assert ["Stalled/CredentialsRefused"] == conditions(resumed)
    assert corrected["in_sync"]


async def test_what_answers_otherwise_than_a_declared_panel_is_named(
    operator, start_panel, tmp_path
) -> None:
    """Nodes fail side by side, each for its own reason, and the good one is done."""
    made = trustme.CA().issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    good = await start_panel("3.6.0", base_path="/hidden/")
    old = await start_panel("2.3.15")
    old.panel.version = Version(2, 3, 10)
    secure = await start_panel("3.2.8", tls=(str(cert), str(key)))
    closed = await start_panel("3.2.8")
    async with web_site(b"<html>welcome</html>") as other:
        await operator.set_up(
            node("good", good.url),
            node("path", good.url.replace("hidden", "wrong")),
            node("other", other),
            node("old", old.url),
            node("tls", secure.url),
            node("token", closed.url.replace("127.0.0.1", "127.0.0.2"), auth=BY_TOKEN),
            keys=1,
        )
        run = await operator.ask("reconcile", "now", code=1)

    states = {one["node"]: one["state"] for one in run["nodes"]}
    found = {name: conditions(run, name) for name in states if name != "good"}
    assert dict.fromkeys(states, "failed") | {"good": "in sync"} == states
    assert {
        "path": ["Stalled/NotAPanel"],
        "other": ["Stalled/NotAPanel"],
        "old": ["Stalled/UnsupportedVersion"],
        "tls": ["Stalled/TlsMismatch"],
        "token": ["Unreachable/Unreachable"],
    } == found
    assert (1, 0) == (len(good.emails), old.logins + secure.logins)
    assert all(one["error"] for one in run["nodes"] if one["node"] != "good")


async def test_a_missing_secret_is_named_before_its_panel_is_contacted(
    operator, start_panel
) -> None:
    panel = await start_panel("3.6.0")
    auth = "{token: {env: FORGOTTEN_TOKEN}}"
    await operator.set_up(node("a", panel.url, auth=auth), keys=1)

    run = await operator.run("reconcile", "now")

    assert 1 == run.code
    assert "Stalled/NotConfigured" in run.out
    assert "auth.token: the environment variable FORGOTTEN_TOKEN is not set" in run.out
    assert [] == panel.panel.log


async def test_every_fault_of_manifests_is_shown_with_its_place_and_nothing_is_applied(
    operator,
) -> None:
    await operator.ask("db", "upgrade")
    fleet = operator.declare(
        node("a", "ftp://a.example.net/"),
        node("b", "https://b.example.net:99999/"),
        node("b", "https://b.example.net/"),
        tariff=TARIFF.replace("days: 30", "days: soon"),
    )

    checked = await operator.run("manifests", "validate", str(fleet))
    applied = await operator.ask("manifests", "apply", str(fleet), code=1)
    nodes = await operator.ask("nodes", "list")

    *faults, last = checked.err.splitlines()
    places = [fault.removeprefix(f"{fleet}/fleet.yaml:").split(":")[0] for fault in faults]
    assert (1, "") == (checked.code, checked.out)
    assert "x3fleet: 4 faults in the manifests; nothing was applied" == last
    assert sorted(places, key=int) == places
    error = applied["error"]
    assert ["file", "line", "column", "field", "message", "hint"] == list(error["faults"][0])
    assert places == [str(fault["line"]) for fault in error["faults"]]
    assert {"nodes": []} == nodes


@pytest.mark.parametrize(
    ("words", "told"),
    {
        "an unknown command": (("keyz",), 'Unknown command "keyz"'),
        "an unknown option": (("plan", "--fast"), "Unknown option: --fast"),
        "a missing option": (("keys", "issue"), "--tariff"),
        "a missing argument": (("approve",), "DIGEST"),
        "an output that is none": (("plan", "--output", "xml"), "xml"),
        "no folder": (("manifests", "validate", "nowhere"), "nowhere cannot be read"),
    }.values(),
)
async def test_a_command_line_that_makes_no_sense_ends_with_1(operator, words, told) -> None:
    """Not with 2, which is "drift found"; one line on stderr, nothing on stdout."""
    run = await operator.run(*words)

    assert (1, "") == (run.code, run.out)
    assert told in run.err
    assert 1 == len(run.err.splitlines())
    assert run.err.startswith("x3fleet: ")


async def test_a_wrong_setting_is_named_and_its_value_is_not(operator) -> None:
    run = await operator.run(
        "nodes", "list", "--output", "json", X3FLEET_DATABASE__URL="mysql://u:hidden@h/x"
    )

    assert 1 == run.code
    assert "X3FLEET_DATABASE__URL" in run.err
    assert "hidden" not in run.err + run.out
    assert "config" == run.document["error"]["code"]
    assert {"code", "message", "hint"} == set(run.document["error"])
