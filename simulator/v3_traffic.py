"""Counter writes of 3.1.0 and later: resets, overwrites, removal of spent clients.

Callers: `app` collects `ROUTES`. Not here: enforcement (`background`).
"""

from simulator.clients import number_of
from simulator.rows import reset_row
from simulator.state import Record
from simulator.v3_apply import BY_EMAIL
from simulator.v3_bulk import delete_many, read_emails, with_skipped
from simulator.v3_clients import FIRST, find_record, update
from simulator.v3_records import to_client
from simulator.wire import Call, Reply, Route, envelope, obj


def _revive(call: Call, record: Record) -> None:
    # QUIRK(reset-enables, 3x-ui 3.3.1+): a reset enables a client that a person disabled, too.
    if not record.fields["enable"] and call.version >= BY_EMAIL:
        update(call.panel, record, to_client(record, call.version) | {"enable": True}, [])


def _reset(call: Call) -> Reply:
    panel = call.panel
    record = find_record(panel, call.params["email"])
    homes = panel.state.attachments(record)
    _revive(call, record)
    row = panel.state.traffic.get(record.email)
    if row is not None:
        reset_row(row)
    for inbound_id in homes:
        panel.state.inbounds[inbound_id].last_reset_ms = panel.clock.now_ms()
    return call.done("traffic_reset")


def _reset_many(call: Call) -> Reply:
    affected = 0
    for email in read_emails(call):
        record = call.panel.state.records_by_email.get(email)
        if record is not None:
            _revive(call, record)
        row = call.panel.state.traffic.get(email)
        if row is not None:
            reset_row(row)
            affected += 1
    return obj({"affected": affected})


def _reset_all(call: Call) -> Reply:
    for row in call.panel.state.traffic:
        reset_row(row)
    return call.done("client_traffics_reset")


def _set(call: Call) -> Reply:
    body = call.object()
    row = call.panel.state.traffic.get(call.params["email"])
    if row is not None:
        row.up, row.down = number_of(body, "upload"), number_of(body, "download")
    return call.done("client_updated")


def _delete_depleted(call: Call) -> Reply:
    now = call.panel.clock.now_ms()
    rows = call.panel.state.traffic
    spent = [row.email for row in rows if row.reset_days == 0 and row.is_spent(now)]
    reply = delete_many(call.panel, spent, keep_traffic=False)
    deleted = reply.body.split(b'"deleted":')[1].split(b",")[0].strip(b"}")
    return envelope("", f'{{"deleted":{deleted.decode()}}}')


def _delete_orphans(call: Call) -> Reply:
    state = call.panel.state
    orphans = [r for r in state.records.values() if not state.attachments(r)]
    for record in orphans:
        state.traffic.delete(record.email)
        state.delete_record(record)
    return with_skipped({"deleted": len(orphans)}, [])


def _clear_ips(call: Call) -> Reply:
    call.panel.state.ips.pop(call.params["email"], None)
    return call.done("log_cleared")


_HOME = "/panel/api/clients"
ROUTES = (
    Route("POST", f"{_HOME}/resetTraffic/:email", _reset, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkResetTraffic", _reset_many, since=(3, 2, 0), write=True),
    Route("POST", f"{_HOME}/resetAllTraffics", _reset_all, since=FIRST, write=True),
    Route("POST", f"{_HOME}/updateTraffic/:email", _set, since=FIRST, write=True),
    Route("POST", f"{_HOME}/delDepleted", _delete_depleted, since=FIRST, write=True),
    Route("POST", f"{_HOME}/delOrphans", _delete_orphans, since=(3, 4, 0), write=True),
    Route("POST", f"{_HOME}/clearIps/:email", _clear_ips, since=FIRST, write=True),
)
