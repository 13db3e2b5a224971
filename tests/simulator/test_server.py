"""Panels on real sockets: ports, cuts of real connections, TLS, the command."""

import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from simulator.app import PanelOptions, create_panel
from simulator.server import running, serve

ROOT = Path(__file__).parents[2]


async def test_a_panel_and_its_control_port_listen_on_free_ports():
    panel = create_panel("2.9.4", options=PanelOptions(base_path="/x/"))

    async with running(panel) as served, httpx.AsyncClient() as http:
        page = await http.get(served.url)
        state = await http.get(f"{served.control_url}/state")

    assert served.url.endswith("/x/")
    assert (200, "2.9.4") == (page.status_code, state.json()["version"])
    assert "date" in page.headers
    assert "server" not in page.headers


async def test_several_panels_live_in_one_loop():
    panels = [create_panel(version) for version in ("2.3.15", "2.9.4", "3.6.0")]

    async with (
        running(panels[0]) as one,
        running(panels[1]) as two,
        running(panels[2]) as three,
        httpx.AsyncClient() as http,
    ):
        urls = [one.control_url, two.control_url, three.control_url]
        versions = [(await http.get(f"{url}/state")).json()["version"] for url in urls]

    assert ["2.3.15", "2.9.4", "3.6.0"] == versions


@pytest.mark.parametrize("kind", ["lost_request", "lost_response", "reset"])
async def test_connections_are_really_cut(kind):
    panel = create_panel("2.9.4")

    async with running(panel) as served, httpx.AsyncClient(base_url=served.url) as http:
        panel.faults.arm({"kind": kind, "path": "/login"})
        with pytest.raises(httpx.TransportError):
            await http.post("/login", data={"username": "admin", "password": "admin"})
        again = await http.post("/login", data={"username": "admin", "password": "admin"})

    assert again.json()["success"]
    assert [0, 200] == [line.status for line in panel.log]


async def test_a_kept_alive_connection_serves_many_calls():
    panel = create_panel("2.9.4")

    async with running(panel) as served, httpx.AsyncClient(base_url=served.url) as http:
        statuses = [(await http.get("/")).status_code for _ in range(5)]

    assert [200] * 5 == statuses


async def test_tls_marks_the_cookie_secure(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    panel = create_panel("3.6.0")

    async with (
        running(panel, tls=(str(chain), str(key))) as served,
        httpx.AsyncClient(verify=context) as http,
    ):
        answer = await http.get(f"{served.url}csrf-token")

    assert served.url.startswith("https://")
    assert "; Secure;" in answer.headers["set-cookie"]


async def test_serve_ends_when_told():
    stop = asyncio.Event()
    stop.set()

    await serve(create_panel("2.9.4"), port=0, control_port=None, stop=stop)


async def test_serve_ends_when_cancelled():
    task = asyncio.create_task(serve(create_panel("2.9.4"), port=0, control_port=0))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_command_prints_where_it_listens_and_stops_on_sigterm():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulator", "--version", "3.6.0", "--token", "t" * 48),
        *("--seed-inbounds", "demo"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = json.loads(await process.stdout.readline())
    async with httpx.AsyncClient(headers={"authorization": "Bearer " + "t" * 48}) as http:
        listed = (await http.get(f"{line['url']}panel/api/clients/list")).json()
    process.send_signal(signal.SIGTERM)
    code = await process.wait()

    assert ("3.6.0", 4, 0) == (line["version"], len(listed["obj"]), code)


async def test_several_panels_of_one_process_are_strangers_to_each_other():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulator", "--version", "2.9.4", "--count", "3"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
    async with httpx.AsyncClient() as http:
        await http.post(
            f"{lines[0]['control_url']}/inbounds", json={"protocol": "vless", "port": 443}
        )
        states = [(await http.get(f"{line['control_url']}/state")).json() for line in lines]
    process.send_signal(signal.SIGTERM)
    code = await process.wait()

    assert ([1, 0, 0], 0) == ([len(state["inbounds"]) for state in states], code)
    assert 3 == len({state["guid"] for state in states})


def test_unknown_versions_are_refused():
    for text in ("1.0.0", "4.0.0", "nonsense", "2.9"):
        with pytest.raises(ValueError):
            create_panel(text)
