"""A declared inbound to the panel's own object: a new one, and one that exists with fields changed.

What was not declared travels through a change as the panel returned it, clients above all. Callers:
`controller.panels.inbounds`. Not here: which call carries it, reading what is there.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from controller.core.inbound_facts import declared_document, lay_over
from controller.core.observed import ObservedClient
from controller.panels.wire.writes import Body
from desired_state.model.inbound import HYSTERIA, HYSTERIA_NETWORK, InboundSpec

_JSON_FIELDS = ("settings", "streamSettings", "sniffing")
_NOT_WRITTEN = frozenset({"clientStats", "fallbackParent", "originNodeGuid", "allocate"})
"""Keys that the panel works out for its answers, or dropped."""
_SECRETS = frozenset({
    "privateKey", "mldsa65Seed", "key", "echServerKeys", "decryption", "password", "pass", "auth", "id",
    "uuid", "secretKey", "seed",
})  # fmt: skip
"""Names of what the server and its clients prove themselves by, wherever they stand in an inbound."""
_HYSTERIA_1 = "hysteria"
_SHORTEST_SECRET = 4
"""A shorter text would mask every sentence and hide nothing."""
_SNIFFING = {
    "enabled": False,
    "destOverride": ["http", "tls", "quic", "fakedns"],
    "metadataOnly": False,
    "routeOnly": False,
}
_CERTIFICATE = {
    "ocspStapling": 3600,
    "oneTimeLoading": False,
    "usage": "encipherment",
    "buildChain": False,
}


@dataclass(frozen=True, slots=True)
class ServerSecrets:
    """What a new inbound needs and nobody keeps: Reality's keys, or a shadowsocks password."""

    private_key: str = field(default="", repr=False)
    public_key: str = ""
    short_ids: tuple[str, ...] = ()
    password: str = field(default="", repr=False)

    @property
    def hidden(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(secret for secret in (self.private_key, self.password) if secret)


def new_inbound(
    spec: InboundSpec, secrets: ServerSecrets, *, calls_it_hysteria: bool = False
) -> Body:
    """Make the body of an `add`: what is declared over what the panel's own page would send.

    `calls_it_hysteria`: hysteria 2 goes by the name of version 1 there.
    """
    is_hysteria = spec.protocol == HYSTERIA
    bare: dict[str, Any] = {
        "up": 0,
        "down": 0,
        "total": 0,
        "expiryTime": 0,
        "trafficReset": "never",
        "tag": spec.tag,
        "protocol": _HYSTERIA_1 if is_hysteria and calls_it_hysteria else spec.protocol,
        "settings": _settings(spec, secrets),
        "streamSettings": _stream(spec, secrets),
        "sniffing": _SNIFFING,
    }
    return _as_text(lay_over(declared_document(spec), bare))


def edited_inbound(
    spec: InboundSpec,
    held: Mapping[str, Any],
    secrets: ServerSecrets,
    clients: list[Body] | None,
) -> Body:
    """Make the body of an `update`: everything that the panel holds, with what is declared laid over.

    Args:
        spec: as it is to be.
        held: the panel's object, just read.
        secrets: for an inbound that turns to Reality and has no keys yet.
        clients: in the place of those that it holds; None: those, as they are.
    """
    kept = {name: value for name, value in held.items() if name not in _NOT_WRITTEN}
    kept |= {name: decoded(held.get(name)) for name in _JSON_FIELDS}
    if clients is not None:
        kept["settings"] = {**kept["settings"], "clients": clients}
    if secrets.private_key:
        kept["streamSettings"] = {**_stream(spec, secrets), **kept["streamSettings"]}
    body = lay_over(declared_document(spec), kept)
    # QUIRK(tag-follows-port, 3x-ui 2.3.15 to 3.0.0): whatever is sent, it is made of the port (3.0.0: by
    # an update). So an inbound is known by its remark too.
    body["tag"] = held.get("tag")
    return _as_text(body)


def has_private_key(held: Mapping[str, Any]) -> bool:
    """Whether an inbound holds the keys that Reality needs."""
    reality = decoded(held.get("streamSettings")).get("realitySettings")
    return isinstance(reality, dict) and bool(reality.get("privateKey"))


def secrets_in(held: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what a panel's refusal must not repeat of an inbound: keys of the server and of its clients.

    Returns:
        Each text as it is and, of one with several lines, each line: JSON writes a line's end otherwise.
    """
    found: set[str] = set()
    for name in ("settings", "streamSettings"):
        for secret in _secrets_below(decoded(held.get(name))):
            found.update((secret, *secret.splitlines()))
    return tuple(sorted(one for one in found if len(one) >= _SHORTEST_SECRET and one != "none"))


def _secrets_below(value: object) -> Iterator[str]:
    """Walk objects and lists in any depth; what stands under a secret's name may be a list itself."""
    if isinstance(value, list):
        for one in value:
            yield from _secrets_below(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in _SECRETS:
                yield from _secrets_below(one)
            else:
                lines = one if isinstance(one, list) else [one]
                yield from (line for line in lines if isinstance(line, str))


def entries_of(held: Mapping[str, Any]) -> list[Body]:
    """Return the clients in an inbound's settings; an inbound without any has none."""
    clients = decoded(held.get("settings")).get("clients")
    return [one for one in clients if isinstance(one, dict)] if isinstance(clients, list) else []


def as_served(entries: Iterable[Body], clients: Mapping[str, ObservedClient]) -> list[Body]:
    """Let entries say what the panel serves, so that writing them changes nothing.

    Args:
        entries: of the inbound, each with an email.
        clients: what is served, by the spelling of the email.
    """
    # QUIRK(entries-overwrite, 3x-ui 3.0.0+): an update of an inbound copies `enable`, total and expiry
    # of its entries to the traffic rows, from 3.1.0 on every field to the records. Entries may be older
    # than both: a client that the panel switched off would come back.
    return [{**entry, **_served(entry, clients[str(entry.get("email"))])} for entry in entries]


def _served(entry: Body, client: ObservedClient) -> Body:
    served: Body = {
        "enable": client.enable,
        "expiryTime": client.expiry_ms,
        "totalGB": client.total_bytes,
    }
    if "inboundIds" not in client.raw and "uuid" not in client.raw:
        return served  # up to 3.0.2 the entry is all that there is beside its row
    served |= {
        "subId": client.sub_id,
        "limitIp": client.limit_ip,
        "tgId": client.tg_id,
        "reset": client.reset,
        "comment": client.comment,
    }
    if client.group:
        served["group"] = client.group
    for name, value in (("id", client.uuid), ("password", client.password), ("auth", client.auth)):
        if name in entry and value:
            served[name] = value
    return served


def decoded(value: object) -> dict[str, Any]:
    """Read one of the three JSON fields: text up to 3.0.2, an object from 3.1.0 on."""
    if isinstance(value, dict):
        return value
    try:
        read = from_json(value) if isinstance(value, str) and value else {}
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _settings(spec: InboundSpec, secrets: ServerSecrets) -> Body:
    match spec.protocol:
        case "vless":
            return {"clients": [], "decryption": "none", "encryption": "none", "fallbacks": []}
        case "trojan":
            return {"clients": [], "fallbacks": []}
        case "shadowsocks":
            return {
                "method": spec.method,
                "password": secrets.password,
                "network": "tcp,udp",
                "clients": [],
                "ivCheck": False,
            }
        case "hysteria2":
            return {"version": 2, "clients": []}
        case _:
            return {"clients": []}


def _stream(spec: InboundSpec, secrets: ServerSecrets) -> Body:
    stream: Body = {"network": spec.network, "security": spec.security, "externalProxy": []}
    if spec.network == "tcp":
        stream["tcpSettings"] = {"acceptProxyProtocol": False, "header": {"type": "none"}}
    elif spec.network == "grpc":
        stream["grpcSettings"] = {"serviceName": "", "authority": "", "multiMode": False}
    elif spec.network == HYSTERIA_NETWORK:
        # `auth` is of clients here: one for the whole inbound would let everybody in.
        stream["hysteriaSettings"] = {"version": 2, "auth": "", "udpIdleTimeout": 60}
    elif spec.network in ("ws", "httpupgrade"):
        stream[f"{spec.network}Settings"] = {"acceptProxyProtocol": False, "headers": {}}
    if spec.reality is not None:
        stream["realitySettings"] = {
            "show": False,
            "xver": 0,
            "privateKey": secrets.private_key,
            "minClient": "",
            "maxClient": "",
            "maxTimediff": 0,
            "shortIds": list(secrets.short_ids),
            "settings": {"publicKey": secrets.public_key, "serverName": "", "spiderX": "/"},
        }
    if spec.certificate is not None:
        stream["tlsSettings"] = {
            "serverName": "",
            "minVersion": "1.2",
            "maxVersion": "1.3",
            "alpn": [],
            "certificates": [_CERTIFICATE],
            "settings": {"allowInsecure": False, "fingerprint": ""},
        }
    return stream


def _as_text(body: Body) -> Body:
    """Write the three JSON fields as text, which every version takes."""
    return {**body, **{name: to_json(body[name]).decode() for name in _JSON_FIELDS}}
