"""The simulator answers what real panels answered, exchange by exchange.

`transcripts/<version>/<scenario>.json` holds recordings of real panels. Compared are status,
content type, redirect, shape of cookies, and the body. Left out of the comparison: moments, row
ids and values that a panel made up (their shape is compared). Whatever else deviates is listed in
`DEVIATIONS`, each with its reason.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.app import Panel, PanelOptions, create_panel

TRANSCRIPTS = Path(__file__).parent / "transcripts"
VERSIONS = ("2.3.15", "2.8.11", "2.9.4", "3.0.2", "3.1.0", "3.2.8", "3.6.0")
SCENARIOS = ("session", "base-path", "lockout", "inbounds", "clients", "client-without-email")
# These begin on the inbounds that the scenario `inbounds` has made.
ON_INBOUNDS = {"clients", "client-without-email"}
START_MS = 1_795_415_000_000

# Steps that are not compared, and why.
DEVIATIONS = {
    "links": "share links are not simulated: the route is absent",
    "links of an unknown": "as above",
    "subLinks": "as above",
}
# Places inside an answer that are not compared, and why.
DIFFERENT_PLACES = {
    ("settings a client needs", ".body.obj.subEnable"): "the recorder had switched it on",
    ("create an API token", ".content-type"): "the recorder kept no headers of this answer",
}
# Who of eight parallel writers survived is a race: those clients are left out of what follows.
PARALLEL = re.compile(r"par\d")
# The recorder slept before these; the panel's clock is moved instead.
PAUSES_S = {"status, some seconds later": 5, "list, after the enforcement had time to run": 12}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHAPES = (
    (UUID, "<uuid>"),
    (re.compile(r"[0-9a-f]{32}"), "<32 hex>"),
    (re.compile(r"[A-Za-z0-9+/]{22}=="), "<16 bytes>"),
    (re.compile(r"[A-Za-z0-9+/]{43}="), "<32 bytes>"),
    (re.compile(r"[A-Za-z0-9_-]{43}"), "<csrf>"),
    (re.compile(r"[A-Za-z0-9]{48}"), "<token>"),
    (re.compile(r"[a-z0-9]{16}"), "<16 characters>"),
)
MOMENTS = {"createdAt", "updatedAt", "created_at", "updated_at", "lastTrafficResetTime"}


def cases() -> Iterator[tuple[str, str]]:
    for version in VERSIONS:
        for scenario in SCENARIOS:
            if (TRANSCRIPTS / version / f"{scenario}.json").exists():
                yield version, scenario


def load(version: str, scenario: str) -> list[dict[str, Any]]:
    text = (TRANSCRIPTS / version / f"{scenario}.json").read_text(encoding="utf-8")
    return json.loads(text)["exchanges"]


def make_panel(version: str, scenario: str) -> Panel:
    base_path = "/secret-path/" if scenario == "base-path" else "/"
    options = PanelOptions(
        base_path=base_path, xray_state="error", front_end=False, start_ms=START_MS
    )
    return create_panel(version, options=options)


@dataclass
class Replay:
    """Sends recorded requests; keeps what a browser would keep."""

    panel: Panel
    client: httpx.AsyncClient
    cookie: str = ""
    csrf: str = ""
    token: str = ""
    sent: str = ""
    mismatches: list[str] = field(default_factory=list)
    replayed: int = 0

    async def run(self, exchanges: list[dict[str, Any]], *, compare: bool = True) -> None:
        for exchange in exchanges:
            if "response" not in exchange:
                continue
            step = exchange["step"]
            self.panel.clock.advance(PAUSES_S.get(step, 0))
            response = await self.send(step, exchange["request"])
            self.learn(response)
            if compare and step not in DEVIATIONS:
                self.replayed += 1
                self.compare(step, exchange["response"], response)

    async def send(self, step: str, request: dict[str, Any]) -> httpx.Response:
        headers = {"accept-encoding": "gzip", **request["headers"]}
        if "no compression asked for" in step:
            headers["accept-encoding"] = "identity"
        if step == "create an API token" and self.csrf:
            # The recorder sent this one by another way and kept no headers.
            headers |= {"x-csrf-token": "<csrf>", "content-type": "application/json"}
        content = body_of(request["body"])
        self.sent += content.decode("utf-8", "replace")
        headers = {
            name: value.replace("<csrf>", self.csrf).replace("<token>", self.token)
            for name, value in headers.items()
        }
        if self.cookie and "authorization" not in headers and "csrf-token" not in request["path"]:
            headers["cookie"] = self.cookie
        if "garbage cookie" in step:
            headers["cookie"] = "3x-ui=garbage"
        return await self.client.request(
            request["method"], request["path"], headers=headers, content=content
        )

    def learn(self, response: httpx.Response) -> None:
        self.client.cookies.clear()
        for cookie in response.headers.get_list("set-cookie"):
            self.cookie = "" if "Max-Age=0" in cookie else cookie.split(";")[0]
        if response.headers.get("content-type", "").startswith("application/json"):
            body = response.json().get("obj")
            if response.url.path.endswith("/csrf-token"):
                self.csrf = body
            if response.url.path.endswith("/create") and isinstance(body, dict):
                self.token = body.get("token", "")

    def compare(self, step: str, recorded: dict[str, Any], response: httpx.Response) -> None:
        expected = self.shape_of(step, recorded)
        actual = self.shape_of_response(step, recorded, response)
        if expected != actual:
            self.mismatches += [
                f"{step}{place}: {text}"
                for place, text in differences(expected, actual)
                if (step, place) not in DIFFERENT_PLACES
            ]

    def shape_of(self, step: str, recorded: dict[str, Any]) -> dict[str, Any]:
        headers = recorded["headers"]
        body = recorded["body"]
        return {
            "status": recorded["status"],
            "content-type": headers.get("content-type"),
            "location": headers.get("location"),
            "content-disposition": mask_time(headers.get("content-disposition")),
            "cookie": mask_cookie(headers.get("set-cookie")),
            "body": self.mask_body(step, body),
        }

    def shape_of_response(
        self, step: str, recorded: dict[str, Any], response: httpx.Response
    ) -> dict[str, Any]:
        cookies = ", ".join(response.headers.get_list("set-cookie")) or None
        return {
            "status": response.status_code,
            "content-type": response.headers.get("content-type"),
            "location": response.headers.get("location"),
            "content-disposition": mask_time(response.headers.get("content-disposition")),
            "cookie": mask_cookie(cookies),
            "body": self.mask_body(step, read_body(recorded["body"], response)),
        }

    def mask_body(self, step: str, body: Any) -> Any:
        if isinstance(body, dict) and "json" in body:
            masked = self.mask(body["json"])
            return shape_only(masked) if step == "status, some seconds later" else masked
        if isinstance(body, dict) and "html" in body:
            return "html"
        if isinstance(body, dict) and "bytes" in body:
            return body["head"]
        return body

    def mask(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            masked = {
                name: self.mask(item, name)
                for name, item in value.items()
                if not PARALLEL.fullmatch(name)
            }
            if "email" in masked and isinstance(masked.get("id"), int):
                masked["id"] = "<row id>"
            return masked
        if isinstance(value, list):
            items = [self.mask(item, key) for item in value if not is_parallel(item)]
            # Reasons for skipping come in the order of a Go map.
            return sorted(items, key=str) if key == "skipped" else items
        if key in MOMENTS and isinstance(value, int):
            return "<moment>" if value else 0
        if isinstance(value, str):
            return self.mask_text(without_parallel(value))
        return value

    def mask_text(self, text: str) -> str:
        if text and text not in self.sent:
            for pattern, name in SHAPES:
                if pattern.fullmatch(text):
                    return name
        return re.sub(r'("(?:created|updated)_at": )\d{13}', r"\1<moment>", text)


def is_parallel(item: Any) -> bool:
    return isinstance(item, dict) and bool(PARALLEL.match(str(item.get("email"))))


def without_parallel(text: str) -> str:
    if not re.search(r'"par\d', text):
        return text
    settings = json.loads(text)
    settings["clients"] = [c for c in settings["clients"] if not is_parallel(c)]
    return json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)


def body_of(body: Any) -> bytes:
    if body is None:
        return b""
    if "omitted" in body:
        size = int(body["omitted"].split()[0])
        start = b'{"client":{"email":"big","comment":"'
        end = b'"},"inboundIds":[2]}'
        return start + b"x" * (size - len(start) - len(end)) + end
    if "json" in body:
        return json.dumps(body["json"]).encode()
    return body["text"].encode()


def read_body(recorded: Any, response: httpx.Response) -> Any:
    if not response.content:
        return None
    if isinstance(recorded, dict) and "bytes" in recorded:
        return {"bytes": 0, "head": response.content[:15].decode("latin-1")}
    kind = response.headers.get("content-type", "")
    if kind.startswith("application/json"):
        return {"json": response.json()}
    if isinstance(recorded, dict) and "html" in recorded and kind.startswith("text/html"):
        return {"html": True}
    return {"text": response.text}


def differences(real: Any, ours: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(real, dict) and isinstance(ours, dict):
        for name in real.keys() | ours.keys():
            if name not in real or name not in ours:
                side = "missing" if name in real else "too much"
                yield f"{path}.{name}", f"{side}: {real.get(name, ours.get(name))!r}"
            else:
                yield from differences(real[name], ours[name], f"{path}.{name}")
    elif isinstance(real, list) and isinstance(ours, list) and len(real) == len(ours):
        for index, (one, other) in enumerate(zip(real, ours, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif real != ours:
        yield path, f"real {real!r}, simulator {ours!r}"


def mask_cookie(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.sub(r"3x-ui=[^;]*", "3x-ui=<session>", text)
    return re.sub(r"Expires=[^;]*", "Expires=<moment>", text)


def mask_time(text: str | None) -> str | None:
    return None if text is None else re.sub(r"127\.0\.0\.1_[\d-]+_\d+", "<host>_<moment>", text)


def shape_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape_only(item) for name, item in value.items()}
    return type(value).__name__ if isinstance(value, int | float | str | list) else value


@pytest.mark.parametrize(("version", "scenario"), list(cases()))
async def test_replay(version: str, scenario: str) -> None:
    panel = make_panel(version, scenario)
    transport = httpx.ASGITransport(app=panel.app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:2053") as client:
        replay = Replay(panel, client)
        if scenario in ON_INBOUNDS:
            await replay.run(load(version, "inbounds"), compare=False)
        await replay.run(load(version, scenario))

    assert not replay.mismatches, "\n".join(replay.mismatches)
