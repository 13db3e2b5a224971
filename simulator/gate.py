"""The panel's port: reads requests, lets faults happen, sends answers.

Callers: `app` (as `Panel.app`). Not here: what is answered, and which faults exist (`faults`).
"""

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from simulator.wire import Call, Reply

if TYPE_CHECKING:
    from simulator.app import Panel

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Level 1: lists of many megabytes are compressed on every read.
_GZIP_LEVEL = 1


class ConnectionCut(ConnectionResetError):
    """The connection was closed without a whole answer, and there is no socket to close."""


@dataclass
class LogLine:
    """A request as the control port tells it. Status 0: nothing was answered.

    `agent`: the caller's own name for itself (`User-Agent`).
    """

    method: str
    path: str
    query: str
    status: int
    write: bool
    at_ms: int
    agent: str = ""


@dataclass
class Connection:
    """What a fault may do to the caller's connection."""

    scope: Scope
    receive: Receive
    send: Send

    async def cut(self, *, reset: bool = False) -> None:
        """Close without answering; `reset` as a TCP reset.

        Raises:
            ConnectionCut: no socket (the app is called in process).
        """
        extensions: dict[str, Any] = self.scope.get("extensions") or {}
        transport: asyncio.Transport | None = extensions.get("simulator.transport")
        if transport is None:
            message = "the simulated panel closed the connection"
            raise ConnectionCut(message)
        raw = transport.get_extra_info("socket")
        if reset and raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        # The server must see the end before the application returns, or it answers 500 itself.
        while (await self.receive())["type"] != "http.disconnect":
            continue


class Gate:
    """The ASGI application of a panel."""

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        panel = self._panel
        call = _read_call(panel, scope, await _read_body(receive))
        panel.background.catch_up()
        route = panel.find_route(call)
        line = LogLine(
            call.method,
            panel.inner_path(call.path) or call.path,
            scope["query_string"].decode(),
            0,
            route is not None and route.write,
            panel.clock.now_ms(),
            call.headers.get("user-agent", ""),
        )
        panel.log.append(line)
        connection = Connection(scope, receive, send)
        if line.write and panel.cost_us:
            await asyncio.sleep(panel.cost_us * touched_clients(call) / 1e6)
        reply = await panel.faults.serve(call, line.path, connection)
        if reply is None:
            return
        line.status = reply.status
        await send_reply(panel, call, reply, connection)


def touched_clients(call: Call) -> int:
    """How many clients the inbounds of a write hold: its price in a real panel."""
    state = call.panel.state
    wanted = call.params.get("id", "")
    found = (
        [state.inbounds[int(wanted)]] if wanted.isdigit() and int(wanted) in state.inbounds else []
    )
    return sum(len(inbound.settings.clients) for inbound in found or state.inbounds.values())


async def send_reply(
    panel: "Panel", call: Call, reply: Reply, connection: Connection, cut_at: int | None = None
) -> None:
    """Send an answer: compressed when asked, dated by the panel's clock.

    Args:
        panel: whose clock dates the answer.
        call: what was asked.
        reply: the answer.
        connection: where to.
        cut_at: send only so many bytes of the body, then reset the connection.
    """
    body, headers = reply.body, list(reply.headers)
    if reply.content_type is not None:
        headers.append(("content-type", reply.content_type))
    if body and "gzip" in call.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _GZIP_LEVEL)
        headers += [("content-encoding", "gzip"), ("vary", "Accept-Encoding")]
    headers += [("set-cookie", cookie) for cookie in call.set_cookies]
    headers.append(("date", formatdate(panel.clock.now_ms() / 1000, usegmt=True)))
    bodiless = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    if reply.status not in bodiless:
        headers.append(("content-length", str(len(body))))
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    start = {"type": "http.response.start", "status": reply.status, "headers": raw}
    await connection.send(start)
    if cut_at is None:
        await connection.send({"type": "http.response.body", "body": body})
        return
    await connection.send({"type": "http.response.body", "body": body[:cut_at], "more_body": True})
    await connection.cut(reset=True)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read_body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _read_call(panel: "Panel", scope: Scope, body: bytes) -> Call:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}; {value}" if name in headers else value
    client = scope.get("client")
    return Call(
        panel=panel,
        method=scope["method"],
        path=scope["path"],
        query=parse_qs(scope["query_string"].decode(), keep_blank_values=True),
        headers=headers,
        body=body,
        client_ip=client[0] if client else "127.0.0.1",
        scheme=scope.get("scheme", "http"),
    )
