"""A declared inbound: a listener that every node of its selector is to have, and who may end it.

Callers: manifests (make specs), store, core (compares with a look), panels (write it). Not here: the
panel's JSON, keys and passwords of a server: the panel's own writer makes those and nobody keeps them.
"""

from dataclasses import dataclass
from enum import StrEnum

from desired_state.model.ids import InboundName
from desired_state.model.tariff import Labels

TAG_PREFIX = "x3f-"
"""Begins the tag of a declared inbound that names none itself."""

HYSTERIA, HYSTERIA_NETWORK = "hysteria2", "hysteria"
"""The protocol as it is declared and seen, and the one transport that it has: over UDP, inside TLS."""


class InboundDeletion(StrEnum):
    """What becomes of a declared inbound whose document, or whose node's label, is gone."""

    KEEP = "Keep"
    DELETE = "Delete"
    """Its clients of ours leave it first; one that holds foreign clients stays."""


@dataclass(frozen=True, slots=True)
class Reality:
    """Reality: `target` is host:port of the site it looks like; its key pair is made on the panel.

    `short_ids`: how many are drawn when it is created.
    """

    target: str
    server_names: tuple[str, ...]
    short_ids: int = 1
    fingerprint: str = "chrome"


@dataclass(frozen=True, slots=True)
class InboundTls:
    """TLS by files that lie on the panel's host."""

    certificate_file: str
    key_file: str
    server_name: str = ""
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundSpec:
    """What the operator declared. `labels`: of the nodes that are to have it; none: every node.

    `method`: of shadowsocks. `path`: of ws, httpupgrade and xhttp, for grpc the name of its service.
    `sniffing`: what is looked for in the traffic; empty switches it off, None leaves it alone.
    `flow`: of its clients; None as a match without one. `listen`: one address, empty for all.
    """

    name: InboundName
    protocol: str
    port: int
    tag: str
    remark: str
    labels: Labels = ()
    listen: str = ""
    enable: bool = True
    method: str = ""
    network: str = "tcp"
    path: str = ""
    host: str = ""
    reality: Reality | None = None
    certificate: InboundTls | None = None
    sniffing: tuple[str, ...] | None = None
    flow: str | None = None
    deletion_policy: InboundDeletion = InboundDeletion.KEEP

    @property
    def security(self) -> str:
        """The panel's word for how it is secured."""
        if self.reality is not None:
            return "reality"
        return "none" if self.certificate is None else "tls"

    def covers(self, labels: Labels) -> bool:
        """Whether a node with these labels is to have it."""
        return set(self.labels) <= set(labels)


class InboundState(StrEnum):
    """How a declared inbound fares on one node."""

    PENDING = "pending"
    """To be created, or created without an answer and not seen yet."""
    LIVE = "live"
    REFUSED = "refused"
    """Somebody else's inbound is in its way, or the panel did not do as it was asked."""
    LEAVING = "leaving"
    """To be deleted once it is empty of clients."""
    KEPT = "kept"
    """Declared no more; it stays, its clients stay, and it is not compared."""
