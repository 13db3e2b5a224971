"""However much somebody sends, and however small it was packed, only so much of it is taken in."""

import errno
import gzip
import io
import os
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from controller.core.effects import Verdict
from controller.panels.api.body import Sink, SinkBroken
from controller.panels.api.channel import LIMITS_BYTES, Ask, Failure, Kind
from controller.panels.api.errors import PanelBusy, PanelContractBroken
from tests.unit.controller_panels_api.scripted import Handler, ScriptedPanel, envelope
from tests.unit.controller_panels_api.test_channel import channel

KINDS = pytest.mark.parametrize("kind", list(Kind))
GZIP = {"Content-Encoding": "gzip"}


class Endless(httpx.AsyncByteStream):
    """Sends the same piece again and again, and counts how much was taken."""

    def __init__(self, piece: bytes = b" " * 65_536) -> None:
        self.piece = piece
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += len(self.piece)
            yield self.piece

    async def aclose(self) -> None:
        self.closed = True


class Stream(httpx.AsyncByteStream):
    """Sends these bytes as they are."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), 65_536):
            yield self.content[start : start + 65_536]


def answering(content: bytes, **headers: str) -> Handler:
    return lambda _: httpx.Response(200, headers=headers, stream=Stream(content))


def ask(kind: Kind) -> Ask:
    return Ask(kind, "GET", "panel/api/inbounds/list", gzip=True)


@KINDS
async def test_what_never_ends_is_given_up_on(kind: Kind) -> None:
    stream = Endless()

    result = await channel(lambda _: httpx.Response(200, stream=stream)).send(ask(kind))

    assert isinstance(result, Failure)
    assert (PanelContractBroken, True) == (type(result.error), result.sent)
    assert "larger than any panel's" in str(result.error)
    assert stream.closed
    assert stream.taken <= LIMITS_BYTES[kind] + len(stream.piece)


@KINDS
async def test_little_that_inflates_to_much_is_given_up_on(kind: Kind) -> None:
    """A thousand times the size on the wire: only the limit and a byte are ever inflated."""
    bomb = _zeros(LIMITS_BYTES[kind] + 1)

    result = await channel(answering(bomb, **GZIP)).send(ask(kind))

    assert len(bomb) < LIMITS_BYTES[kind]
    assert isinstance(result, Failure)
    assert PanelContractBroken is type(result.error)


async def test_no_more_is_inflated_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting:
        def __init__(self, window: int) -> None:
            self._inner = _make(window)

        def decompress(self, raw: bytes, longest: int) -> bytes:
            asked.append(longest)
            return self._inner.decompress(raw, longest)

    _make = zlib.decompressobj
    monkeypatch.setattr("controller.panels.api.body.zlib.decompressobj", Counting)

    await channel(answering(_zeros(1 << 23), **GZIP)).send(ask(Kind.PROBE))

    assert [LIMITS_BYTES[Kind.PROBE] + 1] == asked


@KINDS
@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
async def test_what_is_just_within_the_limit_is_read(kind: Kind, packed: bool) -> None:
    if packed:
        handler = answering(_zeros(LIMITS_BYTES[kind]), **GZIP)
    else:
        handler = answering(bytes(LIMITS_BYTES[kind]))

    result = await channel(handler).send(ask(kind))

    assert not isinstance(result, Failure)
    assert LIMITS_BYTES[kind] == len(result.body)


async def test_size_is_told_as_it_came_and_the_body_inflated() -> None:
    packed = gzip.compress(b"x" * 10_000)

    result = await channel(answering(packed, **GZIP)).send(ask(Kind.READ))

    assert not isinstance(result, Failure)
    assert (b"x" * 10_000, len(packed)) == (result.body, result.received_bytes)


async def test_compression_without_a_body_is_an_empty_body() -> None:
    """What a panic in a panel's handler looks like."""
    result = await channel(answering(b"", **GZIP)).send(ask(Kind.READ))

    assert not isinstance(result, Failure)
    assert (200, b"") == (result.status, result.body)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(b"x" * 10_000)[:-9], "gzip"),
        (b"this is no gzip", "gzip"),
        (zlib.compress(b"x"), "deflate"),
        (gzip.compress(gzip.compress(b"x")), "gzip, gzip"),
    ],
    ids=["cut", "not packed", "another way", "packed twice"],
)
async def test_what_cannot_be_unpacked_says_nothing(content: bytes, encoding: str) -> None:
    handler = answering(content, **{"Content-Encoding": encoding})

    result = await channel(handler).send(ask(Kind.READ))

    assert isinstance(result, Failure)
    assert PanelBusy is type(result.error)


async def test_a_write_with_an_answer_too_large_is_unknown_and_not_repeated() -> None:
    panel = ScriptedPanel(
        answers={"panel/api/write": lambda _: httpx.Response(200, stream=Endless())}
    )

    async with panel.api() as api:
        answer = await api.write("panel/api/write", json={})

    assert Verdict.UNKNOWN is answer.verdict
    assert 1 == panel.paths.count("panel/api/write")


async def test_a_login_with_an_answer_too_large_is_not_repeated() -> None:
    panel = ScriptedPanel(answers={"login": lambda _: httpx.Response(200, stream=Endless())})

    async with panel.api() as api:
        with pytest.raises(PanelContractBroken):
            await api.connect()

    assert 1 == panel.logins


async def test_other_answers_are_read_after_one_too_large() -> None:
    answers = [httpx.Response(200, stream=Endless()), envelope([])]
    line = channel(lambda _: answers.pop(0))

    await line.send(ask(Kind.PROBE))
    result = await line.send(ask(Kind.PROBE))

    assert not isinstance(result, Failure)


def _zeros(size: int) -> bytes:
    return gzip.compress(bytes(size), compresslevel=1)


class FullDisk(io.BytesIO):
    """A file on a disk that has no room for anything."""

    def write(self, piece: object) -> int:
        del piece
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_is_not_the_panels_fault_and_is_not_asked_about_again() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, stream=Stream(b"x" * 100_000))

    sink = Sink(FullDisk(), 1 << 20, 60.0)

    with pytest.raises(SinkBroken, match="No space left"):
        await channel(answer).ask(Ask(Kind.READ, "GET", "getDb", sink=sink))

    assert 1 == len(asked)
