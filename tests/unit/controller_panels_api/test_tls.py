"""TLS over real sockets: what is checked, what a mismatch is called, and what never gets sent."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controller.core.effects import Verdict
from controller.panels.api.channel import Ask, Channel, Exchange, Failure, Kind
from controller.panels.api.clock import SystemClock
from controller.panels.api.errors import PanelMisconfigured, PanelTlsMismatch, PanelUnreachable
from controller.panels.api.session import PanelApi
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode, NodeTarget, Tls, TlsKind
from tests.unit.controller_panels_api.scripted import FORM

NODE = NodeName("nl-1")
GET = Ask(Kind.READ, "GET", "csrf-token")
POST = Ask(Kind.WRITE, "POST", "login", b"username=admin&password=pw-of-nl-1")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Listener:
    """A socket that answers every request the same, and keeps what it decrypted."""

    port: int = 0
    received: bytearray = field(default_factory=bytearray)


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[Listener]:
    listener, serving = Listener(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                listener.received += data
                writer.write(ANSWER)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def pin_of(certificate: trustme.LeafCert) -> str:
    parsed = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    return hashlib.sha256(parsed.public_bytes(Encoding.DER)).hexdigest()


def target(port: int, tls: Tls, scheme: str = "https") -> NodeTarget:
    return NodeTarget(NODE, f"{scheme}://127.0.0.1:{port}/", FORM, tls, Mode.ENFORCE)


@contextlib.asynccontextmanager
async def channel(port: int, tls: Tls, scheme: str = "https") -> AsyncIterator[Channel]:
    line = Channel(target(port, tls, scheme), clock=SystemClock())
    yield line
    await line.close()


async def test_certificate_of_the_declared_authority_is_taken(
    authority: trustme.CA, ca_file: str
) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    async with (
        listening(server_context(certificate)) as listener,
        channel(listener.port, Tls(TlsKind.CA_FILE, ca_file)) as line,
    ):
        result = await line.send(GET)

    assert 200 == result.status  # type: ignore[union-attr]


async def test_pinned_certificate_is_taken_whoever_issued_it_for_whatever_name(
    authority: trustme.CA,
) -> None:
    certificate = authority.issue_cert("elsewhere.example.net")
    async with (
        listening(server_context(certificate)) as listener,
        channel(listener.port, Tls(TlsKind.PIN, pin_of(certificate))) as line,
    ):
        result = await line.send(POST)

    assert 200 == result.status  # type: ignore[union-attr]
    assert bytes(listener.received).endswith(POST.content or b"?")


async def test_unchecked_certificate_is_taken(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("elsewhere.example.net")
    async with (
        listening(server_context(certificate)) as listener,
        channel(listener.port, Tls(TlsKind.OFF)) as line,
    ):
        result = await line.send(GET)

    assert 200 == result.status  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            "unknown authority",
            "the panel's certificate does not verify: unable to get local issuer",
        ),
        ("other name", "the panel's certificate does not verify: IP address mismatch"),
        ("expired", "the panel's certificate does not verify: certificate has expired"),
        ("other pin", "the panel's certificate has SHA-256 {pin}, and tls.pinSha256 is abab"),
    ],
)
async def test_mismatch_is_named_and_no_byte_of_the_request_is_sent(
    case: str, sentence: str, authority: trustme.CA, ca_file: str
) -> None:
    names = {"other name": "192.0.2.1"}
    expiry = datetime(2020, 1, 1, tzinfo=UTC) if case == "expired" else None
    certificate = authority.issue_cert(names.get(case, "127.0.0.1"), not_after=expiry)
    tls = {
        "unknown authority": Tls(),
        "other name": Tls(TlsKind.CA_FILE, ca_file),
        "expired": Tls(TlsKind.CA_FILE, ca_file),
        "other pin": Tls(TlsKind.PIN, "ab" * 32),
    }[case]

    async with (
        listening(server_context(certificate)) as listener,
        channel(listener.port, tls) as line,
    ):
        result = await line.send(POST)

    assert isinstance(result, Failure)
    assert isinstance(result.error, PanelTlsMismatch)
    assert str(result.error).startswith(sentence.format(pin=pin_of(certificate)))
    assert not result.sent
    assert b"" == bytes(listener.received)


async def test_pin_is_checked_on_every_connection(authority: trustme.CA) -> None:
    """A panel that changes its certificate between two requests is noticed at the second."""
    first, second = (authority.issue_cert("127.0.0.1") for _ in range(2))
    context = server_context(first)
    async with (
        listening(context) as listener,
        channel(listener.port, Tls(TlsKind.PIN, pin_of(first))) as line,
    ):
        before = await line.send(GET)
        second.configure_cert(context)
        await line._client._transport._pool.aclose()  # type: ignore[attr-defined]
        received = len(listener.received)
        after = await line.send(POST)

    assert 200 == before.status  # type: ignore[union-attr]
    assert isinstance(after, Failure)
    assert isinstance(after.error, PanelTlsMismatch)
    assert received == len(listener.received)


async def test_mismatch_is_not_tried_again_by_itself(authority: trustme.CA) -> None:
    exchanges: list[Exchange] = []

    class Heard:
        def exchanged(self, exchange: Exchange) -> None:
            exchanges.append(exchange)

    certificate = authority.issue_cert("127.0.0.1")
    async with (
        listening(server_context(certificate)) as listener,
        PanelApi(target(listener.port, Tls()), observer=Heard()) as api,
    ):
        with pytest.raises(PanelTlsMismatch):
            await api.connect()

    assert ["panel_tls_mismatch"] == [exchange.failure for exchange in exchanges]


async def test_write_over_a_mismatch_is_not_sent(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    async with (
        listening(server_context(certificate)) as listener,
        PanelApi(target(listener.port, Tls())) as api,
    ):
        written = await api.write("panel/api/x", json={})

    assert Verdict.NOT_SENT is written.verdict
    assert b"" == bytes(listener.received)


async def test_https_address_of_a_panel_without_tls_is_named() -> None:
    async with (
        listening(None) as listener,
        channel(listener.port, Tls()) as line,
    ):
        result = await line.send(POST)

    assert isinstance(result, Failure)
    assert "url says https, and the panel answers without TLS on this port" in str(result.error)
    assert b"username" not in bytes(listener.received)


async def test_nobody_listening_is_unreachable_not_a_mismatch() -> None:
    async with listening(None) as listener:
        port = listener.port
    async with channel(port, Tls()) as line:
        result = await line.send(GET)

    assert isinstance(result, Failure)
    assert (PanelUnreachable, "the host refuses connections on this port") == (
        type(result.error),
        str(result.error),
    )


async def test_broken_ca_file_is_named_before_anything_is_contacted(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")

    with pytest.raises(PanelMisconfigured, match=r"tls\.caFile"):
        PanelApi(target(1, Tls(TlsKind.CA_FILE, str(path))))
