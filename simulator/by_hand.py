"""What a person does in the panel's pages or in its database, for the control port.

Callers: `control`, `demo`. Not here: the API.
These functions go around checks: a person can store what the API would refuse.
"""

import json
from typing import TYPE_CHECKING, Any

from simulator import gojson
from simulator.clients import number_of, text_of, typed
from simulator.gojson import Doc
from simulator.inbounds import delete_inbound, make_inbound, store_inbound
from simulator.ports import resolve_tag
from simulator.rows import add_row, drop_row
from simulator.settings import Settings
from simulator.state import InboundRow
from simulator.v3_records import sync_inbound

if TYPE_CHECKING:
    from simulator.app import Panel

_NO_TLS: Doc = {
    "network": "tcp",
    "security": "none",
    "externalProxy": [],
    "tcpSettings": {"acceptProxyProtocol": False, "header": {"type": "none"}},
}
_REALITY: Doc = {
    "network": "tcp",
    "security": "reality",
    "externalProxy": [],
    "realitySettings": {
        "show": False,
        "xver": 0,
        "dest": "example.com:443",
        "target": "example.com:443",
        "serverNames": ["example.com", "www.example.com"],
        "privateKey": "wJnQjX2Mx8b2mB6D0m4tqjQ2v1F4mB2X2u3n6n1oYnI",
        "shortIds": ["a1b2c3d4", "ffee0011"],
        "settings": {
            "publicKey": "Zk2vG4h1x3Y5u7w9A1b3C5d7E9f1G3h5I7j9K1l3M5o",
            "fingerprint": "chrome",
            "serverName": "",
            "spiderX": "/",
        },
    },
    "tcpSettings": {"acceptProxyProtocol": False, "header": {"type": "none"}},
}
_SNIFFING: Doc = {
    "enabled": False,
    "destOverride": ["http", "tls", "quic", "fakedns"],
    "metadataOnly": False,
    "routeOnly": False,
}


def _default_settings(panel: "Panel", protocol: str) -> Doc:
    if protocol == "vless":
        settings: Doc = {"clients": [], "decryption": "none", "fallbacks": []}
        return settings | ({"encryption": "none"} if panel.version >= (2, 6, 8) else {})
    if protocol == "trojan":
        return {"clients": [], "fallbacks": []}
    if protocol == "shadowsocks":
        return {
            "method": "2022-blake3-aes-256-gcm",
            "password": panel.dice.base64(32),
            "network": "tcp,udp",
            "clients": [],
            "ivCheck": False,
        }
    if protocol.startswith("hysteria"):
        return {"version": 2, "clients": []}
    return {"clients": []}


def add_inbound(panel: "Panel", body: Doc) -> int:
    """Create an inbound with the defaults of the panel's form; give its id.

    Raises:
        KeyError: no protocol or port.
    """
    protocol = str(body["protocol"])
    stream = _REALITY if protocol == "vless" else _NO_TLS
    settings = _default_settings(panel, protocol) | _doc(body.get("settings"))
    form: Doc = {
        "protocol": protocol,
        "port": int(body["port"]),
        "remark": body.get("remark", f"{protocol}-{body['port']}"),
        "tag": body.get("tag", ""),
        "enable": body.get("enable", True),
        "settings": gojson.indented(settings, sort=False),
        "streamSettings": gojson.compact(_doc(body.get("streamSettings")) or stream),
        "sniffing": gojson.compact(_SNIFFING),
    }
    inbound = make_inbound(panel, form)
    inbound.tag = inbound.tag or resolve_tag(panel, inbound)
    store_inbound(panel, inbound)
    panel.touch()
    return inbound.id


def _doc(value: Any) -> Doc:  # noqa: ANN401 - a JSON value, or one as text
    if isinstance(value, str) and value:
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _inbound(panel: "Panel", inbound_id: int) -> InboundRow:
    inbound = panel.state.inbounds.get(inbound_id)
    if inbound is None:
        message = f"no inbound {inbound_id}"
        raise LookupError(message)
    return inbound


def change_inbound(panel: "Panel", inbound_id: int, values: Doc) -> None:
    """Overwrite members of an inbound; `settings` and `streamSettings` as objects or texts.

    Raises:
        LookupError: no such inbound, or no such member.
    """
    inbound = _inbound(panel, inbound_id)
    names = {"expiryTime": "expiry_ms", "streamSettings": "stream"}
    for name, value in values.items():
        if name == "settings":
            doc = {**json.loads(inbound.settings.nested or "{}"), **_doc(value)}
            inbound.settings = Settings(gojson.indented(doc))
            sync_inbound(panel, inbound)
        elif name == "streamSettings":
            inbound.stream = gojson.compact(_doc(value))
        elif hasattr(inbound, names.get(name, name)):
            setattr(inbound, names.get(name, name), value)
        else:
            message = f"an inbound has no {name!r}"
            raise LookupError(message)
    panel.touch()


def remove_inbound(panel: "Panel", inbound_id: int) -> None:
    """Delete an inbound as the panel's page does.

    Raises:
        LookupError: no such inbound.
    """
    _inbound(panel, inbound_id)
    delete_inbound(panel, inbound_id)
    panel.touch()


def add_client(panel: "Panel", inbound_id: int, client: Doc) -> None:
    """Store a client exactly as given, without any check; a row when it has an email.

    Raises:
        LookupError: no such inbound.
    """
    inbound = _inbound(panel, inbound_id)
    inbound.settings.append([dict(client)])
    if text_of(client, "email"):
        add_row(panel, inbound_id, {"enable": True, **client})
    sync_inbound(panel, inbound)
    email = text_of(client, "email")
    record = panel.state.records_by_email.get(email)
    if record is not None:
        record.set(enable=client.get("enable", True) is True)
    panel.touch()


def edit_client(panel: "Panel", email: str, values: Doc) -> None:
    """Change a client in every inbound, its record and its row. A new email renames it.

    Raises:
        LookupError: no such client.
    """
    state = panel.state
    holders = [ib for ib in state.inbounds.values() if ib.settings.find(email) is not None]
    record = state.records_by_email.get(email)
    if not holders and record is None:
        message = f"no client {email!r}"
        raise LookupError(message)
    merged: Doc = {}
    new_email = str(values.get("email", email))
    for inbound in holders:
        entry = inbound.settings.find(email)
        if entry is not None:
            merged = {**entry.data, **values, "updated_at": panel.clock.seconds_ms()}
            inbound.settings.replace(entry, merged)
    if record is not None and new_email != email:
        state.rename_record(record, new_email)
    _edit_row(panel, email, new_email, values)
    for inbound in holders:
        sync_inbound(panel, inbound)
    if record is not None:
        _edit_record(panel, new_email, values)
    panel.touch()


def _edit_row(panel: "Panel", email: str, new_email: str, values: Doc) -> None:
    row = panel.state.traffic.get(email)
    if row is None:
        return
    row.total = number_of(values, "totalGB") if "totalGB" in values else row.total
    row.expiry_ms = number_of(values, "expiryTime") if "expiryTime" in values else row.expiry_ms
    row.reset_days = number_of(values, "reset") if "reset" in values else row.reset_days
    if "enable" in values and panel.version >= (2, 8, 1):
        row.enable = values["enable"] is True
    if new_email != email:
        panel.state.traffic.rename(row, new_email)


def _edit_record(panel: "Panel", email: str, values: Doc) -> None:
    record = panel.state.records_by_email[email]
    known = set(typed({}, panel.version)) - {"created_at", "updated_at", "email"}
    names = {"id": "uuid"}
    record.set(**{names.get(k, k): v for k, v in values.items() if k in known})
    record.set(updatedAt=panel.clock.now_ms())


def delete_client(panel: "Panel", email: str) -> None:
    """Remove a client everywhere, its row and record too, even if an inbound gets empty.

    Raises:
        LookupError: no such client.
    """
    state, found = panel.state, False
    for inbound in state.inbounds.values():
        if inbound.settings.find(email) is not None:
            found = True
            inbound.settings.keep(lambda entry: entry.email != email)
            sync_inbound(panel, inbound)
    record = state.records_by_email.get(email)
    if record is not None:
        state.delete_record(record)
    elif not found:
        message = f"no client {email!r}"
        raise LookupError(message)
    drop_row(state, email)
    panel.touch()
