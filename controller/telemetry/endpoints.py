"""`/metrics`, `/healthz` and `/readyz` on a port of their own, inside the controller's event loop.

Served by Starlette on an embedded uvicorn that leaves signals alone: whoever runs the loop owns them. A
loop that hangs does not answer, which is what a liveness probe asks. Callers: service (as a
long-running part). Not here: metrics, what is healthy.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.telemetry import events, metrics
from controller.telemetry.exposition import encoder_for
from desired_state.model.errors import ConfigError, X3FleetError

log = structlog.get_logger(__name__)

CHECK_S = 3.0
"""A check that takes longer has failed: probes ask every few seconds and give up soon."""
_STOP_S = 2.0

Check = Callable[[], Awaitable[str]]
"""Returns what is wrong, in a few words without secrets; empty when nothing is."""
Prepare = Callable[[], Awaitable[None]]
"""Called in the loop before each exposition: takes samples, refreshes the snapshot."""


@dataclass(slots=True)
class Exposition:
    """What an exposition is made of: the registry, and what is done before it is read."""

    registry: CollectorRegistry = metrics.REGISTRY
    prepare: tuple[Prepare, ...] = ()

    @contextlib.contextmanager
    def showing(self, collector: Collector) -> Iterator[None]:
        """Let a collector be asked while the block runs."""
        self.registry.register(collector)
        try:
            yield
        finally:
            self.registry.unregister(collector)


@dataclass(frozen=True, slots=True)
class Health:
    """Named checks. `alive`: restart me when one fails. `ready`: ask somebody else while one fails."""

    alive: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)


def make_app(exposition: Exposition, health: Health) -> Starlette:
    """Make the ASGI application of the three endpoints."""

    async def show_metrics(request: Request) -> Response:
        for prepare in exposition.prepare:
            await _prepare(prepare)
        encode, content_type = encoder_for(request.headers.get("Accept", ""))
        # In a thread: thousands of series of a large fleet would hold up turns.
        body = await asyncio.to_thread(encode, exposition.registry)
        return Response(body, headers={"Content-Type": content_type})

    async def show_alive(request: Request) -> Response:
        del request
        return await _answer(health.alive)

    async def show_ready(request: Request) -> Response:
        del request
        return await _answer({**health.alive, **health.ready})

    routes = [
        Route("/metrics", show_metrics),
        Route("/healthz", show_alive),
        Route("/readyz", show_ready),
    ]
    return Starlette(routes=routes)


class TelemetryServer:
    """The endpoints on a port; a long-running part.

    Args:
        app: what `make_app` made.
        host: the address to listen on.
        port: 0 takes a free one; see `port` once it runs.
    """

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self.port = port
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            ConfigError: the port cannot be listened on.
        """
        listener = self._listen()
        server = _Server(_config(self._app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        self.port = listener.getsockname()[1]
        self.started.set()
        log.info(events.TELEMETRY_SERVED, port=self.port)
        try:
            await asyncio.shield(serving)
        finally:
            self.started.clear()
            server.should_exit = server.force_exit = True
            await asyncio.wait((serving,), timeout=_STOP_S)
            serving.cancel()
            listener.close()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self.port))
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"metrics cannot be served on {self._host}, port {self.port}: {error.strerror}",
                hint="set X3FLEET_CONTROLLER__METRICS__HOST and X3FLEET_CONTROLLER__METRICS__PORT",
            ) from error
        return listener


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the supervisor owns SIGTERM."""
        yield


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


async def _prepare(prepare: Prepare) -> None:
    """Do it, or show what was known before: an old exposition tells more than none."""
    try:
        async with asyncio.timeout(CHECK_S):
            await prepare()
    except (X3FleetError, TimeoutError) as error:
        log.warning(events.SNAPSHOT_FAILED, error=type(error).__name__)


async def _answer(checks: Mapping[str, Check]) -> Response:
    results = await asyncio.gather(*(_run_check(check) for check in checks.values()))
    faults = {name: fault for name, fault in zip(checks, results, strict=True) if fault}
    body = {"status": "failing" if faults else "ok", "checks": sorted(checks), "faults": faults}
    return JSONResponse(body, status_code=503 if faults else 200)


async def _run_check(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:.0f} s"
    except X3FleetError as error:
        return error.code
