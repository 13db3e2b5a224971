"""The panel's inbounds to `ObservedInbound`: with JSON inside strings, or nested (3.1.0+).

Callers: dialects. Not here: the clients in them (`clients`), choosing inbounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from controller.core.observed import CLIENT_PROTOCOLS, ObservedInbound
from controller.panels.wire.clients import TrafficRow
from desired_state.model.credentials import PASSWORD_BYTES
from desired_state.model.ids import InboundId

SINGLE_USER_METHOD = "2022-blake3-chacha20-poly1305"
"""Xray serves this shadowsocks method for one user only: an inbound of it carries no clients."""


class Listed(Protocol):
    """What both ways of reading an inbound have."""

    @property
    def id(self) -> int:
        """Of the inbound on its panel."""

    @property
    def protocol(self) -> str:
        """As the panel names it."""

    @property
    def port(self) -> int:
        """Where it listens."""

    @property
    def tag(self) -> str:
        """Its name in Xray."""

    @property
    def remark(self) -> str:
        """What the operator named it."""

    @property
    def listen(self) -> str:
        """The address, empty for all."""

    @property
    def enable(self) -> bool:
        """Whether it is on."""

    @property
    def sniffing(self) -> str | dict[str, Any] | None:
        """JSON in text up to 3.0.2, an object from 3.1.0 on."""

    @property
    def up(self) -> int:
        """Bytes that its clients have sent."""

    @property
    def down(self) -> int:
        """Bytes that its clients have received."""


@dataclass(frozen=True, slots=True)
class SlimInbound:
    """An inbound from 3.1.0 on, however it was read.

    `settings`: without the clients; None when there are none. `emails`: of its clients in the panel's
    order, None for one that has none.
    """

    inbound: Listed
    settings: Mapping[str, Any] | None
    stream: Mapping[str, Any] | None
    emails: tuple[str | None, ...] = ()

    def observe(self) -> ObservedInbound:
        """Make the value that the core reads."""
        nameless = tuple(at for at, email in enumerate(self.emails) if email is None)
        return observe_inbound(self.inbound, self.settings, self.stream, nameless)

    def can_carry_flow(self) -> bool:
        """Whether the panel keeps a client's flow on this inbound, and does not blank it."""
        stream, settings = self.stream or {}, self.settings or {}
        if self.inbound.protocol != "vless":
            return False
        if stream.get("network") == "xhttp":
            # From 3.4.0 on; before, an inbound of this kind blanks flows and the doubt is merely
            # smaller.
            return any(settings.get(key) not in (None, "", "none") for key in _VLESS_ENCRYPTION)
        return stream.get("network") == "tcp" and stream.get("security") in ("tls", "reality")


def _or_none(value: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's own handler
    try:
        return handler(value)
    except ValidationError:
        return None


def _or_zero(value: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's own handler
    return _or_none(value, handler) or 0


def _or_empty(value: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's own handler
    return _or_none(value, handler) or ""


class _Inbound(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int
    protocol: str = ""
    port: int = 0
    tag: str = ""
    remark: str = ""
    listen: str = ""
    enable: bool = False
    up: Annotated[int, WrapValidator(_or_zero)] = 0
    down: Annotated[int, WrapValidator(_or_zero)] = 0


class StringInbound(_Inbound):
    """Up to 3.0.2: settings are JSON inside a string, clients with all their secrets in them."""

    settings: str = ""
    stream: str = Field(default="", alias="streamSettings")
    sniffing: Annotated[str, WrapValidator(_or_empty)] = ""
    rows: list[TrafficRow] | None = Field(default=None, alias="clientStats")


class _SlimClient(TypedDict, total=False):
    email: str


class NestedSettings(BaseModel):
    """The settings of a `NestedInbound`: of its clients only the emails."""

    model_config = ConfigDict(extra="allow")

    clients: Annotated[list[_SlimClient] | None, WrapValidator(_or_none)] = None


class NestedInbound(_Inbound):
    """From 3.1.0: nested objects; null or a string where the stored JSON is empty or broken."""

    settings: Annotated[NestedSettings | None, WrapValidator(_or_none)] = None
    stream: Annotated[dict[str, Any] | None, WrapValidator(_or_none)] = Field(
        default=None, alias="streamSettings"
    )
    sniffing: Annotated[dict[str, Any] | None, WrapValidator(_or_none)] = None

    def slim(self) -> SlimInbound:
        """Part the clients from the rest."""
        if self.settings is None:
            return SlimInbound(self, None, self.stream)
        emails = tuple(client.get("email") for client in self.settings.clients or ())
        return SlimInbound(self, self.settings.model_extra or {}, self.stream, emails)


def observe_inbound(
    inbound: Listed,
    settings: Mapping[str, Any] | None,
    stream: Mapping[str, Any] | None,
    nameless: tuple[int, ...] = (),
) -> ObservedInbound:
    """Make the value: what identifies an inbound, what its clients need, and what links need.

    Args:
        inbound: either shape.
        settings: decoded, without the clients; None when there are none to carry clients in.
        stream: decoded.
        nameless: positions of clients without an email.
    """
    others, stream = settings or {}, stream or {}
    protocol = _protocol(inbound.protocol, others)
    method = _text(others.get("method")) if protocol == "shadowsocks" else ""
    return ObservedInbound(
        id=InboundId(inbound.id),
        protocol=protocol,
        port=inbound.port,
        tag=without_nul(inbound.tag),
        remark=without_nul(inbound.remark),
        enable=inbound.enable,
        network=_text(stream.get("network")),
        security=_text(stream.get("security")),
        method=method,
        password_bytes=PASSWORD_BYTES.get(method),
        carries_clients=(
            protocol in CLIENT_PROTOCOLS and settings is not None and method != SINGLE_USER_METHOD
        ),
        nameless_clients=nameless,
        listen=without_nul(inbound.listen),
        settings=to_json(others).decode(),
        stream=to_json(stream).decode(),
        sniffing=_as_text(inbound.sniffing),
        carried_bytes=inbound.up + inbound.down,
    )


_VLESS_ENCRYPTION = ("encryption", "decryption")


def decode_object(text: str) -> dict[str, Any] | None:
    """Decode a JSON string of a `StringInbound`; None when it holds no object."""
    try:
        decoded = from_json(text)
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _protocol(name: str, settings: Mapping[str, Any]) -> str:
    # QUIRK(hysteria-name, 3x-ui 2.9.3+): version 2 is a protocol of its own up to 3.1.0 and from
    # 3.2.0 `hysteria` with `version: 2`. It keeps one name here: an upgrade must not unbind its
    # inbound.
    if name == "hysteria" and settings.get("version") == 2:
        return "hysteria2"
    return without_nul(name)


def _as_text(value: str | dict[str, Any] | None) -> str:
    return value if isinstance(value, str) else to_json(value or {}).decode()


def _text(value: object) -> str:
    return without_nul(value) if isinstance(value, str) else ""


def without_nul(text: str) -> str:
    """Leave out what JSON may hold and PostgreSQL stores in no text: recording must not fail for it."""
    return text.replace("\x00", "")
