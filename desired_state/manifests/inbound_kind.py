"""The kind Inbound, as a pydantic model: a listener that every node of its selector is to have.

Used by `kinds` (which collects all kinds) and `resolve`. What stands below a field is its description
in the reference. Not here: rules across documents (`inbound_rules`), what a panel makes of it.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from desired_state.manifests.fields import Host, Labels, Metadata, Part, Port, Text, wrong
from desired_state.manifests.panel_url import WrongUrl, parse_host
from desired_state.model.inbound import HYSTERIA, InboundDeletion

TAG_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_REALITY_NETWORKS = frozenset({"tcp", "grpc", "xhttp"})
"""What Xray carries Reality over."""
_NEEDS_TLS = frozenset({"trojan"})
Tag = Annotated[str, StringConstraints(pattern=TAG_PATTERN)]
PanelFile = Annotated[str, StringConstraints(pattern=r"^/[^\x00]{1,254}$")]


def _target(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise wrong("has no port", "write host:port")
    try:
        return f"{parse_host(host)}:{int(port)}"
    except WrongUrl as error:
        raise wrong(str(error), "write host:port") from error


class RealityDocument(Part):
    """Reality. Its key pair is made by the panel when the inbound is created, and stays there."""

    target: Annotated[str, AfterValidator(_target)]
    """The site it looks like, as `host:port`."""
    server_names: Annotated[list[Host], Field(min_length=1, max_length=32)]
    """Names that clients may ask for; the site must answer to them."""
    short_ids: Annotated[int, Field(ge=1, le=16)] = 1
    """How many are drawn when the inbound is created; they stay afterwards."""
    fingerprint: Literal["chrome", "firefox", "safari", "ios", "android", "edge", "random"] = (
        "chrome"
    )
    """What clients pretend to be."""


class InboundTlsDocument(Part):
    """TLS with a certificate that lies on the panel's host."""

    certificate_file: PanelFile
    """Absolute path there."""
    key_file: PanelFile
    """Absolute path there. The key itself never stands in a manifest."""
    server_name: Host | None = None
    """Name that clients ask for. Default: none is written."""
    alpn: list[Literal["h2", "http/1.1", "h3"]] = Field(default_factory=list)
    """Default: what the panel's Xray chooses; `h3` for `hysteria2`."""


class Stream(Part):
    """How clients reach it."""

    network: Literal["tcp", "ws", "grpc", "httpupgrade", "xhttp"] = "tcp"
    """The transport."""
    path: Text | None = None
    """Of `ws`, `httpupgrade` and `xhttp`; for `grpc` the name of its service."""
    host: Host | None = None
    """The host that `ws`, `httpupgrade` or `xhttp` asks for."""
    reality: RealityDocument | None = None
    """Not beside `tls`."""
    tls: InboundTlsDocument | None = None
    """Not beside `reality`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.reality is not None and self.tls is not None:
            raise wrong("has both reality and tls", "keep one of the two")
        if self.reality is not None and self.network not in _REALITY_NETWORKS:
            raise wrong("has reality over a network that cannot carry it", "tcp, grpc or xhttp")
        if self.network == "tcp" and (self.path is not None or self.host is not None):
            raise wrong("has a path or a host over tcp", "they belong to ws, grpc and the like")
        if self.network == "grpc" and self.host is not None:
            raise wrong("has a host over grpc", "grpc has a path alone: the name of its service")
        return self


Sniffed = Literal["http", "tls", "quic", "fakedns"]


class Sniffing(Part):
    """What is looked for in the traffic, for the panel's routing rules."""

    enabled: bool
    """`false` switches it off."""
    dest_override: Annotated[list[Sniffed], Field(min_length=1)] = ["http", "tls", "quic"]  # noqa: RUF012 pydantic copies it
    """Taken where it is enabled."""


class InboundSpecDocument(Part):
    """A listener: the nodes that are to have it, and what it is."""

    selector: Labels = Field(default_factory=dict)
    """Nodes that carry all of these labels. Default: every node."""
    protocol: Literal["vless", "vmess", "trojan", "shadowsocks", "hysteria2"]
    """Stays what it is: another one is another inbound, with another name and port."""
    port: Port
    """Where it listens. One that changes is changed on the panel, with its clients on it."""
    listen: Host | None = None
    """One address of the host. Default: all of them."""
    tag: Tag | None = None
    """Its name in Xray. Default: `x3f-` and the name of this document."""
    remark: Text | None = None
    """What people see on the panel. Default: its tag. Panels that make tags themselves know it by this."""
    enable: bool = True
    """Whether it listens."""
    method: (
        Literal[
            "2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm", "aes-128-gcm", "aes-256-gcm",
            "chacha20-ietf-poly1305",
        ]
        | None
    ) = None  # fmt: skip
    """Of `shadowsocks`, which needs it. Stays what it is: the passwords of clients have its size."""
    flow: Literal["", "xtls-rprx-vision", "xtls-rprx-vision-udp443"] | None = None
    """Written to its clients. Default: `xtls-rprx-vision` where VLESS can carry it."""
    stream: Stream = Stream()
    sniffing: Sniffing | None = None
    """Default: off when it is created, and left alone afterwards."""
    deletion_policy: Annotated[InboundDeletion, Field(strict=False)] = InboundDeletion.KEEP
    """When this document vanishes: `Keep` leaves it alone, `Delete` empties and deletes it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        stream, protocol = self.stream, self.protocol
        if (protocol == "shadowsocks") != (self.method is not None):
            raise wrong("needs a method for shadowsocks, and for shadowsocks only")
        if protocol == HYSTERIA:
            self._fits_hysteria()
        if protocol == "shadowsocks" and (stream.reality is not None or stream.tls is not None):
            raise wrong("has shadowsocks with tls or reality", "it encrypts by its method alone")
        if protocol == "vmess" and stream.reality is not None:
            raise wrong("has vmess with reality", "reality goes with vless and trojan")
        if protocol in _NEEDS_TLS and stream.reality is None and stream.tls is None:
            raise wrong(f"has {protocol} without tls or reality", "its password would be readable")
        if self.flow and (protocol != "vless" or stream.network != "tcp"):
            raise wrong("has a flow, which only vless over tcp carries", "take it away")
        if self.flow and stream.reality is None and stream.tls is None:
            raise wrong("has a flow without tls or reality", "take it away, or add one of the two")
        return self

    def _fits_hysteria(self) -> None:
        """It is its own transport over UDP, and always inside TLS."""
        stream = self.stream
        if stream.tls is None:
            raise wrong(
                "has hysteria2 without tls", "it runs inside TLS: name the certificate's files"
            )
        if (stream.network, stream.path, stream.host) != ("tcp", None, None):
            raise wrong("has hysteria2 over another transport", "take network, path and host away")
        if set(stream.tls.alpn) - {"h3"}:
            raise wrong(
                "has hysteria2 with another alpn than h3", "take alpn away, or leave h3 alone"
            )


class InboundDocument(Part):
    """A listener that is made on every node that lacks it, and that keys live on from then on."""

    api_version: Literal["x3fleet/v1"]
    kind: Literal["Inbound"]
    metadata: Metadata
    spec: InboundSpecDocument
