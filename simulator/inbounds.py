"""Endpoints of inbounds: reads, add, update, delete, switches.

Callers: `app` collects `ROUTES`; `control` uses `make_inbound` and `store_inbound`.
Not here: single clients (`v2`, `v3_clients`), JSON of the answers (`inbound_view`).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from simulator import gojson
from simulator.clients import key_name, list_of, number_of, text_of, to_wire, typed
from simulator.gojson import Doc
from simulator.inbound_view import list_text, option, rows_by_inbound, stats_text, view_inbound
from simulator.ports import check_port, check_tag, is_auto_tag, resolve_tag
from simulator.rows import add_row, drop_row, update_row
from simulator.settings import Settings
from simulator.state import InboundRow
from simulator.texts import failure
from simulator.v3_records import find_email_clash, sync_inbound
from simulator.wire import Call, Refused, Reply, Route, envelope, not_found, obj, obj_text, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

_PROTOCOLS = "vmess vless trojan shadowsocks wireguard hysteria http mixed tunnel tun"
_STREAM_PROTOCOLS = frozenset(
    {"vmess", "vless", "trojan", "shadowsocks", "hysteria", "hysteria2", "wireguard", "tunnel"}
)
_LARGEST_PORT = 65535


def _list(call: Call) -> Reply:
    return obj_text(call.panel.cached("inbounds", lambda: list_text(call.panel)))


def _list_slim(call: Call) -> Reply:
    return obj_text(call.panel.cached("slim", lambda: list_text(call.panel, slim=True)))


def _options(call: Call) -> Reply:
    inbounds = sorted(call.panel.state.inbounds.values(), key=lambda ib: ib.id)
    return obj([option(call.panel, inbound) for inbound in inbounds])


def _get(call: Call) -> Reply:
    inbound = find_inbound(call.panel, call.number("id"))
    stats = "null"
    if call.version >= (3, 2, 0):
        rows = rows_by_inbound(call.panel).get(inbound.id, [])
        stats = stats_text(call.panel, inbound, rows)
    return obj_text(view_inbound(call.panel, inbound, stats))


def find_inbound(panel: "Panel", inbound_id: int) -> InboundRow:
    """Load an inbound.

    Raises:
        Refused: there is none.
    """
    inbound = panel.state.inbounds.get(inbound_id)
    if inbound is None:
        raise not_found()
    return inbound


def make_inbound(panel: "Panel", form: Doc) -> InboundRow:
    """Read a posted inbound. JSON fields come as strings, from 3.1.0 on also as objects."""

    def text(name: str) -> str:
        value = form.get(name)
        if isinstance(value, dict | list):
            return gojson.compact(value)
        return value if isinstance(value, str) else ""

    inbound = InboundRow(
        id=0,
        settings=Settings(text("settings")),
        remark=text("remark"),
        enable=_flag(form.get("enable")),
        listen=text("listen"),
        port=_integer(form.get("port")),
        protocol=text("protocol"),
        tag=text("tag"),
        stream=text("streamSettings"),
        sniffing=text("sniffing"),
        allocate=text("allocate"),
        up=_integer(form.get("up")),
        down=_integer(form.get("down")),
        total=_integer(form.get("total")),
        expiry_ms=_integer(form.get("expiryTime")),
        traffic_reset=text("trafficReset") or "never",
        traffic_reset_day=_integer(form.get("trafficResetDay")) or 1,
        sub_sort_index=_integer(form.get("subSortIndex")) or 1,
        share_strategy=text("shareAddrStrategy") or "node",
        share_address=text("shareAddr"),
    )
    if panel.version >= (3, 1, 0) and inbound.protocol not in _STREAM_PROTOCOLS:
        inbound.stream = ""
    return inbound


def _integer(value: object) -> int:
    if isinstance(value, str):
        return int(value) if value.lstrip("-").isdigit() else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _flag(value: object) -> bool:
    return value is True or value in {"true", "1", "on"}


def _invalid(call: Call, form: Doc) -> Reply | None:
    """The answer of 3.2.0+ to a form that breaks the struct's rules."""
    if call.version < (3, 2, 0):
        return None
    issues = []
    port = _integer(form.get("port"))
    lowest = 0 if call.version >= (3, 2, 6) else 1
    if port > _LARGEST_PORT:
        issues.append(_issue("port", "lte", "65535"))
    elif port < lowest and form.get("protocol"):
        issues.append(_issue("port", "gte", str(lowest)))
    known = _PROTOCOLS + (" mtproto" if call.version >= (3, 3, 0) else "")
    if not form.get("protocol"):
        if lowest and port < lowest:
            issues.append(_issue("port", "gte", str(lowest)))
        issues.append(_issue("protocol", "required", ""))
    elif form["protocol"] not in known.split():
        issues.append(_issue("protocol", "oneof", known))
    if not issues:
        return None
    message = "\n".join(str(issue["message"]) for issue in issues)
    body = gojson.compact({"issues": issues, "message": message})
    return envelope("request body failed validation", body, success=False)


def _issue(name: str, rule: str, param: str) -> dict[str, object]:
    message = (
        f"Key: 'Inbound.{name}' Error:Field validation for '{name}' failed on the '{rule}' tag"
    )
    issue: dict[str, object] = {"field": name, "rule": rule}
    if param:
        issue["param"] = param
    return issue | {"message": message}


def _add(call: Call) -> Reply:
    form = call.form()
    if (invalid := _invalid(call, form)) is not None:
        return invalid
    inbound = make_inbound(call.panel, form)
    if call.version < (3, 2, 0):
        inbound.tag = resolve_tag(call.panel, inbound)
    try:
        _insert(call.panel, inbound)
    except Refused as refused:
        # QUIRK(refused-add-shows-object, 3x-ui up to 2.6.3): with id 0, under the add's sentence.
        return _refused(call, refused, "inbound_added", view_inbound(call.panel, inbound, "null"))
    return call.done("inbound_added", view_inbound(call.panel, inbound, "null"))


def _refused(call: Call, refused: Refused, key: str, shown: str) -> Reply:
    """A refusal of add, update or del, which early versions name after the action."""
    if call.version > (2, 6, 3):
        raise refused
    message = failure(key, refused.inner, call.version, call.language)
    return envelope(message, shown, success=False)


def _insert(panel: "Panel", inbound: InboundRow) -> None:
    check_port(panel, inbound)
    inbound.tag = resolve_tag(panel, inbound)
    check_tag(panel, inbound)
    check_new_clients(panel, inbound)
    store_inbound(panel, inbound)


def _import(call: Call) -> Reply:
    try:
        data = gojson.parse(str(call.form().get("data") or ""))
    except gojson.GoJsonError as error:
        raise Refused(str(error)) from error
    inbound = make_inbound(call.panel, data if isinstance(data, dict) else {})
    _insert(call.panel, inbound)
    return call.done("inbound_added", view_inbound(call.panel, inbound, "null"))


def check_new_clients(panel: "Panel", inbound: InboundRow) -> None:
    """Refuse clients of a new inbound: taken emails, then missing credentials."""
    clients = [typed(entry.data, panel.version) for entry in inbound.settings.clients]
    clash = find_email_clash(panel, clients)
    if clash is not None:
        message = f"Duplicate email: {clash}"
        raise refuse(message)
    key = key_name(inbound.protocol)
    exempt = inbound.protocol in {"wireguard", "mtproto"} and panel.version >= (3, 4, 2)
    if not exempt and any(not client.get(key) for client in clients):
        raise refuse("empty client ID")


def store_inbound(panel: "Panel", inbound: InboundRow) -> None:
    """Insert an inbound with the rows and records of its clients."""
    state, version = panel.state, panel.version
    inbound.id = state.next_inbound_id()
    clients = [typed(entry.data, version) for entry in inbound.settings.clients]
    if clients and version >= (2, 6, 7):
        now = panel.clock.seconds_ms()
        for entry, client in zip(inbound.settings.clients, clients, strict=True):
            client["created_at"] = client["created_at"] or now
            client["updated_at"] = now
            entry.replace(to_wire(client, version))
        inbound.settings.rewrite(typed=True)
    state.inbounds[inbound.id] = inbound
    for client in clients:
        add_row(panel, inbound.id, client)
    sync_inbound(panel, inbound)


def _delete(call: Call) -> Reply:
    inbound_id = call.number("id")
    try:
        delete_inbound(call.panel, inbound_id)
    except Refused as refused:
        return _refused(call, refused, "inbound_deleted", str(inbound_id))
    return call.done("inbound_deleted", str(inbound_id))


def delete_inbound(panel: "Panel", inbound_id: int) -> None:
    """Delete an inbound; what becomes of its clients and rows differs by version.

    Raises:
        Refused: there is none (up to 3.1.0).
    """
    state = panel.state
    if panel.version < (3, 2, 0):
        for row in [row for row in state.traffic if row.inbound_id == inbound_id]:
            state.traffic.delete(row.email)
        state.links.pop(inbound_id, None)
        for entry in find_inbound(panel, inbound_id).settings.clients:
            state.ips.pop(entry.email, None)
    # QUIRK(missing-inbound-deleted, 3x-ui 3.2.0+): deleting what is not there succeeds.
    state.links.pop(inbound_id, None)
    state.inbounds.pop(inbound_id, None)
    if not state.inbounds and panel.version >= (3, 2, 5):
        # QUIRK(inbound-ids-reused, 3x-ui 3.2.5+): the counter starts again with the last one.
        state.last_inbound_id = 0


def _bulk_delete(call: Call) -> Reply:
    ids = list_of(call.object(), "ids", int)
    for inbound_id in ids:
        delete_inbound(call.panel, inbound_id)
    return obj({"deleted": len(ids)})


def _update(call: Call) -> Reply:
    inbound_id, form = call.number("id"), call.form()
    if (invalid := _invalid(call, form)) is not None:
        return invalid
    new = make_inbound(call.panel, form)
    new.id = inbound_id
    try:
        check_port(call.panel, new, inbound_id)
        old = find_inbound(call.panel, inbound_id)
    except Refused as refused:
        return _refused(call, refused, "inbound_updated", view_inbound(call.panel, new, "null"))
    _follow_tag(call.panel, old, new)
    _follow_clients(call.panel, old, new)
    _keep_timestamps(call.panel, old, new)
    if call.version >= (3, 1, 0):
        new.up, new.down = old.up, old.down
    new.all_time, new.last_reset_ms = old.all_time, old.last_reset_ms
    call.panel.state.inbounds[inbound_id] = new
    sync_inbound(call.panel, new)
    return call.done("inbound_updated", view_inbound(call.panel, new, "null"))


def _follow_tag(panel: "Panel", old: InboundRow, new: InboundRow) -> None:
    if panel.version >= (3, 2, 0) and is_auto_tag(old) and new.tag == old.tag:
        new.tag = ""
    new.tag = resolve_tag(panel, new, old.id)


def _follow_clients(panel: "Panel", old: InboundRow, new: InboundRow) -> None:
    """Drop rows of clients that are gone, add those of new ones. No check of emails here."""
    state, version = panel.state, panel.version
    kept = {entry.email for entry in new.settings.clients if entry.email}
    before = {entry.email for entry in old.settings.clients if entry.email}
    for email in _ordered(old, before - kept):
        if version >= (3, 0, 0) and state.used_elsewhere(email, old.id):
            continue
        drop_row(state, email)
    for entry in new.settings.clients:
        client = typed(entry.data, version)
        if entry.email in before:
            if version >= (3, 0, 0):
                update_row(panel, entry.email, client)
        elif entry.email:
            add_row(panel, old.id, client)


def _ordered(inbound: InboundRow, emails: set[str]) -> Iterable[str]:
    return [entry.email for entry in inbound.settings.clients if entry.email in emails]


def _keep_timestamps(panel: "Panel", old: InboundRow, new: InboundRow) -> None:
    """Carry `created_at` and `updated_at` over and rewrite the text (2.6.7+)."""
    if panel.version < (2, 6, 7) or new.settings.entries is None:
        return
    now = panel.clock.seconds_ms()
    for entry in new.settings.entries:
        before = old.settings.find(entry.email)
        known: Doc = before.data if before is not None else {}
        data = dict(entry.data)
        if "created_at" not in data:
            data["created_at"] = number_of(known, "created_at") or now
        if "updated_at" not in data and number_of(known, "updated_at"):
            data["updated_at"] = known["updated_at"]
        entry.replace(data)
    new.settings.rewrite()


def _set_enable(call: Call) -> Reply:
    inbound = find_inbound(call.panel, call.number("id"))
    inbound.enable = _flag(call.form().get("enable"))
    return call.done("inbound_updated")


def _reset_inbound(call: Call) -> Reply:
    inbound = call.panel.state.inbounds.get(call.number("id"))
    if inbound is not None:
        inbound.up = inbound.down = 0
    return call.done("inbound_traffic_reset" if call.version >= (3, 0, 2) else "traffic_reset")


def _reset_all(call: Call) -> Reply:
    for inbound in call.panel.state.inbounds.values():
        inbound.up = inbound.down = 0
    return call.done("all_reset")


def credential(inbound: InboundRow, client: dict[str, Any]) -> str:
    """The value that v2 calls name a client by."""
    return text_of(client, key_name(inbound.protocol))


def require_email_or_key(inbound: InboundRow, client: dict[str, Any]) -> None:
    """Refuse a client without the credential of its protocol."""
    if not credential(inbound, client):
        raise refuse("empty client ID")


_HOME = "/panel/api/inbounds"
ROUTES = (
    Route("GET", f"{_HOME}/list", _list, fail="obtain"),
    Route("GET", f"{_HOME}/list/slim", _list_slim, since=(3, 1, 0), fail="obtain"),
    Route("GET", f"{_HOME}/options", _options, since=(3, 1, 0), fail="obtain"),
    Route("GET", f"{_HOME}/get/:id", _get, fail="obtain"),
    Route("POST", "/panel/inbound/list", _list, until=(2, 6, 8), fail="obtain", group="page"),
    Route("POST", f"{_HOME}/add", _add, write=True),
    Route("POST", f"{_HOME}/del/:id", _delete, write=True),
    Route("POST", f"{_HOME}/bulkDel", _bulk_delete, since=(3, 2, 5), write=True),
    Route("POST", f"{_HOME}/update/:id", _update, write=True),
    Route("POST", f"{_HOME}/setEnable/:id", _set_enable, since=(2, 9, 4), write=True),
    Route("POST", f"{_HOME}/import", _import, since=(2, 7, 0), write=True),
    Route("POST", f"{_HOME}/:id/resetTraffic", _reset_inbound, since=(3, 0, 2), write=True),
    Route("POST", f"{_HOME}/resetAllTraffics", _reset_all, write=True),
)
