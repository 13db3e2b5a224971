"""Panels on real ports.

`serve` runs a panel's port and its control port in the calling loop until it is cancelled or
told to stop; it installs no signal handlers. `running` does the same around a block: servers live
in tasks of the same loop, ports are chosen when 0 is given, and leaving the block stops them.
Callers: `__main__`, the command line, tests. Not here: what is served.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator.app import Panel

Tls = tuple[str, str]
_POLL_S = 0.01


class _PanelProtocol(H11Protocol):
    """HTTP that lets the panel's faults reach the connection itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library narrows it itself
        """Offer the transport to the application, beside the request."""
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - as ASGI has it
            scope["extensions"] = {"simulator.transport": transport}
            await app(scope, receive, send)

        self.app = with_transport


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # noqa: ANN401 - the library's own annotation is private
        """Do nothing: a panel never owns the process."""
        yield


@dataclass(frozen=True)
class RunningPanel:
    """A panel that listens."""

    panel: Panel
    url: str
    control_url: str


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: asyncio switches off delayed sending only for sockets that say TCP,
    # and an answer in two packets waits 40 ms otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _server(app: Any, tls: Tls | None, *, faulty: bool) -> _Server:  # noqa: ANN401 - an ASGI app
    config = uvicorn.Config(
        app,
        http=_PanelProtocol if faulty else "h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    return _Server(config)


@contextlib.asynccontextmanager
async def running(
    panel: Panel,
    *,
    port: int = 0,
    control_port: int | None = 0,
    host: str = "127.0.0.1",
    tls: Tls | None = None,
) -> AsyncIterator[RunningPanel]:
    """Serve a panel while the block runs.

    Args:
        panel: what to serve.
        port: of the panel; 0 takes a free one.
        control_port: the same for the control port; None does without.
        host: the address to listen on.
        tls: certificate and key files, for the panel's port.
    """
    panel.is_tls = tls is not None
    listeners = [_listen(host, port)]
    servers = [_server(panel.app, tls, faulty=True)]
    if control_port is not None:
        listeners.append(_listen(host, control_port))
        servers.append(_server(panel.control, None, faulty=False))
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    try:
        while not all(server.started for server in servers):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(_POLL_S)
        yield _describe(panel, listeners, host)
    finally:
        await _stop(servers, tasks, listeners)


def _describe(panel: Panel, listeners: Sequence[socket.socket], host: str) -> RunningPanel:
    shown = f"[{host}]" if ":" in host else host
    ports = [listener.getsockname()[1] for listener in listeners]
    scheme = "https" if panel.is_tls else "http"
    url = f"{scheme}://{shown}:{ports[0]}{panel.options.base_path}"
    control_url = f"http://{shown}:{ports[1]}" if len(ports) > 1 else ""
    return RunningPanel(panel, url, control_url)


async def _stop(
    servers: Sequence[_Server],
    tasks: Sequence[asyncio.Task[None]],
    listeners: Sequence[socket.socket],
) -> None:
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks, return_exceptions=True)
    for listener in listeners:
        listener.close()


async def serve(
    panel: Panel,
    *,
    port: int,
    control_port: int | None,
    host: str = "127.0.0.1",
    tls: Tls | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve a panel until cancelled, or until `stop` is set."""
    forever = stop or asyncio.Event()
    async with running(panel, port=port, control_port=control_port, host=host, tls=tls):
        await forever.wait()
