"""Reads of clients in 3.1.0 and later: list, get, pages, traffic, online lists.

Callers: `app` collects `ROUTES`; `control` uses `view_client`. Not here: changes.
"""

from typing import TYPE_CHECKING

from simulator import gojson
from simulator.inbounds import find_inbound
from simulator.paging import page_of
from simulator.rows import view_row
from simulator.state import Record, TrafficRow
from simulator.v3_clients import FIRST, find_record
from simulator.v3_records import effective_flow, to_client, view_record
from simulator.wire import Call, Refused, Reply, Route, obj, obj_text, refuse

if TYPE_CHECKING:
    from simulator.app import Panel


def attachments_by_record(panel: "Panel") -> dict[int, list[int]]:
    """Inbound ids of every attached client."""
    # QUIRK(list-attachments-unordered, 3x-ui 3.1.0+): the list tells them in the order in which
    # the inbounds were written last; only the single read sorts them.
    result: dict[int, list[int]] = {}
    for inbound_id in panel.state.links:
        for record_id in panel.state.links[inbound_id]:
            result.setdefault(record_id, []).append(inbound_id)
    return result


def view_client(panel: "Panel", record: Record, inbound_ids: list[int] | None) -> dict[str, object]:
    """A client as the list shows it: the record, its inbounds, its traffic row if any."""
    view = view_record(record)
    view["inboundIds"] = inbound_ids
    row = panel.state.traffic.get(record.email)
    if row is not None:
        view["traffic"] = view_row(row, panel.version)
    return view


def all_clients(panel: "Panel") -> list[dict[str, object]]:
    """All clients as the list shows them."""
    homes = attachments_by_record(panel)
    records = panel.state.records.values()
    return [view_client(panel, record, homes.get(record.id)) for record in records]


def _list(call: Call) -> Reply:
    panel = call.panel
    return obj_text(panel.cached("clients", lambda: gojson.compact(all_clients(panel))))


def _paged(call: Call) -> Reply:
    homes = attachments_by_record(call.panel)
    records = call.panel.state.records.values()
    return obj(page_of(call, [(record, homes.get(record.id, [])) for record in records]))


def _get(call: Call) -> Reply:
    try:
        record = find_record(call.panel, call.params["email"])
    except Refused as refused:
        # Up to 3.5.0 the sentence's key has no translation, so that nothing stands before it.
        outer = "obtain" if call.version >= (3, 6, 0) else "get"
        raise Refused(refused.inner, outer) from None
    return obj(_detail(call, record))


def _detail(call: Call, record: Record) -> dict[str, object]:
    panel, state = call.panel, call.panel.state
    client = view_record(record)
    client["flow"] = effective_flow(panel, record)
    detail: dict[str, object] = {"client": client}
    if call.version >= (3, 4, 0):
        detail["externalLinks"] = state.external_links.get(record.id, [])
    detail["inboundIds"] = state.attachments(record)
    if call.version >= (3, 3, 1):
        row = state.traffic.get(record.email)
        detail["usedTraffic"] = row.up + row.down if row is not None else 0
    return detail


def _get_by_telegram(call: Call) -> Reply:
    wanted = call.number("tgId")
    found = [r for r in call.panel.state.records.values() if r.fields["tgId"] == wanted]
    return obj([_detail(call, record) for record in found])


def _traffic(call: Call) -> Reply:
    panel, email = call.panel, call.params["email"]
    row = panel.state.traffic.get(email)
    if row is None:
        if call.version < (3, 2, 0):
            message = f"Inbound Not Found For Email: {email}"
            raise refuse(message)
        return obj(None)
    return obj(view_row(row, call.version, _owner(panel, row)))


def _owner(panel: "Panel", row: TrafficRow) -> dict[str, object]:
    record = panel.state.records_by_email.get(row.email)
    if record is not None:
        return to_client(record, panel.version)
    entry = find_inbound(panel, row.inbound_id).settings.find(row.email)
    if entry is None:
        message = f"Client Not Found In Inbound For Email: {row.email}"
        raise refuse(message)
    return entry.data


def _ips(call: Call) -> Reply:
    if call.version >= (3, 4, 0):
        return obj([])
    return obj(call.panel.state.ips.get(call.params["email"]) or "No IP Record")


def _onlines(call: Call) -> Reply:
    online = call.panel.background.online()
    running = call.panel.xray_state == "running"
    return obj(online or ([] if running else None))


def _last_online(call: Call) -> Reply:
    seen = {row.email: row.last_online_ms for row in call.panel.state.traffic}
    return obj_text(gojson.compact(seen, sort=True))


_HOME = "/panel/api/clients"
ROUTES = (
    Route("GET", f"{_HOME}/list", _list, since=FIRST, fail="obtain"),
    Route("GET", f"{_HOME}/list/paged", _paged, since=FIRST, fail="obtain"),
    Route("GET", f"{_HOME}/get/:email", _get, since=FIRST, fail="obtain"),
    Route("GET", f"{_HOME}/get/tgId/:tgId", _get_by_telegram, since=(3, 6, 0), fail="obtain"),
    Route("GET", f"{_HOME}/traffic/:email", _traffic, since=FIRST, fail="traffic_error"),
    Route("POST", f"{_HOME}/ips/:email", _ips, since=FIRST),
    Route("POST", f"{_HOME}/onlines", _onlines, since=FIRST),
    Route("POST", f"{_HOME}/lastOnline", _last_online, since=FIRST),
)
