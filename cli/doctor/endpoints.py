"""Finding hosts and ports in any text, and asking whether a declared node explains them.

One panel address that survived in a forgotten place is how nodes stay empty unnoticed. Only host and
port of what is found are kept: a URL may carry a login. Pure. Callers: `checks`. Not here: where
texts come from.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>,;]+", re.IGNORECASE)
_PEER = re.compile(r"(?<![\w.@/-])((?:[\w-]+\.)+[\w-]+):(\d{2,5})(?!\w)")


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A host, lower-case, and its port; 0 where none was named."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


@dataclass(frozen=True, slots=True)
class DeclaredNode:
    """What a declared node explains: its panel, and the host that customers connect to.

    `path`: the panel's base path; several panels may share a host and port behind a proxy.
    """

    name: str
    panel: Endpoint
    address: str
    path: str = "/"


def endpoints_in(text: str) -> tuple[Endpoint, ...]:
    """Find every endpoint that a text names, sorted; a path alone is none."""
    found = set()
    for url in _URL.findall(text):
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            continue
        if host:
            found.add(Endpoint(host.lower(), port or default_port(parts.scheme)))
    without_urls = _URL.sub(" ", text)
    for host, port in _PEER.findall(without_urls):
        found.add(Endpoint(host.lower(), int(port)))
    return tuple(sorted(found))


def default_port(scheme: str) -> int:
    """Tell the port that a panel's URL without one means; 0 where the scheme is no panel's."""
    from desired_state.manifests.panel_url import DEFAULT_PORTS

    return DEFAULT_PORTS.get(scheme.lower(), 0)


def proxies_in(stream: str) -> tuple[str, ...]:
    """Return the hosts that an inbound sends customers to instead of its own."""
    try:
        found: Any = json.loads(stream or "null")
    except ValueError:
        return ()
    proxies = found.get("externalProxy") if isinstance(found, dict) else None
    hosts = (proxy.get("dest") for proxy in proxies or () if isinstance(proxy, dict))
    return tuple(sorted({str(host).lower() for host in hosts if host}))


def unexplained(found: Iterable[Endpoint], nodes: Iterable[DeclaredNode]) -> Iterator[str]:
    """Say of each endpoint that is no declared node's what it is instead."""
    declared = tuple(nodes)
    panels = {node.panel: node.name for node in declared}
    hosts = {node.panel.host: node.name for node in declared}
    hosts |= {node.address.lower(): node.name for node in declared}
    for endpoint in found:
        if endpoint in panels or (not endpoint.port and endpoint.host in hosts):
            continue
        owner = hosts.get(endpoint.host)
        if owner is None:
            yield f"{endpoint} is no declared node's"
        else:
            yield f"{endpoint} is on the host of {owner}, but not its panel"


def is_local(host: str) -> bool:
    """Tell whether a listener's address names no host in particular: none, loopback, every one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Empty, or the path of a socket.
        return not host or "/" in host or host.startswith("@")
    return address.is_loopback or address.is_unspecified
