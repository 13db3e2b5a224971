"""One HTTP channel to one panel: a request out, an answer or a named failure back.

Owns the node's httpx client, its cookies, its CSRF and bearer tokens and the panel's `Date`.
Callers: `session`, `login`, `controller.panels.detect`. No exception of httpx leaves this module.
Not here: what an answer means (`outcomes`), when to log in (`session`).
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

import httpx
import stamina

from controller.panels.api.body import BodyTooLarge, Sink, read_body, save_body
from controller.panels.api.budget import RetryBudget
from controller.panels.api.clock import Clock
from controller.panels.api.envelope import Answer
from controller.panels.api.errors import PanelError, PanelTimeout, PanelUnreachable
from controller.panels.api.failures import name_failure
from controller.panels.api.paths import join
from controller.panels.api.tls import Certificate, make_context
from desired_state.model.ids import NodeName
from desired_state.model.node import NodeTarget

# They log addresses (a base path is half a secret) and, at debug, headers.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_ATTEMPTS = 3
_ATTEMPTS_WITHIN_S = 10.0
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
_LAST_YEAR = 9000
"""A `Date` beyond is none: time could not be added to it for ever."""
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Kind(StrEnum):
    """What an exchange is for."""

    PROBE = "probe"
    LOGIN = "login"
    READ = "read"
    WRITE = "write"


LIMITS_BYTES = {
    Kind.PROBE: 1 << 20,
    Kind.LOGIN: 1 << 16,
    Kind.READ: 1 << 26,
    Kind.WRITE: 1 << 22,
}
"""How large an answer may be, inflated. A probe may fetch a login page, some 100 KiB of HTML at
most; a write names each refused member of the widest call, in some 200 bytes; 64 MiB list 100,000
clients, ten times what a panel stays usable with."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    A write ends within `write_s` altogether: 3.0.2 and later cut an answer after 30 s, and a
    replica that takes a node over waits as long. Reads of large lists may take `read_total_s`. A probe
    asks for nothing that takes time: a panel that swallows packets is told apart sooner by it.
    """

    connect_s: float = 5.0
    probe_s: float = 10.0
    read_s: float = 20.0
    write_s: float = 30.0
    pool_s: float = 5.0
    read_total_s: float = 60.0

    def timeout(self, kind: Kind) -> httpx.Timeout:
        """The limits of the single steps of an exchange."""
        steps = {Kind.WRITE: self.write_s, Kind.PROBE: self.probe_s}
        step = steps.get(kind, self.read_s)
        return httpx.Timeout(step, connect=self.connect_s, pool=self.pool_s)

    def total_s(self, kind: Kind) -> float:
        """The limit of the whole exchange: an answer that drips in never exceeds a step's."""
        return self.write_s if kind is Kind.WRITE else self.read_total_s


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `path`: below the base path. `anonymous`: without cookie or any token.

    `sink`: where the answer's body goes instead of into memory; only its beginning is in the answer.
    """

    kind: Kind
    method: str
    path: str
    content: bytes | None = field(default=None, repr=False)
    content_type: str = ""
    gzip: bool = False
    anonymous: bool = False
    sink: Sink | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An exchange without an answer. `sent`: whether the panel may have seen the request."""

    error: PanelError
    sent: bool
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it, for metrics. `failure`: the error's code, else empty.

    `sent`: whether the panel may have seen the request.
    """

    node: NodeName
    kind: Kind
    status: int | None
    failure: str
    duration_s: float
    sent_bytes: int
    received_bytes: int
    sent: bool = True


class Observer(Protocol):
    """Told of every exchange with a panel."""

    def exchanged(self, exchange: Exchange) -> None:
        """Take note."""


class Channel:
    """Requests to one panel, one answer each.

    Args:
        target: already checked.
        clock: for durations and the panel's time.
        observer: told of every exchange.
        patience: time limits.
        budget: of repetitions, one for all panels.
        transport: instead of the network, in tests.
    """

    def __init__(
        self,
        target: NodeTarget,
        *,
        clock: Clock,
        observer: Observer | None = None,
        patience: Patience | None = None,
        budget: RetryBudget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.node = target.node
        self.csrf: str | None = None
        self.bearer: str | None = None
        self.unreached = 0
        """How often no connection came about: the panel may have been restarted, or replaced."""
        self._base = target.url
        self._clock = clock
        self._observer = observer
        self._patience = patience or Patience()
        self._budget = budget or RetryBudget()
        self._certificate = Certificate()
        self._date: datetime | None = None
        self._date_at_s = 0.0
        self._skew: timedelta | None = None
        self._client = httpx.AsyncClient(
            verify=make_context(target.node, target.tls),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            http2=False,
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
            headers={"User-Agent": "x3fleet"},
        )

    @property
    def is_plain(self) -> bool:
        """Whether the declared address has no TLS."""
        return self._base.startswith("http:")

    @property
    def clock_skew(self) -> timedelta | None:
        """The panel's `Date` minus our clock at the last answer that carried one."""
        return self._skew

    @property
    def certificate_until(self) -> datetime | None:
        """When the certificate of the last connection ends; None without TLS."""
        return self._certificate.until

    def panel_now(self) -> datetime:
        """The panel's time, at most a second early, as a `Date` is cut; ours without one."""
        if self._date is None:
            return self._clock.now()
        return self._date + timedelta(seconds=self._clock.monotonic() - self._date_at_s)

    def reset(self) -> None:
        """Forget cookies and tokens."""
        self._client.cookies.clear()
        self.csrf = self.bearer = None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, ask: Ask) -> Answer:
        """Send what may be repeated, up to 3 times in 10 s while the transport fails.

        A login is repeated only while it certainly did not arrive: a lost answer may be a refusal,
        and refusals are counted. Each repetition is paid from the process's budget.

        Raises:
            PanelError: the last failure.
        """
        last: Answer | Failure | None = None
        tries = 0

        def may_repeat(error: Exception) -> bool:
            lost = isinstance(last, Failure) and last.sent and ask.kind is Kind.LOGIN
            if tries >= _ATTEMPTS or lost:
                return False
            if not isinstance(error, (PanelUnreachable, PanelTimeout)):
                return False
            return self._budget.take(timed_out=isinstance(error, PanelTimeout))

        async for attempt in stamina.retry_context(
            on=may_repeat, attempts=_ATTEMPTS, timeout=_ATTEMPTS_WITHIN_S
        ):
            with attempt:
                tries += 1
                last = await self.send(ask)
                if isinstance(last, Failure):
                    raise last.error
                self._budget.succeeded()
                return last
        raise AssertionError  # pragma: no cover - stamina returns or raises

    async def send(self, ask: Ask) -> Answer | Failure:
        """Send once. Never raises but for cancellation.

        Raises:
            SinkBroken: the file of `ask.sink` cannot be written; that says nothing about the panel.
        """
        started_s = self._clock.monotonic()
        try:
            total_s = ask.sink.total_s if ask.sink else self._patience.total_s(ask.kind)
            async with asyncio.timeout(total_s):
                response = await self._client.send(self._request(ask), stream=True)
                self._certificate.note(response)
                body, received = await _take_body(response, ask)
        except (
            BodyTooLarge,
            httpx.HTTPError,
            httpx.InvalidURL,
            httpx.StreamError,
            httpx.CookieConflict,
            OSError,
        ) as error:
            duration_s = self._clock.monotonic() - started_s
            return self._failed(ask, error, duration_s)
        duration_s = self._clock.monotonic() - started_s
        return self._answered(ask, response, body, received, duration_s)

    def _request(self, ask: Ask) -> httpx.Request:
        request = self._client.build_request(
            ask.method,
            join(self._base, ask.path),
            content=ask.content,
            headers=self._headers(ask),
            timeout=self._patience.timeout(ask.kind),
        )
        if ask.anonymous:
            request.headers.pop("Cookie", None)
        return request

    def _headers(self, ask: Ask) -> Mapping[str, str]:
        headers = {
            "Accept": "application/json",
            # QUIRK(absent-is-empty-200, 3x-ui 2.6.0 to 2.8.3): with compression allowed,
            # what does not exist answers 200 without a body, and a panic does so on more versions.
            "Accept-Encoding": "gzip" if ask.gzip else "identity",
            # The panel keeps one language for all requests in flight: everyone asks for the same.
            "Accept-Language": "en-US",
            "X-Requested-With": "XMLHttpRequest",
        }
        if ask.content_type:
            headers["Content-Type"] = ask.content_type
        if ask.anonymous:
            return headers
        if self.bearer is not None:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if self.csrf is not None and ask.method not in _SAFE_METHODS:
            headers["X-CSRF-Token"] = self.csrf
        return headers

    def _answered(
        self, ask: Ask, response: httpx.Response, body: bytes, received: int, duration_s: float
    ) -> Answer:
        date = _parse_date(response.headers.get("Date", ""))
        if date is not None:
            self._date, self._date_at_s = date, self._clock.monotonic()
            self._skew = date - self._clock.now().replace(microsecond=0)
        answer = Answer(
            node=self.node,
            method=ask.method,
            path=ask.path,
            status=response.status_code,
            body=body,
            content_type=response.headers.get("Content-Type", "").lower(),
            location=response.headers.get("Location", ""),
            retry_after=response.headers.get("Retry-After", ""),
            date=date,
            duration_s=duration_s,
            received_bytes=received,
        )
        self._tell(ask, answer.status, "", duration_s, answer.received_bytes)
        return answer

    def _failed(self, ask: Ask, error: Exception, duration_s: float) -> Failure:
        sent = not isinstance(error, _NEVER_SENT)
        if not sent:
            self.unreached += 1
        named = name_failure(self.node, f"{ask.kind} {ask.path}".strip(), error)
        named.__cause__ = error
        self._tell(ask, None, named.code, duration_s, 0, sent=sent)
        return Failure(named, sent, duration_s)

    def _tell(
        self,
        ask: Ask,
        status: int | None,
        failure: str,
        duration_s: float,
        received: int,
        *,
        sent: bool = True,
    ) -> None:
        if self._observer is not None:
            size = len(ask.content or b"")
            self._observer.exchanged(
                Exchange(
                    self.node, ask.kind, status, failure, duration_s, size, received, sent=sent
                )
            )


async def _take_body(response: httpx.Response, ask: Ask) -> tuple[bytes, int]:
    if ask.sink is not None:
        return await save_body(response, ask.sink)
    return await read_body(response, LIMITS_BYTES[ask.kind])


def _parse_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.year > _LAST_YEAR:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
