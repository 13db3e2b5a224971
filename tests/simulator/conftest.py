"""A simulated panel with callers that are already let in."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import httpx
import pytest

from simulator.app import Panel, PanelOptions, create_panel

TOKEN = "t" * 48
START_MS = 1_795_415_000_000


@dataclass
class Site:
    """A panel in process: its API, its control port, and shortcuts for both eras."""

    panel: Panel
    http: httpx.AsyncClient
    ctl: httpx.AsyncClient

    @property
    def is_v2(self) -> bool:
        return self.panel.version < (3, 1, 0)

    async def log_in(self, **form: str) -> dict[str, Any]:
        fields = {"username": "admin", "password": "admin", **form}
        headers = {}
        if self.panel.version >= (3, 0, 0):
            token = (await self.http.get("/csrf-token")).json()["obj"]
            headers = {"x-csrf-token": token}
            self.http.headers["x-csrf-token"] = token
        return (await self.http.post("/login", data=fields, headers=headers)).json()

    async def api(self, path: str, body: Any = None, method: str = "") -> dict[str, Any]:
        chosen = method or ("GET" if body is None else "POST")
        response = await self.http.request(chosen, f"/panel/api/{path}", json=body)
        return response.json() if response.content else {"status": response.status_code}

    async def control(self, path: str, body: Any = None, method: str = "") -> Any:
        chosen = method or ("GET" if body is None else "POST")
        response = await self.ctl.request(chosen, path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def inbound(self, protocol: str = "vless", port: int = 443, **more: Any) -> int:
        made = await self.control("/inbounds", {"protocol": protocol, "port": port, **more})
        return made["id"]

    async def add(self, email: str, *inbounds: int, **fields: Any) -> dict[str, Any]:
        """Add a client by the API of the panel's era."""
        client = {
            "id": f"00000000-0000-4000-8000-{crc32(email.encode()):012d}",
            "email": email,
            "enable": True,
            "limitIp": 0,
            "totalGB": 0,
            "expiryTime": 0,
            "tgId": 0,
            "subId": f"sub-{email}",
            "reset": 0,
            "comment": "",
            "flow": "",
            **fields,
        }
        chosen = list(inbounds or (1,))
        if self.is_v2:
            settings = json.dumps({"clients": [client]})
            return await self.api("inbounds/addClient", {"id": chosen[0], "settings": settings})
        return await self.api("clients/add", {"client": client, "inboundIds": chosen})

    async def delete(self, email: str) -> dict[str, Any]:
        if not self.is_v2:
            return await self.api(f"clients/del/{email}", {})
        entry = self.panel.state.inbounds[1].settings.find(email)
        key = entry.data["id"] if entry else "missing"
        return await self.api(f"inbounds/1/delClient/{key}", {})

    async def emails(self, inbound: int = 1) -> list[str]:
        """Emails in the settings of an inbound, as the API tells them."""
        listed = (await self.api("inbounds/list"))["obj"]
        settings = next(row["settings"] for row in listed if row["id"] == inbound)
        doc = json.loads(settings) if isinstance(settings, str) else settings
        return [client.get("email") for client in doc["clients"]]

    async def arm(self, kind: str, **fields: Any) -> int:
        return (await self.control("/faults", {"kind": kind, **fields}))["id"]

    def entry(self, email: str, inbound: int = 1) -> dict[str, Any]:
        found = self.panel.state.inbounds[inbound].settings.find(email)
        assert found is not None
        return found.data

    def row(self, email: str) -> Any:
        return self.panel.state.traffic.get(email)

    def record(self, email: str) -> dict[str, Any]:
        return self.panel.state.records_by_email[email].fields


Opener = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site() -> AsyncIterator[Opener]:
    """Make a function that opens a panel of a version, with a caller let in unless told not to."""
    async with AsyncExitStack() as stack:

        async def opened(version: str, *, logged_in: bool = True, **options: Any) -> Site:
            chosen = PanelOptions(**{"token": TOKEN, "start_ms": START_MS, **options})
            panel = create_panel(version, options=chosen)
            http = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=panel.app, client=("127.0.0.1", 40000)),
                base_url="http://127.0.0.1:2053",
                headers={"accept-encoding": "identity"},
            )
            ctl = httpx.AsyncClient(
                transport=httpx.ASGITransport(app=panel.control), base_url="http://control"
            )
            site = Site(
                panel, await stack.enter_async_context(http), await stack.enter_async_context(ctl)
            )
            if logged_in and panel.version >= (3, 0, 0):
                http.headers["authorization"] = f"Bearer {TOKEN}"
            elif logged_in:
                await site.log_in()
            panel.log.clear()
            return site

        yield opened
