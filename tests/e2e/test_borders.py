"""What comes from outside is bounded, shown legibly and taken at its word only as far as it goes."""

import asyncio
import gzip
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from desired_state.model.ids import Generation, KeyId
from desired_state.store.convert import seed_place
from desired_state.store.secrets import Vault, make_key
from simulator.by_hand import add_inbound
from tests.e2e.operator import node

HOSTILE = "\x1b[31mEVIL\nin sync\x9b1m\u202e"


@asynccontextmanager
async def bomb() -> AsyncIterator[str]:
    """Serve 2 MB that inflate to 2 GB."""
    body = _packed()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def _packed() -> bytes:
    """Gzip's members may follow one another: one is made, and repeated."""
    return gzip.compress(bytes(1 << 24)) * 128


async def test_an_answer_that_inflates_without_measure_is_refused(operator) -> None:
    async with bomb() as url:
        await operator.set_up(node("a", url))

        run = await operator.run("nodes", "probe", "a")

    assert 1 == run.code
    assert "Stalled/ContractBroken: the answer is larger than any panel's" in run.out


async def test_what_a_panel_chose_reaches_no_terminal_raw(operator, start_panel) -> None:
    """Its GUID in every sentence about it, the tag of its inbound in the node's table."""
    panel = await start_panel("3.6.0")
    panel.panel.state.guid = HOSTILE
    add_inbound(panel.panel, {"protocol": "vless", "port": 21_699, "tag": HOSTILE})
    await operator.set_up(node("a", panel.url), keys=1)

    runs = [await operator.run("reconcile", "now"), await operator.run("nodes", "show", "a")]
    runs.append(await operator.run("nodes", "show", "a", "--output", "json"))
    panel.panel.state.guid = HOSTILE[::-1]
    runs += [await operator.run("reconcile", "now"), await operator.run("doctor")]

    texts = [text for run in runs for text in (run.out, run.err)]
    assert all(line.isprintable() for text in texts for line in text.split("\n"))
    assert [] == [text for text in texts if "\nin sync" in text.replace("\nin sync: 1 node", "")]
    assert "\\x1b[31mEVIL" in runs[1].out


async def test_a_key_named_twice_is_rotated_once(operator) -> None:
    (key,) = await operator.set_up(keys=1)

    rotated = await operator.ask("keys", "rotate", key, key)

    assert [2] == [one["generation"] for one in rotated["keys"]]


async def test_a_pipe_among_manifests_is_refused_and_not_waited_for(operator) -> None:
    fleet = operator.declare()
    os.mkfifo(fleet / "odd.yaml")

    run = await operator.run("manifests", "validate", str(fleet))

    assert 1 == run.code
    assert "odd.yaml cannot be read: it is no regular file" in run.err


async def test_a_key_is_not_sealed_with_the_encryption_key_of_another_database(operator) -> None:
    await operator.set_up()
    operator.database.with_name("x3fleet.db.key").rename(operator.folder / "right.key")
    other = operator.folder / "other.db"
    await operator.ask("db", "upgrade", X3FLEET_DATABASE__URL=f"sqlite:///{other}")
    wrong = {"X3FLEET_DATABASE__KEY_FILE": str(other) + ".key"}
    right = {"X3FLEET_DATABASE__KEY_FILE": str(operator.folder / "right.key")}

    refused = await operator.ask("keys", "issue", "--tariff", "all", code=1, **wrong)
    issued = await operator.ask("keys", "issue", "--tariff", "all", **right)
    listed = await operator.ask("keys", "list", **right)

    assert "secret_unreadable" == refused["error"]["code"]
    assert 1 == len(issued["keys"]) == len(listed["keys"])


async def test_a_databases_password_is_in_no_answer(operator) -> None:
    url = "postgresql://127.0.0.1:1/f?user=u&password=hunter2"
    settings = {"X3FLEET_DATABASE__URL": url, "X3FLEET_ENCRYPTION_KEYS": "A" * 43 + "="}

    runs = [
        await operator.run(*words, **settings)
        for words in (("config", "show"), ("doctor",), ("db", "upgrade"), ("nodes", "list"))
    ]

    assert [] == [run for run in runs if "hunter2" in run.out + run.err]
    assert "password=***" in runs[0].out


async def test_a_key_whose_seed_cannot_be_opened_is_withheld_alone(operator, start_panel) -> None:
    panel = await start_panel("3.6.0")
    lost, *others = await operator.set_up(node("a", panel.url), keys=3)
    with sqlite3.connect(operator.database) as database:
        database.execute(
            "UPDATE key_generation SET seed = ? WHERE key_id = ?",
            (
                Vault([make_key()]).seal(b"s" * 32, seed_place(KeyId(lost), Generation(1))).token,
                lost,
            ),
        )
    database.close()

    run = await operator.run("reconcile", "now")
    document = await operator.ask("reconcile", "now", code=2)

    assert 2 == run.code
    assert sorted(f"x3f-{key}-g1" for key in others) == panel.emails
    assert f"x3f-{lost}-g1: its seed is missing, or these encryption keys do not open it" in run.out
    assert [f"x3f-{lost}-g1"] == [one["email"] for one in document["nodes"][0]["refused"]]
