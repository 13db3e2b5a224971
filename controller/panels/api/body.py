"""Reading an answer's body, never more of it than its kind of exchange can need.

Whoever answers under a declared address may send without end, or a few kilobytes that inflate to
gigabytes: what exceeds the limit is given up on, its connection with it. Callers: `channel`.
Not here: what an answer means (`outcomes`).
"""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import httpx

_GZIP = 16 + zlib.MAX_WBITS
"""A window as large as gzip's, behind gzip's own header."""
HEAD_BYTES = 4096
"""Of a saved body that is looked at: any refusal of a panel is shorter."""


class BodyTooLarge(Exception):
    """The body has more bytes than `limit_bytes`, as sent or inflated. Stays in `channel`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class SinkBroken(Exception):
    """Our own file refused the body (`reason`): no fault of the panel, and asking again helps nobody."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Sink:
    """A file that a body goes into. `total_s`: seconds for the whole exchange."""

    file: BinaryIO = field(repr=False)
    limit_bytes: int
    total_s: float


async def save_body(response: httpx.Response, sink: Sink) -> tuple[bytes, int]:
    """Write a streamed response into a file, from its start, and close the response.

    Returns:
        The beginning of the body, enough to tell what it is, and how many bytes there were.

    Raises:
        BodyTooLarge: there is more than the sink takes.
        httpx.DecodingError: it is compressed, as nobody asked for.
        httpx.HTTPError: the connection broke.
        SinkBroken: the file cannot be written.
    """
    try:
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            message = "compressed, and nobody asked for it"
            raise httpx.DecodingError(message)
        return await _write(response, sink)
    finally:
        await response.aclose()


async def _write(response: httpx.Response, sink: Sink) -> tuple[bytes, int]:
    head, received = b"", 0
    with _ours():
        sink.file.seek(0)
        sink.file.truncate()
    async for piece in response.stream:  # type: ignore[union-attr] # an asynchronous client's
        received += len(piece)
        if received > sink.limit_bytes:
            raise BodyTooLarge(sink.limit_bytes)
        if len(head) < HEAD_BYTES:
            head += piece[: HEAD_BYTES - len(head)]
        # A piece is what one packet brought: the system takes it without waiting for the disk.
        with _ours():
            sink.file.write(piece)
    with _ours():
        sink.file.flush()
    return head, received


@contextmanager
def _ours() -> Iterator[None]:
    """Tell what the disk says from what the network says: to the system both are one."""
    try:
        yield
    except OSError as error:
        raise SinkBroken(error.strerror or str(error)) from error


async def read_body(response: httpx.Response, limit_bytes: int) -> tuple[bytes, int]:
    """Read a streamed response and close it.

    Args:
        response: nothing of it was read yet.
        limit_bytes: of the body, as it is sent and as it is inflated.

    Returns:
        The body, inflated, and how many bytes came over the wire.

    Raises:
        BodyTooLarge: there is more.
        httpx.DecodingError: compressed as nobody asked for, or not whole.
        httpx.HTTPError: the connection broke.
    """
    try:
        raw = await _read_raw(response, limit_bytes)
    finally:
        await response.aclose()
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    # A panic in a handler announces compression and sends nothing at all.
    if not raw or encoding in ("", "identity"):
        return raw, len(raw)
    if encoding not in ("gzip", "x-gzip"):
        message = "compressed otherwise than was asked for"
        raise httpx.DecodingError(message)
    # Up to a thousand bytes come out of each: the loop serves every other node meanwhile.
    return await asyncio.to_thread(_inflate, raw, limit_bytes), len(raw)


async def _read_raw(response: httpx.Response, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    received = 0
    # Not `aiter_bytes`: it inflates each piece whole, here, whatever comes out of it.
    async for piece in response.stream:  # type: ignore[union-attr] # an asynchronous client's
        received += len(piece)
        if received > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _inflate(raw: bytes, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        body = inflater.decompress(raw, limit_bytes + 1)
    except zlib.error as error:
        message = "broken compression"
        raise httpx.DecodingError(message) from error
    if len(body) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    if not inflater.eof:
        message = "the compressed answer is not whole"
        raise httpx.DecodingError(message)
    return body
