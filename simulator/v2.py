"""Client writes of the v2 API (up to 3.0.2): addClient, updateClient, delClient, copies.

Callers: `app` collects `ROUTES`. Not here: counters and other reads (`v2_traffic`).
"""

from typing import TYPE_CHECKING, Any

from simulator import gojson
from simulator.clients import key_name, number_of, text_of, typed
from simulator.gojson import Doc
from simulator.inbounds import credential, find_inbound, require_email_or_key
from simulator.rows import add_row, drop_row, rename_ips, update_row
from simulator.settings import Entry
from simulator.state import InboundRow
from simulator.v3_records import find_email_clash
from simulator.version import Version
from simulator.wire import Call, Panic, Refused, Reply, Route, not_found, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

LAST = (3, 0, 2)


def _read_body(call: Call) -> tuple[int, list[Any]]:
    """The inbound's id and the posted clients.

    Raises:
        Panic: the settings hold no list of clients.
        Refused: the settings are no JSON.
    """
    form = call.form()
    inbound_id = form.get("id")
    text = form.get("settings")
    if text is not None and not isinstance(text, str):
        message = (
            "json: cannot unmarshal object into Go struct field Inbound.settings of type string"
        )
        raise Refused(message)
    try:
        settings = gojson.parse(text or "")
    except gojson.GoJsonError as error:
        raise Refused(str(error)) from error
    clients = settings.get("clients") if isinstance(settings, dict) else None
    if not isinstance(clients, list):
        raise Panic
    number = str(inbound_id or 0)
    return int(number) if number.isdigit() else 0, clients


def _add(call: Call) -> Reply:
    inbound_id, posted = _read_body(call)
    panel = call.panel
    clients = [client if isinstance(client, dict) else {} for client in posted]
    _stamp_new(panel, clients)
    seen = [typed(client, call.version) for client in clients]
    _check_emails(panel, seen)
    inbound = find_inbound(panel, inbound_id)
    for client in seen:
        if call.version >= (3, 0, 2) and not text_of(client, "email").strip():
            raise refuse("client email is required")
        require_email_or_key(inbound, client)
    if inbound.settings.entries is None:
        raise Panic
    _check_method(inbound, seen)
    for client in seen:
        if client["email"]:
            add_row(panel, inbound.id, client)
    inbound.settings.append(clients)
    for client in clients:
        panel.xray.told(inbound, client)
    return call.done("client_added")


def _stamp_new(panel: "Panel", clients: list[Doc]) -> None:
    if panel.version < (2, 6, 7):
        return
    now = panel.clock.seconds_ms()
    for client in clients:
        client.setdefault("created_at", now)
        client["updated_at"] = now


def _check_emails(panel: "Panel", clients: list[Doc]) -> None:
    clash = find_email_clash(panel, clients)
    if clash is not None:
        message = f"Duplicate email: {clash}"
        raise refuse(message)


def _check_method(inbound: InboundRow, clients: list[Doc]) -> None:
    """Crash as the panel does when a shadowsocks inbound has no method to give to Xray."""
    given = any(client["enable"] and client["email"] for client in clients)
    has_method = isinstance(inbound.settings.get("method"), str)
    if inbound.protocol == "shadowsocks" and given and not has_method:
        raise Panic


def _update(call: Call) -> Reply:
    inbound_id, posted = _read_body(call)
    panel, version = call.panel, call.version
    inbound = find_inbound(panel, inbound_id)
    if not inbound.settings.clients:
        raise refuse("empty client ID")
    if not posted:
        raise Panic
    data = dict(posted[0]) if isinstance(posted[0], dict) else {}
    client = typed(data, version)
    entry = _find_by_key(inbound, call.params["clientId"], version)
    if entry is None or not credential(inbound, client):
        raise refuse("empty client ID")
    old_email, new_email = entry.email, client["email"]
    if new_email and new_email != old_email:
        _check_emails(panel, [typed(c if isinstance(c, dict) else {}, version) for c in posted])
    if version >= (2, 6, 7):
        now = panel.clock.seconds_ms()
        data["created_at"] = entry.data.get("created_at", now)
        data["updated_at"] = now
    _follow_update(panel, inbound, old_email, client)
    inbound.settings.replace(entry, data)
    panel.xray.told(inbound, data)
    return call.done("client_updated")


def _find_by_key(inbound: InboundRow, key: str, version: Version) -> Entry | None:
    name = key_name(inbound.protocol)
    if name == "auth" and version < (2, 9, 0):
        name = "id"
    return next((e for e in inbound.settings.clients if text_of(e.data, name) == key), None)


def _follow_update(panel: "Panel", inbound: InboundRow, old_email: str, client: Doc) -> None:
    new_email = client["email"]
    if not new_email:
        drop_row(panel.state, old_email)
    elif old_email:
        update_row(panel, old_email, client)
        rename_ips(panel.state, old_email, new_email)
    else:
        add_row(panel, inbound.id, client)


def _delete(call: Call) -> Reply:
    panel = call.panel
    inbound = find_inbound(panel, call.number("id"))
    wanted, name = call.params["clientId"], key_name(inbound.protocol)
    if inbound.settings.entries is None:
        raise Panic
    keys = [entry.data.get(name) for entry in inbound.settings.entries]
    if not all(isinstance(key, str) for key in keys):
        raise Panic
    gone = [e for e in inbound.settings.entries if e.data[name] == wanted]
    if not gone and call.version >= (2, 9, 4):
        message = f"Client Not Found In Inbound For ID: {wanted}"
        raise refuse(message)
    if len(gone) == len(inbound.settings.entries):
        raise refuse("no client remained in Inbound")
    # QUIRK(missing-client-deleted, 3x-ui up to 2.9.3): an unknown id is deleted successfully.
    email = gone[-1].email if gone else ""
    if email:
        _drop_counters(panel, inbound, email)
    inbound.settings.keep(lambda entry: entry.data[name] != wanted)
    return call.done("client_deleted")


def _drop_counters(panel: "Panel", inbound: InboundRow, email: str) -> None:
    shared = panel.version >= (3, 0, 0) and panel.state.used_elsewhere(email, inbound.id)
    if not shared:
        panel.state.ips.pop(email, None)
    if panel.state.traffic.get(email) is None:
        # QUIRK(row-missing-blocks-delete, 3x-ui up to 3.0.2): without its traffic row a client
        # cannot be deleted, while its IP log is already gone.
        raise not_found()
    if not shared:
        panel.state.traffic.delete(email)


def _delete_by_email(call: Call) -> Reply:
    panel = call.panel
    inbound = find_inbound(panel, call.number("id"))
    email = call.params["email"]
    if inbound.settings.entries is None:
        raise refuse("invalid clients format in inbound settings")
    gone = [entry for entry in inbound.settings.entries if entry.email == email]
    if not gone:
        message = f"client with email {email} not found"
        raise refuse(message)
    if len(gone) == len(inbound.settings.entries):
        raise refuse("no client remained in Inbound")
    if not (call.version >= (3, 0, 0) and panel.state.used_elsewhere(email, inbound.id)):
        panel.state.ips.pop(email, None)
        if email and panel.state.traffic.get(email) is None:
            # QUIRK(row-missing-blocks-delete, 3x-ui up to 3.0.2): as by credential.
            message = f"Inbound Not Found For Email: {email}"
            raise refuse(message)
        panel.state.traffic.delete(email)
    inbound.settings.keep(lambda entry: entry.email != email)
    return call.done_plain("Client deleted successfully")


def _copy(call: Call) -> Reply:
    """Copy clients from another inbound under derived emails (2.9.3 to 3.0.2)."""
    target = find_inbound(call.panel, call.number("id"))
    form = call.form()
    source = find_inbound(call.panel, number_of(form, "sourceInboundId"))
    wanted = set(form.get("clientEmails") or [])
    added, now = [], call.panel.clock.seconds_ms()
    for entry in source.settings.clients:
        if wanted and entry.email not in wanted:
            continue
        email = f"{entry.email}_{target.id}"
        data = {**entry.data, "email": email, "created_at": now, "updated_at": now}
        name = key_name(target.protocol)
        if name != "email":
            data[name] = call.panel.dice.uuid()
        if find_email_clash(call.panel, [typed(data, call.version)]) is None:
            added.append(data)
    for data in added:
        add_row(call.panel, target.id, typed(data, call.version))
    target.settings.append(added)
    emails = [text_of(data, "email") for data in added]
    result = {"added": emails, "skipped": [], "errors": []}
    return call.done("client_added", gojson.compact(result))


_HOME = "/panel/api/inbounds"
ROUTES = (
    Route("POST", f"{_HOME}/addClient", _add, until=LAST, write=True),
    Route("POST", f"{_HOME}/updateClient/:clientId", _update, until=LAST, write=True),
    Route("POST", f"{_HOME}/:id/delClient/:clientId", _delete, until=LAST, write=True),
    Route(
        "POST",
        f"{_HOME}/:id/delClientByEmail/:email",
        _delete_by_email,
        since=(2, 8, 0),
        until=LAST,
        fail="delete_by_email",
        write=True,
    ),
    Route("POST", f"{_HOME}/:id/copyClients", _copy, since=(2, 9, 3), until=LAST, write=True),
)
