"""Somebody with an http client of their own: reads a panel and works on it, past our adapter.

What tests compare our adapter with, on simulated panels and real ones alike; it shares no code with
`controller.panels`. Callers: tests and their fixtures. Not here: assertions on what was found.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import httpx
import pyotp

from desired_state.model.node import Credentials

Doc = dict[str, Any]
Version = tuple[int, int, int]
_ON_PAGE = re.compile(r"assets/[^\"'\s]+\?v?(\d+)\.(\d+)\.(\d+)")
_KEYS = {"trojan": "password", "shadowsocks": "email", "hysteria": "auth", "hysteria2": "auth"}


unanswered: list[str] = []
"""Requests that a real panel answered with no body, in this run; what they were is shown at its end."""


class Unanswered(Exception):
    """The answer has no body: nothing is known."""


class Hand:
    """A person at the panel; `async with Hand(url, credentials) as hand:` logs in.

    Every method asserts that the panel did what it was asked. Real panels up to 3.0.2 answer nothing
    now and then (a job of theirs closes what the request works with): a person looks and does it again.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self.version: Version = (0, 0, 0)
        self._credentials = credentials
        self._client = httpx.AsyncClient(
            base_url=url,
            transport=transport,
            trust_env=False,
            timeout=60,
            headers={"Accept-Encoding": "identity", "X-Requested-With": "XMLHttpRequest"},
        )

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:
            await self._client.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    @property
    def has_records(self) -> bool:
        """Whether clients are records attached to inbounds (3.1.0 on)."""
        return self.version >= (3, 1, 0)

    # -- reading -----------------------------------------------------------------------------------

    async def inbounds(self) -> list[Doc]:
        """Every inbound, with settings and stream as objects."""
        listed = await self.get("panel/api/inbounds/list") or []
        return [self._decoded(inbound) for inbound in listed]

    async def clients(self) -> list[Doc]:
        """Every client, in one shape: with `inboundIds`, `uuid`, and `served`.

        Up to 3.0.2 one for each entry of an inbound. `served`: by the client and its traffic row.
        """
        if self.has_records:
            records = await self.get("panel/api/clients/list") or []
            return [
                {**r, "inboundIds": sorted(r["inboundIds"] or []), "served": _served(r)}
                for r in records
            ]
        inbounds = await self.inbounds()
        rows = {row["email"]: row for i in inbounds for row in i["clientStats"] or []}
        return [
            {
                **client,
                "uuid": client.get("id", ""),
                "inboundIds": [inbound["id"]],
                "served": _served({**client, "traffic": rows.get(client.get("email"))}),
            }
            for inbound in inbounds
            for client in (inbound["settings"] or {}).get("clients") or []
        ]

    async def entry(self, inbound: int, email: str) -> Doc:
        """What stands in the settings of an inbound for an email."""
        settings = next(i["settings"] for i in await self.inbounds() if i["id"] == inbound)
        return next(c for c in settings["clients"] if c.get("email") == email)

    # -- working -----------------------------------------------------------------------------------

    async def add_inbound(self, body: Doc) -> int:
        """Make an inbound; `settings` and `streamSettings` as objects. Returns its id."""
        form = {
            "up": 0, "down": 0, "total": 0, "remark": "", "enable": True, "expiryTime": 0,
            "listen": "127.0.0.1", "sniffing": {"enabled": False, "destOverride": []},
        } | body  # fmt: skip
        for name in ("settings", "streamSettings", "sniffing"):
            form[name] = json.dumps(form[name])

        async def made() -> bool:
            return any(i["port"] == form["port"] for i in await self.inbounds())

        await self._until(made, "panel/api/inbounds/add", form)
        return next(int(i["id"]) for i in await self.inbounds() if i["port"] == form["port"])

    async def delete_inbound(self, inbound: int) -> None:
        """Delete an inbound, with all its clients up to 3.0.2."""

        async def gone() -> bool:
            return all(i["id"] != inbound for i in await self.inbounds())

        await self._until(gone, f"panel/api/inbounds/del/{inbound}")

    async def add_client(self, inbound: int, client: Doc) -> None:
        """Add a client to an inbound; `client` in the panel's words for writing."""
        body = {"enable": True, "expiryTime": 0, "totalGB": 0, "limitIp": 0, "tgId": 0} | client
        if self.has_records:
            await self.post("panel/api/clients/add", {"client": body, "inboundIds": [inbound]})
            return
        form = {"id": inbound, "settings": json.dumps({"clients": [body]})}
        await self._until(
            lambda: self._holds(client["email"]), "panel/api/inbounds/addClient", form
        )

    async def edit_client(self, email: str, changes: Doc) -> None:
        """Change a client and leave the rest of it as it is."""
        if self.has_records:
            record = next(c for c in await self.clients() if c["email"] == email)
            kept = {
                k: v
                for k, v in record.items()
                if k not in ("id", "uuid", "inboundIds", "traffic", "served", "allowedIPs")
            }
            body = {**kept, "id": record["uuid"], **changes}
            await self.post(f"panel/api/clients/update/{email}", body)
            return
        inbound, entry = await self._find(email)
        key = entry[_KEYS.get(inbound["protocol"], "id")]
        form = {"id": inbound["id"], "settings": json.dumps({"clients": [{**entry, **changes}]})}

        async def changed() -> bool:
            _, now = await self._find(email)
            return all(now.get(name) == value for name, value in changes.items())

        await self._until(changed, f"panel/api/inbounds/updateClient/{key}", form)

    async def delete_client(self, email: str) -> None:
        """Delete a client everywhere. Up to 3.0.2 an inbound keeps its last one."""
        if self.has_records:
            await self.post(f"panel/api/clients/del/{email}")
            return
        inbound, entry = await self._find(email)
        key = entry[_KEYS.get(inbound["protocol"], "id")]

        async def gone() -> bool:
            return not await self._holds(email)

        await self._until(gone, f"panel/api/inbounds/{inbound['id']}/delClient/{key}")

    async def delete_records(self, emails: list[str]) -> None:
        """Delete clients from 3.1.0 on, in one call where the version has it."""
        if self.version >= (3, 2, 0):
            await self.post("panel/api/clients/bulkDel", {"emails": emails})
            return
        for email in emails:
            await self.delete_client(email)

    # -- talking -----------------------------------------------------------------------------------

    async def get(self, path: str) -> Any:
        """Read; returns `obj`."""
        return _obj(await self._client.get(path))

    async def post(self, path: str, body: object = None) -> Any:
        """Write; returns `obj`."""
        return _obj(await self._client.post(path, json=body))

    async def _until(
        self, done: Callable[[], Awaitable[bool]], path: str, body: object = None
    ) -> None:
        for _ in range(3):
            try:
                await self.post(path, body)
            except Unanswered:
                if self.has_records:
                    raise
                unanswered.append(f"POST {path.split('/')[3]} by hand")
                if not await done():
                    continue
            return
        raise Unanswered(path)

    async def _holds(self, email: str) -> bool:
        return any(client.get("email") == email for client in await self.clients())

    async def _find(self, email: str) -> tuple[Doc, Doc]:
        return next(
            (inbound, client)
            for inbound in await self.inbounds()
            for client in (inbound["settings"] or {}).get("clients") or []
            if client.get("email") == email
        )

    def _decoded(self, inbound: Doc) -> Doc:
        decoded = {
            name: json.loads(value) if isinstance(value := inbound[name], str) and value else value
            for name in ("settings", "streamSettings")
        }
        return inbound | decoded

    async def _log_in(self) -> None:
        form = {
            "username": self._credentials.username or "",
            "password": self._credentials.password or "",
            "loginSecret": self._credentials.login_secret or "",
        }
        if self._credentials.totp_secret:
            form["twoFactorCode"] = pyotp.TOTP(self._credentials.totp_secret).now()
        answer = await self._client.post("login", data=form)
        assert answer.status_code == 200, answer
        assert answer.json()["success"], "the panel refused the name or the password"

    async def _enter(self) -> None:
        csrf = await self._client.get("csrf-token")
        # A 2.x panel shows its login page, which names its version, only to a stranger.
        is_old = csrf.status_code == 404 or not csrf.content
        if is_old:
            found = _ON_PAGE.search((await self._client.get("")).text)
            assert found, "no 3x-ui answers here: no token, and no version on the login page"
            self.version = int(found[1]), int(found[2]), int(found[3])
        else:
            self._client.headers["X-CSRF-Token"] = csrf.json()["obj"]
        if self._credentials.token:
            self._client.headers["Authorization"] = f"Bearer {self._credentials.token}"
        else:
            await self._log_in()
        if not is_old:
            self.version = await self._ask_version()

    async def _ask_version(self) -> Version:
        # 3.0.x does not tell which it is: it passes for its last.
        text = (await self._ask_status()).get("panelVersion", "3.0.2")
        major, minor, patch = text.removeprefix("v").split("-")[0].split(".")
        return int(major), int(minor), int(patch)

    async def _ask_status(self) -> Doc:
        for _ in range(20):
            status = await self.get("panel/api/server/status")
            if status is not None:
                return dict(status)
            await self._sleep(0.5)  # a panel that has just started does not know it yet
        raise AssertionError("the panel does not tell its status")


def _served(client: Doc) -> bool:
    row = client.get("traffic") or {}
    return bool(client["enable"]) and bool(row.get("enable", True))


def _obj(answer: httpx.Response) -> Any:
    request = f"{answer.request.method} {answer.request.url.path}"
    if answer.status_code in (200, 500) and not answer.content:
        raise Unanswered(f"{request}: {answer.status_code}")
    assert answer.status_code == 200, f"{request}: {answer.status_code}"
    body = answer.json()
    assert body["success"], f"{request}: {body['msg']}"
    return body["obj"]
