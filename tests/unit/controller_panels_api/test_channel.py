"""One request, one answer or a named failure; no exception of the HTTP library comes through."""

import asyncio
import inspect
import socket
from datetime import timedelta

import httpx
import pytest

from controller.core.effects import Verdict
from controller.panels.api.channel import Ask, Channel, Exchange, Failure, Kind, Patience
from controller.panels.api.errors import (
    PanelBusy,
    PanelError,
    PanelTimeout,
    PanelUnreachable,
)
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode, NodeTarget, Tls
from tests.unit.controller_panels_api.scripted import (
    FORM,
    URL,
    Handler,
    ScriptedPanel,
    StoodClock,
    envelope,
)

NODE = NodeName("nl-1")
GET = Ask(Kind.READ, "GET", "panel/api/inbounds/list")
POST = Ask(Kind.WRITE, "POST", "panel/api/inbounds/addClient", b"{}", "application/json")
LOGIN = Ask(Kind.LOGIN, "POST", "login", b"username=admin")


def channel(handler: Handler, **options: object) -> Channel:
    target = NodeTarget(NODE, URL, FORM, Tls(), Mode.ENFORCE)
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
    return Channel(target, clock=StoodClock(), transport=transport, **options)  # type: ignore[arg-type]


def raising(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


def httpx_errors() -> list[Exception]:
    """Make one of every exception class that the library has."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    return [make(kind) for kind in kinds]


def make(kind: type[Exception]) -> Exception:
    request, response = httpx.Request("GET", URL), httpx.Response(500)
    if issubclass(kind, httpx.HTTPStatusError):
        return kind("boom", request=request, response=response)
    try:
        return kind("boom")
    except TypeError:
        return kind()


NEVER_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "InvalidURL",
}


def test_library_has_the_exceptions_that_this_file_is_about() -> None:
    names = {type(error).__name__ for error in httpx_errors()}

    assert NEVER_SENT < names
    assert {"ReadTimeout", "ReadError", "RemoteProtocolError", "DecodingError"} < names


@pytest.mark.parametrize("error", httpx_errors(), ids=lambda error: type(error).__name__)
async def test_no_exception_of_the_library_crosses_a_read(error: Exception) -> None:
    panel = ScriptedPanel(answers={"panel/api/inbounds/list": raising(error)})

    async with panel.api() as api:
        with pytest.raises(PanelError) as caught:
            await api.read("GET", "panel/api/inbounds/list")

    assert error is caught.value.__cause__


@pytest.mark.parametrize("error", httpx_errors(), ids=lambda error: type(error).__name__)
async def test_no_exception_of_the_library_crosses_a_login(error: Exception) -> None:
    panel = ScriptedPanel(answers={"login": raising(error)})

    async with panel.api() as api:
        with pytest.raises(PanelError):
            await api.connect()


@pytest.mark.parametrize("error", httpx_errors(), ids=lambda error: type(error).__name__)
async def test_no_exception_of_the_library_crosses_a_write(error: Exception) -> None:
    """What failed before a byte could be sent is not sent; everything else is unknown."""
    panel = ScriptedPanel(answers={"panel/api/write": raising(error)})

    async with panel.api() as api:
        answer = await api.write("panel/api/write", json={})

    not_sent = type(error).__name__ in NEVER_SENT
    assert (Verdict.NOT_SENT if not_sent else Verdict.UNKNOWN) is answer.verdict
    assert 1 == panel.paths.count("panel/api/write")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (httpx.ConnectTimeout(""), PanelTimeout, "the panel took too long in connecting"),
        (httpx.ReadTimeout(""), PanelTimeout, "the panel took too long in answering"),
        (TimeoutError(), PanelTimeout, "the panel took too long in answering"),
        (httpx.DecodingError(""), PanelBusy, "the answer's compression is broken"),
        (httpx.ConnectError(""), PanelUnreachable, "no connection to the host came about"),
        (
            httpx.RemoteProtocolError("Server disconnected"),
            PanelUnreachable,
            "the connection broke before the answer was whole (RemoteProtocolError)",
        ),
        (
            OSError("boom"),
            PanelUnreachable,
            "the connection broke before the answer was whole (OSError)",
        ),
    ],
)
async def test_failure_is_named(error: Exception, kind: type[PanelError], text: str) -> None:
    result = await channel(raising(error)).send(POST)

    assert isinstance(result, Failure)
    assert (kind, text) == (type(result.error), str(result.error))


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (socket.gaierror(-2, "unknown"), "the host's name cannot be resolved"),
        (ConnectionRefusedError(), "the host refuses connections on this port"),
        (ExceptionGroup("all", [ConnectionRefusedError()]), "the host refuses connections"),
    ],
)
async def test_failure_to_connect_says_why(cause: Exception, text: str) -> None:
    error = httpx.ConnectError("all failed")
    error.__cause__ = cause

    result = await channel(raising(error)).send(GET)

    assert isinstance(result, Failure)
    assert text in str(result.error)


# -- repeating -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "error", "sent"),
    [
        (GET, httpx.ConnectError(""), 3),
        (GET, httpx.ReadTimeout(""), 3),
        (GET, httpx.RemoteProtocolError(""), 3),
        (GET, httpx.DecodingError(""), 1),
        (LOGIN, httpx.ConnectError(""), 3),
        (LOGIN, httpx.ReadTimeout(""), 1),
        (LOGIN, httpx.RemoteProtocolError(""), 1),
    ],
    ids=lambda value: getattr(value, "path", type(value).__name__),
)
async def test_transport_failures_are_repeated_but_never_a_login_that_may_have_arrived(
    ask: Ask, error: Exception, sent: int
) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        raise error

    with pytest.raises(PanelError):
        await channel(handler).ask(ask)

    assert sent == len(seen)


async def test_second_attempt_may_succeed() -> None:
    answers = [httpx.RemoteProtocolError("Server disconnected"), envelope([])]

    def handler(_: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    answer = await channel(handler).ask(GET)

    assert 200 == answer.status


# -- what is sent ----------------------------------------------------------------------------------


async def test_every_request_asks_for_one_language_and_no_compression() -> None:
    seen: list[httpx.Request] = []
    line = channel(lambda request: seen.append(request) or envelope())  # type: ignore[func-returns-value]

    await line.send(GET)
    await line.send(POST)

    for request in seen:
        assert "identity" == request.headers["Accept-Encoding"]
        assert "en-US" == request.headers["Accept-Language"]
        assert "XMLHttpRequest" == request.headers["X-Requested-With"]
        assert "application/json" == request.headers["Accept"]
    assert "application/json" == seen[1].headers["Content-Type"]


async def test_compression_is_asked_for_only_by_name() -> None:
    seen: list[httpx.Request] = []
    line = channel(lambda request: seen.append(request) or envelope())  # type: ignore[func-returns-value]

    await line.send(Ask(Kind.READ, "GET", "panel/api/inbounds/list", gzip=True))

    assert "gzip" == seen[0].headers["Accept-Encoding"]


async def test_tokens_and_cookies_go_with_every_request_but_anonymous_ones() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers={"Set-Cookie": "3x-ui=session; Path=/"})

    line = channel(handler)
    line.csrf, line.bearer = "csrf-1", "bearer-1"
    await line.send(GET)
    await line.send(POST)
    await line.send(Ask(Kind.PROBE, "POST", "panel/api/server/status", anonymous=True))
    line.reset()
    await line.send(POST)

    names = ("Authorization", "X-CSRF-Token", "Cookie")
    assert [
        ("Bearer bearer-1", None, None),
        ("Bearer bearer-1", "csrf-1", "3x-ui=session"),
        (None, None, None),
        (None, None, None),
    ] == [tuple(request.headers.get(name) for name in names) for request in seen]


async def test_redirects_are_answers() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert "elsewhere" not in str(request.url)
        return httpx.Response(307, headers={"Location": "http://127.0.0.1:2053/elsewhere"})

    result = await channel(handler).send(GET)

    assert 307 == result.status  # type: ignore[union-attr]


# -- time ------------------------------------------------------------------------------------------


async def test_an_answer_that_never_ends_is_a_timeout_after_all() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    patience = Patience(write_s=0.01)

    result = await channel(handler, patience=patience).send(POST)  # type: ignore[arg-type]

    assert isinstance(result, Failure)
    assert (PanelTimeout, True) == (type(result.error), result.sent)


async def test_cancellation_passes_through() -> None:
    begun = asyncio.Event()

    async def handler(_: httpx.Request) -> httpx.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(channel(handler).send(POST))  # type: ignore[arg-type]
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_panels_date_tells_the_skew_and_its_time() -> None:
    panel = ScriptedPanel(ahead=timedelta(minutes=11))
    line = Channel(
        NodeTarget(NODE, URL, FORM, Tls(), Mode.ENFORCE),
        clock=panel.clock,
        transport=httpx.MockTransport(panel),
    )
    assert (None, panel.clock.now()) == (line.clock_skew, line.panel_now())

    await line.send(GET)
    await panel.clock.sleep(7)

    assert timedelta(minutes=11) == line.clock_skew
    assert panel.clock.now() + timedelta(minutes=11) == line.panel_now()


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Mon, 99 Nov 2026 12:00:00 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
async def test_unreadable_date_is_no_date(date: str) -> None:
    line = channel(lambda _: httpx.Response(200, headers={"Date": date}))

    answer = await line.send(GET)

    assert answer.date is None  # type: ignore[union-attr]
    assert line.clock_skew is None


# -- telling ---------------------------------------------------------------------------------------


async def test_observer_hears_of_every_exchange() -> None:
    class Heard:
        def __init__(self) -> None:
            self.exchanges: list[Exchange] = []

        def exchanged(self, exchange: Exchange) -> None:
            self.exchanges.append(exchange)

    heard = Heard()
    body = httpx.ByteStream(b"x" * 37)
    await channel(lambda _: httpx.Response(200, stream=body), observer=heard).send(POST)
    await channel(raising(httpx.ReadTimeout("")), observer=heard).send(POST)

    assert [
        Exchange(NODE, Kind.WRITE, 200, "", 0.0, 2, 37),
        Exchange(NODE, Kind.WRITE, None, "panel_timeout", 0.0, 2, 0),
    ] == heard.exchanges


def test_a_panel_that_swallows_packets_is_told_apart_by_a_probe_within_ten_seconds() -> None:
    """A knock asks for nothing that takes time; two of them, with their pause, are over within 30 s."""
    waits = {kind: Patience().timeout(kind).read for kind in Kind}

    assert {Kind.PROBE: 10, Kind.LOGIN: 20, Kind.READ: 20, Kind.WRITE: 30} == waits
