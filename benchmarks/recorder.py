"""Records what goes over the wire, so that the floor can send the same bytes without any of our code.

The floor of a run is its own requests, in order, through a bare httpx client: the same bulk calls, the
same chunk sizes, the same looks. Callers: the stages.
"""

import gzip
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.panels import Raw

_KEPT_HEADERS = ("content-type", "accept-encoding")


@dataclass
class Exchange:
    """One request and its answer. `waited_s`: from the first byte out to the last byte in."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    raw: bytes = b""
    is_zipped: bool = False
    waited_s: float = 0.0

    @property
    def answer(self) -> bytes:
        """The body, inflated."""
        return gzip.decompress(self.raw) if self.is_zipped else self.raw


@dataclass
class Recording:
    """The exchanges of one run."""

    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def waited_s(self) -> float:
        """How long the panel took, all answers together."""
        return sum(exchange.waited_s for exchange in self.exchanges)

    @property
    def writes(self) -> int:
        """How many calls were writes."""
        return sum(exchange.method != "GET" for exchange in self.exchanges)

    def bodies(self) -> list[bytes]:
        """The bodies of the lists that were read."""
        return [e.answer for e in self.exchanges if e.method == "GET" and e.path.count("list")]

    async def replay(self, raw: Raw) -> float:
        """Send it all again and return the seconds that it took."""
        started = time.perf_counter()
        for exchange in self.exchanges:
            answer = await raw.http.request(
                exchange.method,
                raw.target.url + exchange.path,
                content=exchange.body,
                headers=exchange.headers,
            )
            answer.read()
            if exchange.method != "GET" and b'"success":true' not in answer.content[:40]:
                raise SystemExit(f"the floor was refused: {exchange.path}: {answer.text[:200]}")
        return time.perf_counter() - started


class _Tee(httpx.AsyncByteStream):
    """A body that is kept while somebody else reads it, as it comes."""

    def __init__(self, stream: Any, exchange: Exchange, started: float, *, is_zipped: bool) -> None:
        self._stream, self._exchange = stream, exchange
        self._started, self._is_zipped = started, is_zipped

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = []
        async for piece in self._stream:
            pieces.append(piece)
            yield piece
        self._exchange.waited_s = time.perf_counter() - self._started
        self._exchange.raw = b"".join(pieces)
        self._exchange.is_zipped = self._is_zipped

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextmanager
def recording(base_url: str) -> Iterator[Recording]:
    """Record every exchange of this process with one panel."""
    kept = Recording()
    send = httpx.AsyncClient.send

    async def watched(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> Any:
        url = str(request.url)
        exchange = Exchange(
            request.method,
            url.removeprefix(base_url),
            await request.aread(),
            {k: v for k, v in request.headers.items() if k in _KEPT_HEADERS},
        )
        started = time.perf_counter()
        answer = await send(self, request, **options)
        if answer.is_closed:
            exchange.raw = answer.content
            exchange.waited_s = time.perf_counter() - started
        else:
            is_zipped = answer.headers.get("Content-Encoding") == "gzip"
            answer.stream = _Tee(answer.stream, exchange, started, is_zipped=is_zipped)
        if url.startswith(base_url):
            kept.exchanges.append(exchange)
        return answer

    httpx.AsyncClient.send = watched  # type: ignore[assignment, method-assign] # put back below
    try:
        yield kept
    finally:
        httpx.AsyncClient.send = send  # type: ignore[method-assign] # what was there before
