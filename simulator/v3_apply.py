"""Client writes on one inbound of 3.1.0 and later: add, replace, remove.

Each step changes the settings, the traffic rows and the clients table of one inbound. A call
for several inbounds takes several steps, with no way back.
Callers: `v3_clients`, `v3_bulk`, `v3_bulk_changes`, `v3_traffic`. Not here: endpoints.
"""

from base64 import b64decode
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from simulator.clients import check_types, key_name, text_of, to_wire, typed
from simulator.gojson import Doc
from simulator.inbound_view import can_carry_flow
from simulator.inbounds import credential, find_inbound
from simulator.rows import add_row, drop_row, rename_ips, update_row
from simulator.settings import Entry
from simulator.state import InboundRow, Record
from simulator.v3_records import compact_orphans, find_email_clash, sync_inbound
from simulator.wire import Refused, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

_SS_KEY_BYTES = {
    "2022-blake3-aes-128-gcm": 16,
    "2022-blake3-aes-256-gcm": 32,
    "2022-blake3-chacha20-poly1305": 32,
}
_AD_TAG_LENGTH = 32
# From here on clients are found by email; before by the credential of the record.
BY_EMAIL = (3, 3, 1)


def fill_defaults(panel: "Panel", client: Doc, inbound: InboundRow) -> None:
    """Make up the credential that the inbound's protocol needs and the client lacks."""
    protocol, dice = inbound.protocol, panel.dice
    if protocol in {"vmess", "vless"}:
        client["id"] = client["id"] or dice.uuid()
    elif protocol == "trojan":
        client["password"] = client["password"] or dice.hex()
    elif protocol == "shadowsocks":
        _fill_ss_key(panel, client, inbound)
    elif protocol in {"hysteria", "hysteria2"}:
        client["auth"] = client["auth"] or dice.hex()
    elif protocol == "mtproto" and "secret" in client:
        domain = str(inbound.settings.get("fakeTlsDomain") or "www.cloudflare.com")
        client["secret"] = client["secret"] or f"ee{dice.hexadecimal(16)}{domain.encode().hex()}"


def _fill_ss_key(panel: "Panel", client: Doc, inbound: InboundRow) -> None:
    # QUIRK(ss-key-replaced, 3x-ui 3.1.0+): a key of another size than the 2022 method's goes.
    size = _SS_KEY_BYTES.get(str(inbound.settings.get("method") or ""), 0)
    if not size:
        client["password"] = client["password"] or panel.dice.hex()
    elif not _has_size(client["password"], size):
        client["password"] = panel.dice.base64(size)


def _has_size(key: str, size: int) -> bool:
    try:
        return len(b64decode(key, validate=True)) == size
    except ValueError:
        return False


def for_inbound(panel: "Panel", client: Doc, inbound: InboundRow) -> Doc:
    """The client as this inbound gets it: without a flow that it cannot carry (3.2.5+)."""
    copy = dict(client)
    fits = can_carry_flow(inbound, xhttp=panel.version >= (3, 4, 0))
    if panel.version >= (3, 2, 5) and not fits:
        copy["flow"] = ""
    return copy


def add_to_inbound(panel: "Panel", inbound_id: int, clients: list[Doc]) -> None:
    """Append typed clients to an inbound.

    Raises:
        Refused: a taken email, a missing inbound or credential; then nothing is changed.
    """
    version, now = panel.version, panel.clock.seconds_ms()
    clash = find_email_clash(panel, clients)
    if clash is not None:
        message = f"Duplicate email: {clash}"
        raise refuse(message)
    inbound = find_inbound(panel, inbound_id)
    check_stored(panel, inbound)
    if version >= (3, 5, 0):
        clients = [c for c in clients if not inbound.settings.find_any_case(c["email"])]
        if not clients:
            return
    if inbound.protocol == "wireguard" and version >= (3, 4, 2):
        _fill_wireguard(panel, inbound, clients)
    for client in clients:
        _check_client(panel, inbound, client)
    if version < (3, 2, 0) and any(inbound.settings.find(c["email"]) for c in clients):
        # QUIRK(re-add-breaks-unique, 3x-ui 3.1.0): the second entry meets a unique index, and
        # the transaction is rolled back.
        message = "UNIQUE constraint failed: client_inbounds.client_id, client_inbounds.inbound_id"
        raise Refused(message)
    wires = [_new_wire(panel, inbound, client, now) for client in clients]
    compact_orphans(panel, inbound)
    for client in clients:
        add_row(panel, inbound.id, client)
    inbound.settings.append(wires)
    for wire in wires:
        panel.xray.told(inbound, wire)
    sync_inbound(panel, inbound)


def check_stored(
    panel: "Panel", inbound: InboundRow, *, without: Collection[int] = frozenset()
) -> None:
    """Refuse a write while the inbound holds a mistyped client (3.5.0+).

    Raises:
        Refused: in the words of Go's decoder.
    """
    if panel.version < (3, 5, 0):
        return
    for entry in inbound.settings.clients:
        # QUIRK(mistyped-client-blocks, 3x-ui 3.5.0+): a tgId stored as text stops every write to
        # its inbound. Entries that were folded into the table have been read before.
        if entry.synced is None and id(entry) not in without:
            check_types(entry.data, panel.version)


def _new_wire(panel: "Panel", inbound: InboundRow, client: Doc, now: int) -> Doc:
    wire = to_wire(client, panel.version)
    wire.setdefault("created_at", now)
    wire["updated_at"] = now
    if panel.version >= (3, 2, 0) and not wire["subId"].strip():
        wire["subId"] = panel.dice.text(16)
    _apply_method(inbound, wire)
    return wire


def _apply_method(inbound: InboundRow, wire: Doc) -> None:
    """Legacy shadowsocks ciphers stand in each client, the ones of 2022 never do."""
    if inbound.protocol != "shadowsocks":
        return
    method = str(inbound.settings.get("method") or "")
    if method.startswith("2022-blake3-"):
        wire.pop("method", None)
    elif method and not wire.get("method"):
        wire["method"] = method


def _check_client(panel: "Panel", inbound: InboundRow, client: Doc) -> None:
    if not client["email"].strip():
        raise refuse("client email is required")
    if inbound.protocol == "wireguard" and panel.version >= (3, 4, 2):
        if not client["publicKey"]:
            raise refuse("wireguard client requires a key")
    elif inbound.protocol == "mtproto" and panel.version >= (3, 5, 0):
        _check_mtproto(client)
    elif not credential(inbound, client):
        raise refuse("empty client ID")


def _check_mtproto(client: Doc) -> None:
    if not client["secret"]:
        raise refuse("mtproto client requires a secret")
    tag = client["adTag"]
    if tag and (len(tag) != _AD_TAG_LENGTH or set(tag.lower()) - set("0123456789abcdef")):
        raise refuse("mtproto client ad tag must be 32 hex characters")


def _fill_wireguard(panel: "Panel", inbound: InboundRow, clients: Iterable[Doc]) -> None:
    taken = {ip for e in inbound.settings.clients for ip in e.data.get("allowedIPs") or ()}
    for client in clients:
        if not client["publicKey"]:
            # Random, not a real pair: nothing connects to a simulated panel.
            client["privateKey"] = client["privateKey"] or panel.dice.base64(32)
            client["publicKey"] = panel.dice.base64(32)
        if not client["allowedIPs"]:
            free = (f"10.0.{i // 256}.{i % 256}/32" for i in range(2, 1 << 16))
            client["allowedIPs"] = [next(ip for ip in free if ip not in taken)]
        clash = taken & set(client["allowedIPs"])
        if clash:
            message = f"wireguard: allowedIPs entry already used by another client: {min(clash)}"
            raise refuse(message)
        taken |= set(client["allowedIPs"])


def record_key(inbound: InboundRow, fields: dict[str, object]) -> str:
    """The value by which versions before 3.3.1 look for a client in this inbound."""
    name = key_name(inbound.protocol)
    return str(fields.get("uuid" if name == "id" else name) or "")


def find_entry(panel: "Panel", inbound: InboundRow, fields: dict[str, object]) -> Entry | None:
    """The settings entry of a record, by the version's way of looking."""
    email = str(fields["email"])
    if panel.version >= BY_EMAIL:
        return next(iter(inbound.settings.find_any_case(email)), None)
    name, key = key_name(inbound.protocol), record_key(inbound, fields)
    for entry in inbound.settings.clients:
        if text_of(entry.data, name) == key:
            return entry
    return inbound.settings.find(email)


def replace_in_inbound(
    panel: "Panel", inbound: InboundRow, before: dict[str, object], client: Doc
) -> None:
    """Put an updated client in the place of its old entry.

    Args:
        panel: the panel.
        inbound: one of the client's inbounds.
        before: the record's fields as they were before the call.
        client: the typed new client.

    Raises:
        Refused: the entry is missing, or the new email is taken.
    """
    check_stored(panel, inbound)
    entry = find_entry(panel, inbound, before)
    key = key_name(inbound.protocol)
    keyless = inbound.protocol in {"wireguard", "mtproto"} and panel.version >= (3, 4, 2)
    if entry is None or not client.get("email" if keyless else key):
        raise refuse("empty client ID")
    old_email = entry.email
    if client["email"] != old_email:
        clash = find_email_clash(panel, [client])
        if clash is not None:
            message = f"Duplicate email: {clash}"
            raise refuse(message)
    if keyless and inbound.protocol == "wireguard":
        _keep_wireguard(client, typed(entry.data, panel.version))
    wire = _updated_wire(panel, inbound, entry, client)
    if wire == entry.data and panel.version >= (3, 5, 0):
        return
    client["subId"] = wire["subId"]
    _follow_rows(panel, inbound, old_email, client)
    inbound.settings.replace(entry, wire)
    panel.xray.told(inbound, wire)
    _rename_record(panel, old_email, client["email"])
    sync_inbound(panel, inbound)


def _keep_wireguard(client: Doc, old: Doc) -> None:
    for name in ("privateKey", "publicKey", "allowedIPs", "preSharedKey", "keepAlive"):
        client[name] = client[name] or old[name]


def _updated_wire(panel: "Panel", inbound: InboundRow, entry: Entry, client: Doc) -> Doc:
    now = panel.clock.seconds_ms()
    wire = to_wire(client, panel.version)
    wire["created_at"] = entry.data.get("created_at") or now
    _apply_method(inbound, wire)
    if panel.version >= (3, 2, 0) and not wire["subId"].strip():
        wire["subId"] = text_of(entry.data, "subId") or panel.dice.text(16)
    wire.pop("updated_at", None)
    same = wire == {k: v for k, v in entry.data.items() if k != "updated_at"}
    if same and panel.version >= (3, 5, 0) and "updated_at" in entry.data:
        wire["updated_at"] = entry.data["updated_at"]
    elif not same or panel.version < (3, 5, 0):
        wire["updated_at"] = now
    return wire


def _follow_rows(panel: "Panel", inbound: InboundRow, old_email: str, client: Doc) -> None:
    state, new_email = panel.state, client["email"]
    same = old_email.lower() == new_email.lower()
    if same or state.traffic.get(new_email) is None:
        update_row(panel, old_email, client)
        rename_ips(state, old_email, new_email)
        return
    if not state.used_elsewhere(old_email, inbound.id):
        drop_row(state, old_email)
    update_row(panel, new_email, client)


def _rename_record(panel: "Panel", old_email: str, new_email: str) -> None:
    """Rename together with the settings; 3.1.0 forgets it and gets a second record."""
    if old_email == new_email or panel.version < (3, 2, 0):
        return
    record = panel.state.records_by_email.get(old_email)
    if record is not None and new_email not in panel.state.records_by_email:
        panel.state.rename_record(record, new_email)


def remove_from_inbound(
    panel: "Panel", inbound: InboundRow, record: Record, *, keep_traffic: bool
) -> bool:
    """Remove a client's entries from one inbound.

    Returns:
        Whether there was one.

    Raises:
        Refused: there is none (up to 3.3.0, where the search is by credential).
    """
    settings, email = inbound.settings, record.email
    if panel.version >= BY_EMAIL:
        gone = [entry for entry in settings.clients if entry.email == email]
    else:
        key = record_key(inbound, record.fields)
        name = key_name(inbound.protocol)
        if not key:
            return False
        gone = [entry for entry in settings.clients if text_of(entry.data, name) == key]
        if not gone:
            message = f"Client Not Found In Inbound For ID: {key}"
            raise refuse(message)
    if not gone:
        return False
    remove_entries(panel, inbound, gone, keep_traffic=keep_traffic)
    return True


def remove_entries(
    panel: "Panel", inbound: InboundRow, gone: Collection[Entry], *, keep_traffic: bool
) -> None:
    """Remove entries from one inbound, with rows that no other inbound needs."""
    ids = {id(entry) for entry in gone}
    check_stored(panel, inbound, without=ids)
    inbound.settings.keep(lambda entry: id(entry) not in ids)
    compact_orphans(panel, inbound)
    for email in {entry.email for entry in gone}:
        if not keep_traffic and not panel.state.used_elsewhere(email, inbound.id):
            drop_row(panel.state, email)
    sync_inbound(panel, inbound)
