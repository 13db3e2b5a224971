"""One panel's session: log in, read, write.

Callers: `controller.panels.observe` and `act`, one `PanelApi` a node and turn (or longer).
Reads and logins raise `PanelError`; writes never raise. Not here: what a call means for clients.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from controller.panels.api.clock import Clock, SystemClock
from controller.panels.api.envelope import Answer
from controller.panels.api.outcomes import WriteAnswer
from controller.panels.detect import PanelInfo
from desired_state.model.node import NodeTarget

Form = Mapping[str, str]


class Observer(Protocol):
    """Told of every exchange with a panel; the metrics implement it."""

    def exchanged(self, exchange: object) -> None:
        """Take note of one request and what came of it."""


class PanelApi:
    """The only way to a panel; `async with PanelApi(target) as api:`.

    Logs in by itself before the first read or write, and again, once a read, when the panel says that
    the session is gone. Refused credentials are tried exactly once in the object's life.

    Args:
        target: address, credentials and TLS of one node.
        clock: wall clock, elapsed time and waiting.
        observer: told of every exchange.

    Raises:
        PanelMisconfigured: a field of `target` cannot work; nothing was contacted.
    """

    def __init__(
        self, target: NodeTarget, *, clock: Clock | None = None, observer: Observer | None = None
    ) -> None:
        self.node = target.node
        self._clock = clock or SystemClock()
        self._observer = observer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError

    async def connect(self) -> PanelInfo:
        """Log in and find out which panel this is; the same answer again until `forget`.

        Raises:
            PanelError: unreachable, not a panel, refused, unsupported ...
        """
        raise NotImplementedError

    def forget(self) -> None:
        """Find out anew which panel this is before the next call.

        To be called when an answer has the shape of another family, or the status names another version
        than `connect` did: the panel was upgraded under us.
        """
        raise NotImplementedError

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

        A transport failure is repeated, at most 3 attempts in 10 s. An answer that may mean "not logged
        in" leads to one login and one repetition.

        Args:
            method: GET, or POST where a panel wants that of a read.
            path: below the base path; see `segment` for what is not constant in it.
            form: sent url-encoded.
            json: sent as JSON, unless None.
            gzip: allow a compressed answer; only for lists whose path certainly exists, since some
                versions answer an empty 200 to what does not when compression is allowed.

        Raises:
            PanelChanged: after the new login the panel is of another version.
            PanelContractBroken: logged in, and the path is still not there.
            PanelError: any other failure.
        """
        raise NotImplementedError

    async def write(
        self,
        path: str,
        *,
        json: object = None,
        form: Form | None = None,
        content: bytes | None = None,
    ) -> WriteAnswer:
        """POST what changes the panel, at most once, one at a time.

        Never raises (cancellation passes through: then the outcome is unknown), never repeats.

        Args:
            path: below the base path.
            json: sent as JSON, unless None.
            form: sent url-encoded.
            content: JSON that is already encoded.
        """
        raise NotImplementedError

    @property
    def clock_skew(self) -> timedelta | None:
        """The panel's `Date` minus our clock at the last answer; None when there was none."""
        raise NotImplementedError
