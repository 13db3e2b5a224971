"""One panel's session: log in, read, write.

Callers: `controller.panels.observe` and `act`, one `PanelApi` a node.
Reads and logins raise `PanelError`; writes never raise. Not here: what a call means for clients.
"""

import asyncio
import json as json_module
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import httpx

from controller.core.effects import Verdict
from controller.panels.api.body import Sink
from controller.panels.api.budget import RetryBudget
from controller.panels.api.channel import (
    Ask,
    Channel,
    Failure,
    Kind,
    Observer,
    Patience,
)
from controller.panels.api.clock import Clock, SystemClock
from controller.panels.api.envelope import Answer
from controller.panels.api.errors import (
    PanelChanged,
    PanelContractBroken,
    PanelCredentialsRefused,
    PanelError,
)
from controller.panels.api.gate import forbidden
from controller.panels.api.login import FORM_TYPE, log_in
from controller.panels.api.masking import mask, secrets_of
from controller.panels.api.outcomes import Standing, WriteAnswer, describe, judge_write, stand
from controller.panels.api.target import check_target
from controller.panels.detect import STATUS_PATH, PanelInfo, busy, greet, identify
from desired_state.model.node import NodeTarget

Form = Mapping[str, str]
JSON_TYPE = "application/json"
OK = 200


class PanelApi:
    """The only way to a panel; `async with PanelApi(target) as api:`.

    Logs in by itself before the first read or write, and again, once a read, when the panel says
    that the session is gone. Refused credentials are tried exactly once in the object's life; a
    changed target is a new object.

    Args:
        target: address, credentials and TLS of one node.
        clock: wall clock, elapsed time and waiting.
        observer: told of every exchange.
        patience: time limits.
        budget: of repetitions, one for all panels.
        transport: instead of the network, in tests.

    Raises:
        PanelMisconfigured: a field of `target` cannot work; nothing was contacted.
    """

    def __init__(
        self,
        target: NodeTarget,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        patience: Patience | None = None,
        budget: RetryBudget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        check_target(target)
        self.node = target.node
        self._credentials = target.credentials
        self._secrets = secrets_of(target.credentials)
        self._clock = clock or SystemClock()
        self._channel = Channel(
            target,
            clock=self._clock,
            observer=observer,
            patience=patience,
            budget=budget,
            transport=transport,
        )
        self._session_lock = asyncio.Lock()
        self._write_lock = asyncio.Lock()
        self._info: PanelInfo | None = None
        self._told: PanelInfo | None = None
        self._serial = 0
        self._unreached = 0
        self._refusal: PanelCredentialsRefused | None = None

    def __repr__(self) -> str:
        return f"PanelApi({self.node!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The panel keeps its session until it expires."""
        await self._channel.close()

    @property
    def clock_skew(self) -> timedelta | None:
        """The panel's `Date` minus our clock at the last answer; None when there was none."""
        return self._channel.clock_skew

    @property
    def certificate_until(self) -> datetime | None:
        """When the certificate of the last connection ends; None without TLS."""
        return self._channel.certificate_until

    async def knock(self) -> None:
        """Ask once, as a stranger and without repetition, whether anything answers at all.

        What comes first at a panel that did not answer lately: cheap for a server that is just
        coming back, and it tells nobody a token.

        Raises:
            PanelError: nothing answers, or with nothing usable.
        """
        answer = await self._channel.send(Ask(Kind.PROBE, "GET", STATUS_PATH, anonymous=True))
        if isinstance(answer, Failure):
            raise answer.error
        if stand(answer) is Standing.BUSY and answer.status != OK:
            raise busy(answer, "knock")

    async def connect(self) -> PanelInfo:
        """Log in and find out which panel this is; the same answer again until something changes.

        Asks anew after `forget`, after a lost session and after the panel was unreachable.

        Raises:
            PanelError: unreachable, not a panel, refused, unsupported ...
        """
        async with self._session_lock:
            self._told = await self._established()
            return self._told

    def forget(self) -> None:
        """Find out anew which panel this is before the next call.

        To be called when an answer has the shape of another family, or the status names another
        version than `connect` did: the panel was upgraded under us.
        """
        self._info = None

    async def read(
        self,
        method: str,
        path: str,
        *,
        form: Form | None = None,
        json: object = None,
        gzip: bool = False,
    ) -> Answer:
        """Send what changes nothing, and return a 200 with a body that is no HTML.

        A transport failure is repeated, at most 3 attempts in 10 s. An answer that may mean "not
        logged in" leads to one login and one repetition.

        Args:
            method: GET, or POST where a panel wants that of a read.
            path: below the base path; see `segment` for what is not constant in it.
            form: sent url-encoded.
            json: sent as JSON, unless None.
            gzip: allow a compressed answer; only for lists whose path certainly exists, since some
                versions answer an empty 200 to what does not when compression is allowed.

        Raises:
            PanelChanged: the panel is of another version than `connect` said.
            PanelContractBroken: logged in, and the path is still not there.
            PanelError: any other failure.
        """
        content, content_type = _encode(json, form)
        return await self._read(Ask(Kind.READ, method, path, content, content_type, gzip))

    async def save(self, path: str, sink: Sink) -> Answer:
        """GET a body of any size into a file; in the answer is its beginning alone.

        Logs in and repeats as `read` does; each try begins the file anew.

        Raises:
            PanelError: as `read`.
            SinkBroken: the file cannot be written.
        """
        return await self._read(Ask(Kind.READ, "GET", path, sink=sink))

    async def _read(self, ask: Ask) -> Answer:
        serial = await self._ready()
        answer = await self._channel.ask(ask)
        standing = stand(answer)
        if standing in (Standing.SESSION_GONE, Standing.FORBIDDEN):
            await self._renew(serial)
            answer = await self._channel.ask(ask)
            standing = stand(answer)
        if standing is not Standing.USABLE:
            self.forget()
            raise _unusable(answer, standing)
        return answer

    async def write(
        self,
        path: str,
        *,
        json: object = None,
        form: Form | None = None,
        content: bytes | None = None,
        secrets: tuple[str, ...] = (),
    ) -> WriteAnswer:
        """POST what changes the panel, at most once, one at a time.

        Never raises (cancellation passes through: then the outcome is unknown), never repeats. When
        the session turns out to be gone, the next read logs in.

        Args:
            path: below the base path.
            json: sent as JSON, unless None.
            form: sent url-encoded.
            content: JSON that is already encoded.
            secrets: what must not show in `cause`, although the panel may repeat it.
        """
        body, content_type = _encode(json, form) if content is None else (content, JSON_TYPE)
        ask = Ask(Kind.WRITE, "POST", path, body, content_type)
        async with self._write_lock:
            try:
                await self._ready()
            except PanelError as error:
                return WriteAnswer(Verdict.NOT_SENT, str(error))
            # Now, after whatever a login took.
            if cause := forbidden():
                return WriteAnswer(Verdict.NOT_SENT, cause)
            result = await self._channel.send(ask)
        answer = self._judge(result, len(body or b""), (*self._secrets, *secrets))
        if answer.verdict is Verdict.NOT_SENT:
            self.forget()
        return answer

    def _judge(
        self, result: Answer | Failure, sent_bytes: int, secrets: tuple[str, ...]
    ) -> WriteAnswer:
        if isinstance(result, Failure):
            verdict = Verdict.UNKNOWN if result.sent else Verdict.NOT_SENT
            cause = result.error.message
            return WriteAnswer(verdict, cause, None, result.duration_s, sent_bytes)
        verdict, cause = judge_write(result, secrets)
        told = verdict in (Verdict.APPLIED, Verdict.REJECTED) and result.status != 413
        return WriteAnswer(
            verdict,
            mask(cause, secrets),
            result.body if told else None,
            result.duration_s,
            sent_bytes,
            result.status,
        )

    async def _ready(self) -> int:
        """Be logged in; return the number of the session."""
        async with self._session_lock:
            info = await self._established()
            self._check_same(info)
            return self._serial

    async def _renew(self, serial: int) -> None:
        """Log in again, unless somebody did since `serial`."""
        async with self._session_lock:
            if serial == self._serial:
                self._info = None
            self._check_same(await self._established())

    async def _established(self) -> PanelInfo:
        if self._refusal is not None:
            raise PanelCredentialsRefused(
                self.node, "login", self._refusal.message, hint=self._refusal.hint
            )
        # Unreachable since: it may be another panel, or another version of it, that came back.
        if self._info is not None and self._unreached == self._channel.unreached:
            return self._info
        self._info = None
        try:
            self._info = await self._establish()
        except PanelCredentialsRefused as error:
            self._refusal = error
            raise
        self._serial += 1
        self._unreached = self._channel.unreached
        return self._info

    async def _establish(self) -> PanelInfo:
        by_form = self._credentials.token is None
        greeting = await greet(self._channel, by_form=by_form)
        await log_in(self._channel, self._credentials, greeting, self._clock)
        return await identify(self._channel, greeting, self._clock)

    def _check_same(self, info: PanelInfo) -> None:
        """Hold back what was meant for another version than the one that answers now."""
        told = self._told
        if told is not None and (told.version, told.features) != (info.version, info.features):
            raise PanelChanged(
                self.node,
                "connect",
                f"the panel was {told.version_text} and is now {info.version_text}",
                hint="the next look speaks its dialect",
            )
        self._told = info


def _unusable(answer: Answer, standing: Standing) -> PanelError:
    if standing is Standing.BUSY:
        return busy(answer, answer.operation)
    hints = {
        Standing.SESSION_GONE: "this version has no such path, or keeps no session",
        Standing.FORBIDDEN: "the panel, or a filter before it, wants another host or token",
    }
    return PanelContractBroken(
        answer.node,
        answer.operation,
        f"logged in, and {answer.path} answered {describe(answer)}",
        hint=hints.get(standing),
    )


def _encode(json: object, form: Form | None) -> tuple[bytes | None, str]:
    if json is not None:
        text = json_module.dumps(json, ensure_ascii=False, separators=(",", ":"))
        return text.encode(), JSON_TYPE
    if form is not None:
        return urlencode(form).encode(), FORM_TYPE
    return None, ""
