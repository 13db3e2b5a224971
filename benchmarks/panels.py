"""A panel to measure against: a simulated one in a process of its own, or one that is named.

Callers: the stages. Raw HTTP of its own, so that the floor owes nothing to the adapter.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

STREAM = {"network": "tcp", "security": "none", "tcpSettings": {"header": {"type": "none"}}}
HEADERS = {
    "X-Requested-With": "XMLHttpRequest",
    "Accept-Encoding": "identity",
    "Accept-Language": "en-US",
}


@dataclass
class Target:
    """Where a panel is and how it is opened; `name` is what the table shows."""

    name: str
    url: str
    username: str = "admin"
    password: str = field(default="panel-password", repr=False)
    token: str = field(default="", repr=False)


@dataclass
class Raw:
    """A logged-in client without anything of ours between it and the panel."""

    target: Target
    http: httpx.AsyncClient
    family: int

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send JSON and return the envelope's `obj`; refusals end the benchmark."""
        answer = await self.http.request(method, self.target.url + path, json=body)
        envelope = answer.json()
        if not envelope.get("success"):
            raise SystemExit(f"{self.target.name}: {path}: {answer.text[:200]}")
        return envelope.get("obj")

    async def add_inbound(self, port: int) -> int:
        """Make a plain VLESS inbound on loopback and return its id."""
        settings = {"clients": [], "decryption": "none", "fallbacks": []}
        body = {
            "up": 0, "down": 0, "total": 0, "remark": f"bench-{port}", "enable": True,
            "expiryTime": 0, "listen": "127.0.0.1", "port": port, "protocol": "vless",
            "settings": json.dumps(settings), "streamSettings": json.dumps(STREAM),
            "sniffing": json.dumps({"enabled": False}), "allocate": "{}",
        }  # fmt: skip
        made = await self.call("POST", "panel/api/inbounds/add", body)
        return int(made["id"])

    async def drop_inbound(self, inbound: int) -> None:
        """Remove one inbound that this run made."""
        await self.call("POST", f"panel/api/inbounds/del/{inbound}")

    async def emails_in(self, inbound: int) -> list[str]:
        """Return the emails that an inbound holds."""
        listed = await self.call("GET", "panel/api/inbounds/list")
        found = next(one for one in listed if one["id"] == inbound)
        settings = found["settings"]
        settings = json.loads(settings) if isinstance(settings, str) else settings
        return [client["email"] for client in settings["clients"]]


@asynccontextmanager
async def open_raw(target: Target) -> AsyncIterator[Raw]:
    """Log in with one plain client."""
    async with httpx.AsyncClient(headers=HEADERS, timeout=120, trust_env=False) as http:
        csrf = await http.get(target.url + "csrf-token")
        is_v3 = csrf.status_code == 200 and csrf.content[:1] == b"{"
        if target.token:
            http.headers["Authorization"] = f"Bearer {target.token}"
        else:
            if is_v3:
                http.headers["X-CSRF-Token"] = csrf.json()["obj"]
            form = {"username": target.username, "password": target.password}
            answer = await http.post(target.url + "login", data=form)
            if not answer.json().get("success"):
                raise SystemExit(f"{target.name}: the login was refused")
        clients = await http.get(target.url + "panel/api/clients/list")
        yield Raw(target, http, 3 if clients.status_code == 200 else 2)


@asynccontextmanager
async def simulated(version: str) -> AsyncIterator[Target]:
    """Start a simulated panel of a version as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", "--version", version, "--port", "0",
        "--control-port", "0", "--password", "panel-password",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        line = json.loads(await cast("asyncio.StreamReader", process.stdout).readline())
        yield Target(f"simulated {version}", line["url"])
    finally:
        process.terminate()
        await process.wait()


def named_target() -> Target | None:
    """Return the panel that the environment names, if any."""
    url = os.environ.get("X3FLEET_TEST_PANEL_URL")
    if not url:
        return None
    return Target(
        name="real panel",
        url=url if url.endswith("/") else url + "/",
        username=os.environ.get("X3FLEET_TEST_PANEL_USERNAME", ""),
        password=os.environ.get("X3FLEET_TEST_PANEL_PASSWORD", ""),
        token=os.environ.get("X3FLEET_TEST_PANEL_TOKEN", ""),
    )
