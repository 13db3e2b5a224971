"""Inbounds as answers show them.

Callers: `inbounds`, `control`. Not here: changes.
Texts of whole lists are kept until the next change, because a list of 10,000 clients is 6 MB.
"""

from typing import TYPE_CHECKING

from simulator import gojson
from simulator.rows import view_row
from simulator.settings import Settings
from simulator.state import InboundRow, TrafficRow

if TYPE_CHECKING:
    from simulator.app import Panel

_FLOW_SECURITY = frozenset({"tls", "reality"})


def view_inbound(panel: "Panel", inbound: InboundRow, stats: str, *, listed: bool = False) -> str:
    """One inbound as JSON text.

    Args:
        panel: decides the version.
        inbound: the row.
        stats: JSON text of `clientStats`.
        listed: whether this is a list, where 3.3.0+ names the hosting panel.
    """
    version = panel.version
    head: dict[str, object] = {
        "id": inbound.id,
        "up": inbound.up,
        "down": inbound.down,
        "total": inbound.total,
    }
    if (2, 6, 7) <= version <= (3, 0, 2):
        head["allTime"] = inbound.all_time
    head["remark"] = inbound.remark
    if version >= (3, 3, 1):
        head["subSortIndex"] = inbound.sub_sort_index
    head |= {"enable": inbound.enable, "expiryTime": inbound.expiry_ms}
    if version >= (2, 8, 1):
        head["trafficReset"] = inbound.traffic_reset
        if version >= (3, 6, 0):
            head["trafficResetDay"] = inbound.traffic_reset_day
        head["lastTrafficResetTime"] = inbound.last_reset_ms
    tail: dict[str, object] = {
        "listen": inbound.listen,
        "port": inbound.port,
        "protocol": inbound.protocol,
        "tag": inbound.tag,
    }
    if version >= (3, 3, 1):
        tail |= {
            "shareAddrStrategy": inbound.share_strategy,
            "shareAddr": inbound.share_address,
        }
    if listed and version >= (3, 3, 0):
        tail["originNodeGuid"] = panel.state.guid
    opening, closing = gojson.compact(head)[:-1], gojson.compact(tail)[1:-1]
    return f'{opening},"clientStats":{stats},{closing},{_json_fields(panel, inbound)}}}'


def _json_fields(panel: "Panel", inbound: InboundRow) -> str:
    version = panel.version
    if version < (3, 1, 0):
        fields = {
            "settings": inbound.settings.text,
            "streamSettings": inbound.stream,
            "sniffing": inbound.sniffing,
        }
        if (2, 4, 1) <= version <= (2, 6, 6):
            fields["allocate"] = inbound.allocate
        return gojson.compact(fields)[1:-1]
    return (
        f'"settings":{inbound.settings.nested},'
        f'"streamSettings":{_nested(inbound.stream)},"sniffing":{_nested(inbound.sniffing)}'
    )


def _nested(text: str) -> str:
    return Settings(text).nested


def stats_text(panel: "Panel", inbound: InboundRow, rows: list[TrafficRow]) -> str:
    """`clientStats` of one inbound as JSON text: its rows, then those of shared clients."""
    shown, seen = [], set()
    for row in rows:
        seen.add(row.email.lower())
        shown.append(_stat(panel, inbound, row))
    if panel.version >= (3, 0, 0):
        for entry in inbound.settings.clients:
            key = entry.email.lower()
            row_found = panel.state.traffic.get(entry.email) if key and key not in seen else None
            if row_found is not None:
                seen.add(key)
                shown.append(_stat(panel, inbound, row_found))
    return "[" + ",".join(shown) + "]"


def _stat(panel: "Panel", inbound: InboundRow, row: TrafficRow) -> str:
    found = inbound.settings.find_any_case(row.email)
    owner = found[-1].data if found else None
    return gojson.compact(view_row(row, panel.version, owner))


def rows_by_inbound(panel: "Panel") -> dict[int, list[TrafficRow]]:
    """Traffic rows by the inbound they were first created under."""
    result: dict[int, list[TrafficRow]] = {}
    for row in panel.state.traffic:
        result.setdefault(row.inbound_id, []).append(row)
    return result


def list_text(panel: "Panel", *, slim: bool = False) -> str:
    """All inbounds as JSON text."""
    rows = rows_by_inbound(panel)
    shown = []
    for inbound in sorted(panel.state.inbounds.values(), key=lambda ib: ib.id):
        stats = stats_text(panel, inbound, rows.get(inbound.id, []))
        row = _slim(inbound) if slim else inbound
        shown.append(view_inbound(panel, row, stats, listed=True))
    return "[" + ",".join(shown) + "]"


def _slim(inbound: InboundRow) -> InboundRow:
    settings = inbound.settings
    if settings.doc is None or settings.entries is None:
        return inbound
    clients = [
        {key: entry.data[key] for key in ("email", "enable", "comment") if key in entry.data}
        for entry in settings.entries
    ]
    text = gojson.compact({**settings.doc, "clients": clients})
    return InboundRow(**{**inbound.__dict__, "settings": Settings(text)})


def can_carry_flow(inbound: InboundRow, *, xhttp: bool) -> bool:
    """Whether XTLS flow works here: VLESS on TCP with TLS or reality, or encrypted on xhttp."""
    if inbound.protocol != "vless":
        return False
    stream = Settings(inbound.stream)
    if stream.get("network") == "tcp":
        return stream.get("security") in _FLOW_SECURITY
    if stream.get("network") == "xhttp" and xhttp:
        keys = ("encryption", "decryption")
        return any(inbound.settings.get(key) not in (None, "", "none") for key in keys)
    return False


def option(panel: "Panel", inbound: InboundRow) -> dict[str, object]:
    """An inbound as a choice in the panel's forms."""
    value: dict[str, object] = {
        "id": inbound.id,
        "remark": inbound.remark,
        "tag": inbound.tag,
        "protocol": inbound.protocol,
        "port": inbound.port,
    }
    if panel.version >= (3, 3, 0):
        value["enable"] = inbound.enable
    value["tlsFlowCapable"] = can_carry_flow(inbound, xhttp=panel.version >= (3, 4, 0))
    if panel.version >= (3, 3, 0):
        is_ss = inbound.protocol == "shadowsocks"
        value["ssMethod"] = str(inbound.settings.get("method") or "") if is_ss else ""
    return value
