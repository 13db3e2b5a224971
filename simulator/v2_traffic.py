"""Counters, IP logs and online lists of the v2 API (up to 3.0.2).

Callers: `app` collects `ROUTES`. Not here: client writes (`v2`), enforcement (`background`).
"""

from typing import TYPE_CHECKING

from simulator import gojson
from simulator.clients import number_of, text_of, typed
from simulator.gojson import Doc
from simulator.inbounds import delete_inbound, find_inbound
from simulator.rows import reset_row, view_row
from simulator.state import TrafficRow
from simulator.wire import Call, Panic, Reply, Route, obj, obj_text, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

LAST = (3, 0, 2)


def find_traffic(panel: "Panel", email: str) -> tuple[TrafficRow, Doc | None] | None:
    """A row with its client, as v2 looks it up.

    Up to 2.8.0 only the row counts; later its inbound and its client must exist too.

    Raises:
        Refused: the inbound or the client is missing (2.8.1+).
    """
    row = panel.state.traffic.get(email)
    if panel.version < (2, 8, 1):
        return None if row is None else (row, None)
    if row is None:
        message = f"Inbound Not Found For Email: {email}"
        raise refuse(message)
    inbound = find_inbound(panel, row.inbound_id)
    entry = inbound.settings.find(email)
    if entry is None:
        message = f"Client Not Found In Inbound For Email: {email}"
        raise refuse(message)
    return row, typed(entry.data, panel.version)


def _shown(panel: "Panel", row: TrafficRow, owner: Doc | None) -> dict[str, object]:
    view = view_row(row, panel.version, owner)
    if owner is not None and panel.version < (2, 9, 0):
        view["enable"] = owner["enable"]
    return view


def _traffic(call: Call) -> Reply:
    found = find_traffic(call.panel, call.params["email"])
    return obj(_shown(call.panel, *found) if found else None)


def _traffic_by_id(call: Call) -> Reply:
    wanted = call.params["id"]
    shown = []
    for row in call.panel.state.traffic:
        for inbound in call.panel.state.inbounds.values():
            entry = inbound.settings.find(row.email)
            if entry is None or text_of(entry.data, "id") != wanted:
                continue
            owner = typed(entry.data, call.version) if call.version >= (2, 8, 1) else None
            view = view_row(row, call.version, owner)
            if owner is not None:
                view["enable"] = owner["enable"]
            shown.append(view)
            break
    return obj(shown)


def _reset_client(call: Call) -> Reply:
    found = find_traffic(call.panel, call.params["email"])
    if found is None:
        # QUIRK(reset-unknown-crashes, 3x-ui up to 2.8.0): a nil row is dereferenced.
        raise Panic
    row, inbound_id = found[0], call.number("id")
    if not row.enable:
        find_inbound(call.panel, inbound_id)
    reset_row(row)
    if call.version >= (3, 0, 0) and inbound_id in call.panel.state.inbounds:
        call.panel.state.inbounds[inbound_id].last_reset_ms = call.panel.clock.now_ms()
    return call.done("traffic_reset")


def _reset_all_clients(call: Call) -> Reply:
    inbound_id = call.number("id")
    now = call.panel.clock.seconds_ms()
    for row in call.panel.state.traffic:
        if inbound_id in {-1, row.inbound_id}:
            reset_row(row)
    for inbound in call.panel.state.inbounds.values():
        if inbound_id in {-1, inbound.id} and call.version >= (2, 8, 1):
            inbound.last_reset_ms = now
    return call.done("client_traffics_reset")


def _set_traffic(call: Call) -> Reply:
    form = call.form()
    row = call.panel.state.traffic.get(call.params["email"])
    if row is not None:
        row.up, row.down = number_of(form, "upload"), number_of(form, "download")
        if call.version >= (2, 9, 4):
            row.all_time = max(row.all_time, row.up + row.down)
    return call.done("client_updated")


def _delete_depleted(call: Call) -> Reply:
    inbound_id = call.number("id")
    panel = call.panel
    now = panel.clock.seconds_ms()
    spent = [
        row
        for row in panel.state.traffic
        if row.reset_days == 0
        and (inbound_id < 0 or row.inbound_id == inbound_id)
        # Early versions believe the flag, later ones only limits that are really spent.
        and (not row.enable if call.version < (2, 8, 5) else row.is_spent(now))
    ]
    by_inbound: dict[int, set[str]] = {}
    for row in spent:
        by_inbound.setdefault(row.inbound_id, set()).add(row.email)
    for home, emails in by_inbound.items():
        settings = find_inbound(panel, home).settings
        if all(entry.email in emails for entry in settings.clients):
            # QUIRK(emptied-inbound-deleted, 3x-ui up to 3.0.2): it goes with its last client.
            delete_inbound(panel, home)
        else:
            settings.keep(lambda entry, gone=emails: entry.email not in gone)  # type: ignore[misc]  # the default binds the loop's value
    for row in spent:
        panel.state.traffic.delete(row.email)
    return call.done("depleted_deleted")


def _ips(call: Call) -> Reply:
    return obj(call.panel.state.ips.get(call.params["email"]) or "No IP Record")


def _clear_ips(call: Call) -> Reply:
    call.panel.state.ips.pop(call.params["email"], None)
    return call.done("log_cleared")


def _onlines(call: Call) -> Reply:
    online = call.panel.background.online()
    return obj(online or ([] if call.panel.xray_state == "running" else None))


def _last_online(call: Call) -> Reply:
    seen = {row.email: row.last_online_ms for row in call.panel.state.traffic}
    return obj_text(gojson.compact(seen, sort=True))


_HOME = "/panel/api/inbounds"
ROUTES = (
    Route("GET", f"{_HOME}/getClientTraffics/:email", _traffic, until=LAST, fail="traffic_error"),
    Route(
        "GET",
        f"{_HOME}/getClientTrafficsById/:id",
        _traffic_by_id,
        until=LAST,
        fail="traffic_error",
    ),
    Route("POST", f"{_HOME}/:id/resetClientTraffic/:email", _reset_client, until=LAST, write=True),
    Route(
        "POST", f"{_HOME}/resetAllClientTraffics/:id", _reset_all_clients, until=LAST, write=True
    ),
    Route(
        "POST",
        f"{_HOME}/updateClientTraffic/:email",
        _set_traffic,
        since=(2, 7, 0),
        until=LAST,
        write=True,
    ),
    Route("POST", f"{_HOME}/delDepletedClients/:id", _delete_depleted, until=LAST, write=True),
    Route("POST", f"{_HOME}/clientIps/:email", _ips, until=LAST),
    Route("POST", f"{_HOME}/clearClientIps/:email", _clear_ips, until=LAST, write=True),
    Route("POST", f"{_HOME}/onlines", _onlines, until=LAST),
    Route("POST", f"{_HOME}/lastOnline", _last_online, since=(2, 6, 8), until=LAST),
)
