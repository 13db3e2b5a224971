"""Single client writes of 3.1.0 and later: add, update, del, attach, detach.

Callers: `app` collects `ROUTES`; `v3_bulk` and `v3_traffic` use the functions.
Not here: what happens inside one inbound (`v3_apply`).
"""

from typing import TYPE_CHECKING

from simulator.clients import bind, list_of
from simulator.gojson import Doc
from simulator.inbounds import find_inbound
from simulator.rows import drop_row
from simulator.state import Record
from simulator.v3_apply import (
    BY_EMAIL,
    add_to_inbound,
    fill_defaults,
    for_inbound,
    record_key,
    remove_entries,
    remove_from_inbound,
    replace_in_inbound,
)
from simulator.v3_records import effective_flow, merge, to_client, to_record
from simulator.wire import Call, Reply, Route, not_found, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

FIRST = (3, 1, 0)
_SPACE, _DELETE = 0x20, 0x7F


def find_record(panel: "Panel", email: str) -> Record:
    """Load a client by its exact email.

    Raises:
        Refused: there is none.
    """
    record = panel.state.records_by_email.get(email)
    if record is None:
        raise not_found()
    return record


def is_forbidden(text: str) -> bool:
    """Whether an email or subId has a character that 3.2.5+ refuses."""
    return any(c in "/\\ " or ord(c) < _SPACE or ord(c) == _DELETE for c in text)


def check_names(panel: "Panel", client: Doc) -> None:
    """Refuse emails and subIds that could not stand in a path (3.2.5+)."""
    if panel.version < (3, 2, 5):
        return
    for name in ("email", "subId"):
        if is_forbidden(client[name]):
            message = f"client {name} contains an invalid character: {client[name]}"
            raise refuse(message)


def read_ids(body: Doc) -> list[int]:
    """A posted list of inbound ids.

    Raises:
        Refused: no list of numbers.
    """
    return list_of(body, "inboundIds", int)


def prepare_new(panel: "Panel", client: Doc) -> None:
    """Fill in what a new client lacks, whatever its inbounds are."""
    now = panel.clock.now_ms()
    client["subId"] = client["subId"] or panel.dice.uuid()
    # QUIRK(add-forces-enable, 3x-ui 3.1.0+): a client is created enabled whatever is sent.
    client["enable"] = True
    client["created_at"] = client["created_at"] or now
    client["updated_at"] = now


def reuse_credentials(panel: "Panel", client: Doc, record: Record) -> None:
    """Take missing credentials of a known client from its record (3.5.0+)."""
    if panel.version < (3, 5, 0):
        return
    for name, column in (("id", "uuid"), ("password",) * 2, ("auth",) * 2, ("secret",) * 2):
        client[name] = client[name] or record.fields.get(column, "")


def sub_id_owner(panel: "Panel", sub_id: str, email: str) -> Record | None:
    """Another client that has this subId."""
    records = panel.state.records.values()
    return next((r for r in records if r.fields["subId"] == sub_id and r.email != email), None)


def create(panel: "Panel", client: Doc, inbound_ids: list[int]) -> None:
    """Add a client to inbounds, one after another.

    Raises:
        Refused: some check failed; inbounds before the failing one keep the client.
    """
    if not client["email"].strip():
        raise refuse("client email is required")
    check_names(panel, client)
    if not inbound_ids:
        raise refuse("at least one inbound is required")
    prepare_new(panel, client)
    known = panel.state.records_by_email.get(client["email"])
    if known is not None:
        if not known.fields["subId"] or known.fields["subId"] != client["subId"]:
            message = f"email already in use: {client['email']}"
            raise refuse(message)
        reuse_credentials(panel, client, known)
    if panel.version >= (3, 2, 5) and sub_id_owner(panel, client["subId"], client["email"]):
        message = f"subId already in use: {client['subId']}"
        raise refuse(message)
    for inbound_id in inbound_ids:
        inbound = find_inbound(panel, inbound_id)
        fill_defaults(panel, client, inbound)
        add_to_inbound(panel, inbound_id, [for_inbound(panel, client, inbound)])


def _add(call: Call) -> Reply:
    body = call.object()
    client = bind(body.get("client"), call.version, "client.")
    create(call.panel, client, read_ids(body))
    return call.done("client_added")


def update(panel: "Panel", record: Record, client: Doc, only: list[int]) -> None:
    """Replace a client in its inbounds and in the table.

    Args:
        panel: the panel.
        record: the client as it is.
        client: the typed new client.
        only: inbounds to rewrite; empty means all (3.2.8+).

    Raises:
        Refused: some check failed; inbounds before the failing one are changed.
    """
    before = dict(record.fields)
    inbound_ids = [ib for ib in panel.state.attachments(record) if not only or ib in only]
    if not client["email"].strip():
        raise refuse("client email is required")
    check_names(panel, client)
    client["subId"] = client["subId"] or before["subId"] or panel.dice.uuid()
    client["updated_at"] = panel.clock.now_ms()
    client["created_at"] = client["created_at"] or before["createdAt"]
    if panel.version >= BY_EMAIL:
        # QUIRK(update-rotates-credentials, 3x-ui 3.1.0 to 3.3.0): omitted ones are made up anew.
        client["id"] = client["id"] or before["uuid"]
        for name in ("password", "auth", "secret"):
            if name in client:
                client[name] = client[name] or before.get(name, "")
    _check_collisions(panel, record, client)
    if (3, 2, 0) <= panel.version < (3, 5, 0) and client["email"] != before["email"]:
        panel.state.rename_record(record, client["email"])
    for inbound_id in inbound_ids:
        inbound = panel.state.inbounds.get(inbound_id)
        if inbound is None:
            continue
        if panel.version < BY_EMAIL and not record_key(inbound, before):
            continue
        fill_defaults(panel, client, inbound)
        replace_in_inbound(panel, inbound, before, for_inbound(panel, client, inbound))
    _finish_update(panel, record, client, attached=bool(inbound_ids))


def _check_collisions(panel: "Panel", record: Record, client: Doc) -> None:
    if panel.version < (3, 2, 0):
        return
    email, sub_id = client["email"], client["subId"]
    if email != record.email and email in panel.state.records_by_email:
        message = f"Duplicate email: {email}"
        raise refuse(message)
    changed = sub_id != record.fields["subId"] or panel.version < (3, 3, 1)
    if panel.version >= (3, 2, 5) and changed:
        owner = sub_id_owner(panel, sub_id, record.email)
        if owner is not None and owner is not record:
            message = f"Duplicate subId: {sub_id}"
            raise refuse(message)


def _finish_update(panel: "Panel", record: Record, client: Doc, *, attached: bool) -> None:
    """Write what the settings do not carry into the table."""
    version = panel.version
    if version >= (3, 2, 0) and client["email"] != record.email:
        panel.state.rename_record(record, client["email"])
    if not attached and version >= (3, 6, 0):
        created = record.fields["createdAt"]
        merge(record, to_record(client), version)
        record.set(createdAt=created)
    values: dict[str, object] = {"updatedAt": panel.clock.now_ms()}
    if version >= (3, 2, 0):
        values["reverse"] = client.get("reverse")
    if version >= BY_EMAIL:
        values |= {name: client[name] for name in ("group", "enable", "adTag") if name in client}
    record.set(**values)


def _update(call: Call) -> Reply:
    client = bind(call.json(), call.version, "")
    only: list[int] = []
    if call.version >= (3, 2, 8):
        parts = (part.strip() for part in call.one("inboundIds").split(","))
        only = [int(part) for part in parts if part.isdigit()]
    update(call.panel, find_record(call.panel, call.params["email"]), client, only)
    return call.done("client_updated")


def delete(panel: "Panel", record: Record, *, keep_traffic: bool) -> None:
    """Remove a client from every inbound, then its record.

    Raises:
        Refused: an inbound failed; the record stays.
    """
    # QUIRK(keep-traffic-ignored, 3x-ui 3.1.0 to 3.5.0): the step inside each inbound deletes
    # the row before anyone looks at keepTraffic.
    keep_in_step = keep_traffic and panel.version >= (3, 6, 0)
    for inbound_id in panel.state.attachments(record):
        inbound = panel.state.inbounds.get(inbound_id)
        if inbound is not None:
            remove_from_inbound(panel, inbound, record, keep_traffic=keep_in_step)
    if not keep_traffic:
        drop_row(panel.state, record.email)
    panel.state.delete_record(record)


def _delete(call: Call) -> Reply:
    panel, email = call.panel, call.params["email"]
    keep = call.one("keepTraffic") == "1"
    record = panel.state.records_by_email.get(email)
    if record is not None:
        delete(panel, record, keep_traffic=keep)
        return call.done("client_deleted")
    if call.version < (3, 2, 0):
        raise not_found()
    _delete_unrecorded(panel, email, keep_traffic=keep)
    return call.done("client_deleted")


def _delete_unrecorded(panel: "Panel", email: str, *, keep_traffic: bool) -> None:
    found = False
    for inbound in panel.state.inbounds.values():
        gone = [entry for entry in inbound.settings.clients if entry.email == email]
        if gone:
            found = True
            remove_entries(panel, inbound, gone, keep_traffic=keep_traffic)
    if not found:
        message = f'client "{email}" not found in any inbound or client record'
        raise refuse(message)


def attach(panel: "Panel", record: Record, inbound_ids: list[int]) -> None:
    """Add a client to more inbounds with the credentials of its record.

    Raises:
        Refused: an inbound failed; those before it keep the client.
    """
    have = panel.state.attachments(record)
    client = to_client(record, panel.version)
    client["flow"] = effective_flow(panel, record)
    client["updated_at"] = panel.clock.now_ms()
    for inbound_id in inbound_ids:
        if inbound_id in have:
            continue
        inbound = find_inbound(panel, inbound_id)
        copy = dict(client)
        fill_defaults(panel, copy, inbound)
        add_to_inbound(panel, inbound_id, [for_inbound(panel, copy, inbound)])


def _attach(call: Call) -> Reply:
    body = call.object()
    attach(call.panel, find_record(call.panel, call.params["email"]), read_ids(body))
    return call.done("client_added")


def detach(panel: "Panel", record: Record, inbound_ids: list[int]) -> None:
    """Remove a client from inbounds; record and counters stay.

    Raises:
        Refused: an inbound is missing.
    """
    have = panel.state.attachments(record)
    # QUIRK(detach-drops-row, 3x-ui 3.1.0): there the last detachment takes the row with it.
    keep = panel.version >= (3, 2, 0)
    for inbound_id in inbound_ids:
        if inbound_id in have:
            inbound = find_inbound(panel, inbound_id)
            remove_from_inbound(panel, inbound, record, keep_traffic=keep)


def _detach(call: Call) -> Reply:
    body = call.object()
    detach(call.panel, find_record(call.panel, call.params["email"]), read_ids(body))
    return call.done("client_deleted")


_HOME = "/panel/api/clients"
ROUTES = (
    Route("POST", f"{_HOME}/add", _add, since=FIRST, write=True),
    Route("POST", f"{_HOME}/update/:email", _update, since=FIRST, write=True),
    Route("POST", f"{_HOME}/del/:email", _delete, since=FIRST, write=True),
    Route("POST", f"{_HOME}/:email/attach", _attach, since=FIRST, write=True),
    Route("POST", f"{_HOME}/:email/detach", _detach, since=FIRST, write=True),
)
