"""Ports and tags of inbounds: who is in whose way, and how inbounds are named.

Callers: `inbounds`, `control`. Not here: the inbounds themselves.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from simulator.settings import Settings
from simulator.state import InboundRow
from simulator.wire import Refused, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

_ANY = frozenset({"", "0.0.0.0", "::", "::0"})  # noqa: S104 - compared, never bound
_UDP_PROTOCOLS = frozenset({"hysteria", "hysteria2", "wireguard"})
_TAG_ATTEMPTS = 100


def transports(inbound: InboundRow) -> str:
    """`tcp`, `udp` or `tcpudp`: which transport layers an inbound listens on."""
    if inbound.protocol in _UDP_PROTOCOLS:
        return "udp"
    network = Settings(inbound.stream).get("network")
    found = {"udp" if network in {"kcp", "quic"} else "tcp"}
    key = {"shadowsocks": "network", "tunnel": "allowedNetwork"}.get(inbound.protocol)
    listed = inbound.settings.get(key) if key else None
    if isinstance(listed, str) and listed:
        found = {part.strip() for part in listed.split(",")} & {"tcp", "udp"}
    if inbound.protocol == "mixed" and inbound.settings.get("udp") is True:
        found.add("udp")
    return "".join(name for name in ("tcp", "udp") if name in found) or "tcp"


def check_port(panel: "Panel", inbound: InboundRow, ignore_id: int = 0) -> None:
    """Refuse a port that another inbound has, in the words of the version."""
    for other in _overlapping(panel.state.inbounds.values(), inbound, ignore_id):
        if panel.version < (3, 2, 0):
            message = f"Port already exists: {inbound.port}"
            raise refuse(message)
        shared = _shared(transports(other), transports(inbound))
        if shared:
            listen = "*" if other.listen in _ANY else other.listen
            message = (
                f"port {inbound.port} ({shared}) already used by inbound "
                f"'{other.remark or other.tag}' (#{other.id}) on {listen}"
            )
            raise refuse(message)


def _overlapping(
    inbounds: Iterable[InboundRow], wanted: InboundRow, ignore_id: int
) -> Iterable[InboundRow]:
    for other in inbounds:
        anywhere = wanted.listen in _ANY or other.listen in _ANY
        same_place = anywhere or wanted.listen == other.listen
        if other.id != ignore_id and other.port == wanted.port and same_place:
            yield other


def _shared(one: str, two: str) -> str:
    return "".join(name for name in ("tcp", "udp") if name in one and name in two)


def resolve_tag(panel: "Panel", inbound: InboundRow, ignore_id: int = 0) -> str:
    """The tag that an inbound gets.

    Up to 2.9.4 it always follows the port, and on 3.0.0 again with every update; else a free tag of the
    caller's is kept.
    """
    taken = {ib.tag for ib in panel.state.inbounds.values() if ib.id != ignore_id}
    keeps = panel.version >= (3, 0, 1) or (panel.version >= (3, 0, 0) and not ignore_id)
    if keeps and inbound.tag and inbound.tag not in taken:
        return inbound.tag
    if panel.version < (3, 2, 0):
        place = "" if inbound.listen in _ANY else f"{inbound.listen}:"
        return f"inbound-{place}{inbound.port}"
    base = f"in-{inbound.port}-{transports(inbound)}"
    names = [base, *(f"{base}-{number}" for number in range(2, _TAG_ATTEMPTS))]
    return next(name for name in names if name not in taken)


def check_tag(panel: "Panel", inbound: InboundRow, ignore_id: int = 0) -> None:
    """Refuse a tag that another inbound has (up to 3.1.0, where tags follow ports)."""
    for other in panel.state.inbounds.values():
        if other.id != ignore_id and other.tag == inbound.tag:
            message = "UNIQUE constraint failed: inbounds.tag"
            raise Refused(message)


def is_auto_tag(inbound: InboundRow) -> bool:
    """Whether the panel made this tag itself (3.2.0+): such a tag follows the port."""
    base = f"in-{inbound.port}-{transports(inbound)}"
    rest = inbound.tag.removeprefix(base)
    return rest != inbound.tag and (not rest or (rest[0] == "-" and rest[1:].isdigit()))
