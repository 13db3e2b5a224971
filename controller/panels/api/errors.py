"""What reads and logins raise; writes never raise.

PanelError                      node, operation, reason (of a condition)
├── PanelTemporary              retry_after_s: repeating may help, so the node backs off
│   ├── PanelUnreachable        no connection, or it broke
│   ├── PanelTimeout            no answer in time
│   └── PanelBusy               answered, but with nothing usable: 5xx, 429, an empty or broken body
│       └── PanelChanged        another version than before: look again, in its dialect
└── PanelPermanent              repeating cannot help until something is corrected
    ├── PanelMisconfigured      a declared field is wrong; nothing was contacted
    ├── PanelTlsMismatch        the certificate is not the declared one
    ├── NotAPanel               no 3x-ui answers under the declared address and base path
    ├── PanelCredentialsRefused one attempt, never repeated by itself
    ├── PanelUnsupported        a version, or a way to log in, that cannot work
    └── PanelContractBroken     an answer of another shape than the version promises

Callers: everything in `controller.panels`; the worker turns one into `NotObserved`. Messages are
whole sentences without secrets. Not here: httpx, whose errors end in `channel`.
"""

from datetime import datetime, timedelta
from typing import ClassVar

from controller.core.observed import NotObserved, NotSeen
from desired_state.model.errors import X3FleetError
from desired_state.model.ids import NodeName


class PanelError(X3FleetError):
    """A panel could not be read.

    Args:
        node: whose panel.
        operation: what was being done: `connect`, `login`, `detect` or `read <path>`.
        message: what was seen, in one sentence.
        hint: what a person can do about it.
    """

    code = "panel"
    reason: ClassVar[NotSeen] = NotSeen.UNREACHABLE

    def __init__(
        self, node: NodeName, operation: str, message: str, *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.node = node
        self.operation = operation
        self.retry_after_s: float | None = None

    def to_not_observed(self, now: datetime) -> NotObserved:
        """Turn into the value that a failed look is to the core."""
        wait = self.retry_after_s
        retry_after = None if wait is None else now + timedelta(seconds=wait)
        return NotObserved(self.node, self.reason, str(self), retry_after)


class PanelTemporary(PanelError):
    """Repeating later may help."""

    code = "panel_temporary"


class PanelUnreachable(PanelTemporary):
    """No connection, or it broke before the answer was whole."""

    code = "panel_unreachable"


class PanelTimeout(PanelTemporary):
    """No answer in time."""

    code = "panel_timeout"
    reason = NotSeen.TIMEOUT


class PanelBusy(PanelTemporary):
    """An answer that says nothing: 5xx, 429, an empty or broken body, a status not ready yet."""

    code = "panel_busy"
    reason = NotSeen.BUSY

    def __init__(
        self,
        node: NodeName,
        operation: str,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(node, operation, message, hint=hint)
        self.retry_after_s = retry_after_s


class PanelChanged(PanelBusy):
    """The panel is of another version than at the last connect; the next look uses its dialect."""

    code = "panel_changed"


class PanelPermanent(PanelError):
    """Repeating cannot help until something is corrected."""

    code = "panel_permanent"


class PanelMisconfigured(PanelPermanent):
    """A declared field is wrong or missing; nothing was contacted. `field` names it."""

    code = "panel_misconfigured"
    reason = NotSeen.NOT_CONFIGURED

    def __init__(self, node: NodeName, field: str, message: str) -> None:
        super().__init__(node, "configure", f"{field}: {message}")
        self.field = field


class PanelTlsMismatch(PanelPermanent):
    """The certificate, or the lack of one, is not what was declared."""

    code = "panel_tls_mismatch"
    reason = NotSeen.TLS_MISMATCH


class NotAPanel(PanelPermanent):
    """Something answers, and it is no 3x-ui under this base path."""

    code = "not_a_panel"
    reason = NotSeen.NOT_A_PANEL


class PanelCredentialsRefused(PanelPermanent):
    """The panel refused the credentials. Asking again could lock the account."""

    code = "panel_credentials_refused"
    reason = NotSeen.CREDENTIALS_REFUSED


class PanelUnsupported(PanelPermanent):
    """A version, or a way to log in to it, that cannot work."""

    code = "panel_unsupported"
    reason = NotSeen.UNSUPPORTED_VERSION


class PanelContractBroken(PanelPermanent):
    """An answer of another shape than this version promises. Names the path, never the body."""

    code = "panel_contract_broken"
    reason = NotSeen.CONTRACT_BROKEN
