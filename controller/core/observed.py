"""What a panel holds, as values: the result of one look.

Made by `controller.panels.observe`, read by everything in the core. Not here: the panel's JSON but as
the opaque `raw` of a client, which an update passes through unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.core.features import Features
from desired_state.model.ids import InboundId, NodeName

CREDENTIAL_OF = {
    "vless": "uuid",
    "vmess": "uuid",
    "trojan": "password",
    "shadowsocks": "password",
    "hysteria": "auth",
    "hysteria2": "auth",
}
"""Which credential the clients of a protocol log in with."""
CLIENT_PROTOCOLS = frozenset(CREDENTIAL_OF)
"""Protocols whose clients we write. WireGuard and MTProto carry clients too, but only when named."""


class XrayState(StrEnum):
    """What the panel says of its Xray."""

    RUNNING = "running"
    STOP = "stop"
    ERROR = "error"
    UNKNOWN = "unknown"
    """Not asked (up to 3.0.2 a look is one GET) or not yet answered."""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """How busy the panel's host says it is, as parts of 1; None: it does not say, or was not asked."""

    cpu_share: float | None = None
    memory_share: float | None = None


@dataclass(frozen=True, slots=True)
class ObservedInbound:
    """A listener on the panel.

    `nameless_clients`: positions of entries without an email (they poison panels up to 3.0.1).
    `password_bytes`: what a shadowsocks-2022 method wants of a client's key, else None.
    `settings`, `stream`, `sniffing`: the panel's JSON as text, for links and declared inbounds; the
    first two hold keys of the server.
    `carried_bytes`: what went through it, up and down together, by the panel's own counter.
    """

    id: InboundId
    protocol: str
    port: int
    tag: str = ""
    remark: str = ""
    enable: bool = True
    network: str = ""
    security: str = ""
    method: str = ""
    password_bytes: int | None = None
    carries_clients: bool = True
    nameless_clients: tuple[int, ...] = ()
    listen: str = ""
    settings: str = field(default="", repr=False, compare=False)
    stream: str = field(default="", repr=False, compare=False)
    sniffing: str = field(default="", repr=False, compare=False)
    carried_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ObservedClient:
    """One client: up to 3.0.2 one entry of one inbound, from 3.1.0 one record with its attachments.

    `enable`: the record and the traffic row together (from 3.1.0 the panel serves only both).
    `expiry_ms`: Unix milliseconds, 0 for never, negative for "after first use".
    `total_bytes`: 0 for no limit. Both as the panel enforces them: from the traffic row where there is one.
    `flow_known`: False where the list cannot tell (3.2.5+, attached to inbounds that carry a flow and to
    others: the record shows the flow of the one written last); then `flow` is never drift.
    `traffic_row`: the panel's id of the row that counts it; another id is another client's counter.
    `raw`: the record as the panel returned it.
    """

    email: str
    inbound_ids: tuple[InboundId, ...]
    sub_id: str = field(default="", repr=False)
    uuid: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    flow: str = ""
    flow_known: bool = True
    enable: bool = True
    expiry_ms: int = 0
    total_bytes: int = 0
    limit_ip: int = 0
    tg_id: int = 0
    reset: int = 0
    comment: str = ""
    group: str = ""
    up_bytes: int = 0
    down_bytes: int = 0
    traffic_row: int = field(default=0, compare=False)
    raw: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one panel.

    `version`: exact from 3.1.0 on; below, the range that probing allows ("2.8.4 to 2.9.4").
    `guid`: from 3.3.0; None below, and while the panel has not answered its status yet.
    `clock_skew`: the panel's `Date` minus our clock; None when the answer carried none.
    `torn`: attachments and records of the look disagreed and a second read did not settle it.
    `certificate_until`: when the certificate of the panel's TLS ends; None without TLS.
    `host`: from 3.1.0, where the panel's status is part of a look.
    """

    node: NodeName
    version: str
    features: Features
    inbounds: tuple[ObservedInbound, ...]
    clients: tuple[ObservedClient, ...]
    guid: str | None = None
    xray: XrayState = XrayState.UNKNOWN
    clock_skew: timedelta | None = None
    certificate_until: datetime | None = None
    unverified_version: bool = False
    torn: bool = False
    host: HostLoad = field(default=HostLoad(), compare=False)
    requests: int = field(default=1, compare=False)
    received_bytes: int = field(default=0, compare=False)


class NotSeen(StrEnum):
    """Why a look failed, as a condition's reason."""

    UNREACHABLE = "Unreachable"
    TIMEOUT = "Timeout"
    TLS_MISMATCH = "TlsMismatch"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    NOT_A_PANEL = "NotAPanel"
    UNSUPPORTED_VERSION = "UnsupportedVersion"
    CONTRACT_BROKEN = "ContractBroken"
    BUSY = "PanelBusy"
    NOT_CONFIGURED = "NotConfigured"
    """A secret reference is missing or a field is wrong; nothing was contacted."""


PERMANENT = frozenset({
    NotSeen.TLS_MISMATCH, NotSeen.CREDENTIALS_REFUSED, NotSeen.NOT_A_PANEL,
    NotSeen.UNSUPPORTED_VERSION, NotSeen.CONTRACT_BROKEN, NotSeen.NOT_CONFIGURED,
})  # fmt: skip
"""Repeating cannot help until something is corrected: `Stalled`. The rest is `Unreachable`."""


@dataclass(frozen=True, slots=True)
class NotObserved:
    """A look that showed nothing, and why in one sentence without secrets.

    `retry_after`: before it the panel itself wants no other try. `at`: when the look ended. `watched_s`:
    seconds since the end of the look before, which failed too and was this controller's own; 0 without one.
    """

    node: NodeName
    reason: NotSeen
    message: str
    retry_after: datetime | None = None
    at: datetime | None = None
    watched_s: float = 0.0


def client_secrets_of(client: ObservedClient) -> tuple[str, str, str]:
    """Return the three credentials of a client as the panel holds them."""
    return client.uuid, client.password, client.auth
