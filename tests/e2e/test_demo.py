"""The demo as its reader starts it: one process, its panels, one line of JSON that panels vouch for."""

import asyncio
import json
import re
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.demo.scenario import FOLDER
from tests.e2e.operator import Operator, finish

URL = re.compile(r"http://127\.0\.0\.1:\d+/")


def is_open(url: str) -> bool:
    """Tell whether somebody listens there."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", urlsplit(url).port)) == 0


async def test_the_demo_ends_with_one_line_that_panels_vouch_for(operator) -> None:
    """Three versions converge, are damaged by hand and healed; nothing stays behind."""
    run = await operator.run("demo", "--once", "--output", "json", X3FLEET_TYPO="unused")

    scenario = json.loads((FOLDER / "demo.json").read_text())
    keys = sum(keys["count"] for keys in scenario["keys"])
    foreign = 3 * (len(scenario["by_hand_before"]) + len(scenario["by_hand_after"]))
    urls = set(URL.findall(run.err))
    assert 0 == run.code, run.err
    assert {
        "converged": True, "nodes": 3, "keys": keys, "healed": 6, "foreign_untouched": foreign,
        "second_cycle_writes": 0,
    } == run.document  # fmt: skip
    assert "\x1b" not in run.out + run.err
    assert 3 == len(urls)
    assert [] == [url for url in urls if is_open(url)]
    assert not operator.database.exists()


async def test_the_demo_stays_until_it_is_told_to_end(operator) -> None:
    """Its panels are up meanwhile, and the operator's own commands drive them from outside."""
    process = await operator.start("demo", "--data", str(small_data(operator)))
    told = await read_until(process, "x3fleet doctor")
    script = re.search(r"^\. (\S+/env\.sh)$", told, re.MULTILINE)
    assert script, told
    variables = dict(re.findall(r"^export (X3FLEET_\w+)=(\S+)$", _read(script[1]), re.MULTILINE))

    plan = await operator.ask("plan", **variables)
    doctor = await operator.ask("doctor", **variables)
    up = [is_open(url) for url in set(URL.findall(told))]
    process.send_signal(signal.SIGTERM)
    run = await finish(process)

    assert (True, True) == (plan["in_sync"], doctor["healthy"])
    assert [True, True] == up
    assert (0, "") == (run.code, run.err)
    assert [] == [url for url in URL.findall(told) if is_open(url)]
    assert not _exists(script[1])


def small_data(operator: Operator) -> Path:
    """Two panels of other versions: the demo is data."""
    folder = operator.folder / "data"
    folder.mkdir()
    nodes = (FOLDER / "nodes.yaml").read_text().split("---\n")[:2]
    (folder / "nodes.yaml").write_text("---\n".join(nodes))
    (folder / "tariffs.yaml").write_text((FOLDER / "tariffs.yaml").read_text())
    scenario = json.loads((FOLDER / "demo.json").read_text())
    scenario["panels"] = scenario["panels"][:2]
    for panel, version in zip(scenario["panels"], ("2.3.15", "3.0.2"), strict=True):
        panel["version"] = version
    (folder / "demo.json").write_text(json.dumps(scenario))
    return folder


async def read_until(process: asyncio.subprocess.Process, last: str) -> str:
    """Read stdout up to a line that holds the last words."""
    assert process.stdout is not None
    told = ""
    while last not in told:
        line = (await process.stdout.readline()).decode()
        if not line:
            pytest.fail(f"the demo ended early: {told}\n{(await finish(process)).err}")
        told += line
    return told


def _read(path: str) -> str:
    return Path(path).read_text()


def _exists(path: str) -> bool:
    return Path(path).exists()


async def test_a_demo_without_data_says_so(operator) -> None:
    run = await operator.run("demo", "--data", "nowhere")

    assert (1, 1) == (run.code, len(run.err.splitlines()))
    assert "nowhere/demo.json cannot be read" in run.err
