"""Bulk create, delete, attach and detach (3.2.0+).

Callers: `app` collects `ROUTES`. Not here: bulk changes of limits and flags (`v3_bulk_changes`).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.clients import bind, list_of
from simulator.gojson import Doc
from simulator.inbounds import find_inbound
from simulator.rows import drop_row
from simulator.state import InboundRow, Record
from simulator.v3_apply import (
    BY_EMAIL,
    add_to_inbound,
    fill_defaults,
    find_entry,
    for_inbound,
    remove_entries,
)
from simulator.v3_clients import (
    check_names,
    create,
    prepare_new,
    read_ids,
    reuse_credentials,
)
from simulator.v3_records import to_client
from simulator.wire import Call, Refused, Reply, Route, obj

if TYPE_CHECKING:
    from simulator.app import Panel

FIRST = (3, 2, 0)
Skipped = list[dict[str, str]]


@dataclass
class _Member:
    """A client of a bulkCreate on its way."""

    client: Doc
    inbound_ids: list[int]
    reason: str | None = None


@dataclass
class _Group:
    """New clients of one inbound and whom they belong to."""

    members: list[_Member] = field(default_factory=list)
    clients: list[Doc] = field(default_factory=list)


def with_skipped(result: dict[str, object], skipped: Skipped) -> Reply:
    """Answer a bulk call; `skipped` is left out when nobody was."""
    return obj(result | ({"skipped": skipped} if skipped else {}))


def read_emails(call: Call) -> list[str]:
    """Posted emails: trimmed, without blanks and repetitions."""
    texts = [item.strip() for item in list_of(call.object(), "emails", str)]
    return list(dict.fromkeys(text for text in texts if text))


def _bulk_create(call: Call) -> Reply:
    body = call.json()
    if not isinstance(body, list):
        message = (
            "json: cannot unmarshal object into Go value of type []service.ClientCreatePayload"
        )
        raise Refused(message)
    items = [item if isinstance(item, dict) else {} for item in body]
    posted = [(bind(i.get("client"), call.version, "client."), read_ids(i)) for i in items]
    if call.version < (3, 2, 8):
        return _create_each(call.panel, posted)
    skipped: Skipped = []
    members = _accept_members(call.panel, posted, skipped)
    _check_members(call.panel, members)
    _add_groups(call.panel, members)
    created = 0
    for member in members:
        if member.reason is None:
            created += 1
        else:
            skipped.append({"email": member.client["email"], "reason": member.reason})
    return with_skipped({"created": created}, skipped)


def _create_each(panel: "Panel", posted: list[tuple[Doc, list[int]]]) -> Reply:
    """Add one after another, as 3.2.0 to 3.2.7 did."""
    created, skipped = 0, list[dict[str, str]]()
    for client, inbound_ids in posted:
        try:
            create(panel, client, inbound_ids)
            created += 1
        except Refused as refused:
            email = client["email"].strip() or "(missing email)"
            skipped.append({"email": email, "reason": refused.inner})
    return with_skipped({"created": created}, skipped)


def _accept_members(
    panel: "Panel", posted: list[tuple[Doc, list[int]]], skipped: Skipped
) -> list[_Member]:
    members: list[_Member] = []
    emails: set[str] = set()
    owners: dict[str, str] = {}
    for client, inbound_ids in posted:
        client["email"] = email = client["email"].strip()
        reason = _reason_to_skip(panel, client, inbound_ids)
        if reason is None:
            prepare_new(panel, client)
            key, sub_id = email.lower(), client["subId"]
            if key in emails:
                reason = f"email already in use: {email}"
            elif owners.get(sub_id, key) != key:
                reason = f"subId already in use: {sub_id}"
            else:
                emails.add(key)
                owners[sub_id] = key
        if reason is not None:
            skipped.append({"email": email or "(missing email)", "reason": reason})
            continue
        members.append(_Member(client, inbound_ids))
    return members


def _reason_to_skip(panel: "Panel", client: Doc, inbound_ids: list[int]) -> str | None:
    if not client["email"]:
        return "client email is required"
    try:
        check_names(panel, client)
    except Refused as refused:
        return refused.inner
    return None if inbound_ids else "at least one inbound is required"


def _check_members(panel: "Panel", members: list[_Member]) -> None:
    """Compare with the table, and make up credentials."""
    wanted = {member.client["subId"] for member in members}
    owners = {
        str(record.fields["subId"]): record.email.lower()
        for record in panel.state.records.values()
        if record.fields["subId"] in wanted
    }
    for member in members:
        client, email = member.client, member.client["email"]
        record = panel.state.records_by_email.get(email)
        if record is not None and record.fields["subId"] != client["subId"]:
            member.reason = f"email already in use: {email}"
            continue
        if record is not None:
            reuse_credentials(panel, client, record)
        if owners.get(client["subId"], email.lower()) != email.lower():
            member.reason = f"subId already in use: {client['subId']}"
            continue
        try:
            for inbound_id in member.inbound_ids:
                fill_defaults(panel, client, find_inbound(panel, inbound_id))
        except Refused as refused:
            member.reason = refused.inner


def _add_groups(panel: "Panel", members: list[_Member]) -> None:
    """Write each inbound once; a refusal there falls on all its new clients."""
    groups: dict[int, _Group] = {}
    for member in members:
        if member.reason is not None:
            continue
        for inbound_id in member.inbound_ids:
            group = groups.setdefault(inbound_id, _Group())
            inbound = find_inbound(panel, inbound_id)
            group.members.append(member)
            group.clients.append(for_inbound(panel, member.client, inbound))
    for inbound_id, group in groups.items():
        try:
            add_to_inbound(panel, inbound_id, group.clients)
        except Refused as refused:
            # QUIRK(bulk-group-fails-together, 3x-ui 3.2.8+): one bad member fails its inbound.
            for member in group.members:
                member.reason = member.reason or refused.inner


def split_known(panel: "Panel", emails: list[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """Records of the emails, and reasons for those without one."""
    known = panel.state.records_by_email
    records = {email: known[email] for email in emails if email in known}
    missing = {email: "client not found" for email in emails if email not in known}
    return records, missing


def as_skipped(reasons: dict[str, str]) -> Skipped:
    """Reasons as the answers list them."""
    return [{"email": email, "reason": reason} for email, reason in reasons.items()]


def by_inbound(panel: "Panel", records: dict[str, Record]) -> list[tuple[InboundRow, list[Record]]]:
    """The inbounds of some clients, each with those of them that are attached to it."""
    result = []
    for inbound_id, inbound in panel.state.inbounds.items():
        links = panel.state.links.get(inbound_id, {})
        attached = [record for record in records.values() if record.id in links]
        if attached:
            result.append((inbound, attached))
    return result


def _bulk_delete(call: Call) -> Reply:
    keep = bool(call.object().get("keepTraffic"))
    return delete_many(call.panel, read_emails(call), keep_traffic=keep)


def delete_many(panel: "Panel", emails: list[str], *, keep_traffic: bool) -> Reply:
    """Delete clients with one write an inbound."""
    records, reasons = split_known(panel, emails)
    # QUIRK(bulk-keep-traffic-ignored, 3x-ui 3.2.0 to 3.5.0): as in the single call.
    keep_in_step = keep_traffic and panel.version >= (3, 6, 0)
    for inbound, attached in by_inbound(panel, records):
        gone = []
        for record in attached:
            entries = _entries_of(panel, inbound, record)
            if not entries:
                reasons.setdefault(record.email, "Client Not Found In Inbound")
            gone += entries
        if gone:
            remove_entries(panel, inbound, gone, keep_traffic=keep_in_step)
    deleted = 0
    for email, record in records.items():
        if email in reasons:
            continue
        deleted += 1
        if not keep_traffic:
            drop_row(panel.state, email)
        panel.state.delete_record(record)
    return with_skipped({"deleted": deleted}, as_skipped(reasons))


def _entries_of(panel: "Panel", inbound: InboundRow, record: Record) -> list[Any]:
    if panel.version >= BY_EMAIL:
        entries = inbound.settings.find_any_case(record.email)
        return [entry for entry in entries if entry.email == record.email]
    entry = find_entry(panel, inbound, record.fields)
    return [] if entry is None else [entry]


def _bulk_attach(call: Call) -> Reply:
    panel, body = call.panel, call.object()
    attached: list[str] = []
    skipped: list[str] = []
    errors: list[str] = []
    records = []
    for email in read_emails(call):
        record = panel.state.records_by_email.get(email)
        if record is None:
            errors.append(f"{email}: record not found")
        else:
            records.append(record)
    for inbound_id in read_ids(body):
        try:
            inbound = find_inbound(panel, inbound_id)
            new = [r for r in records if not inbound.settings.find_any_case(r.email)]
            skipped += [r.email for r in records if inbound.settings.find_any_case(r.email)]
            clients = [_attached_client(panel, record, inbound) for record in new]
            if clients:
                add_to_inbound(panel, inbound_id, clients)
                attached += [record.email for record in new]
        except Refused as refused:
            errors.append(f"inbound {inbound_id}: {refused.inner}")
    return _three_lists(call, "attached", attached, skipped, errors)


def _attached_client(panel: "Panel", record: Record, inbound: InboundRow) -> Doc:
    client = to_client(record, panel.version)
    client["updated_at"] = panel.clock.now_ms()
    fill_defaults(panel, client, inbound)
    return for_inbound(panel, client, inbound)


def _three_lists(call: Call, name: str, *lists: list[str]) -> Reply:
    """Plain lists of strings, null when empty."""
    del call
    done, skipped, errors = (found or None for found in lists)
    return obj({name: done, "skipped": skipped, "errors": errors})


def _bulk_detach(call: Call) -> Reply:
    panel, body = call.panel, call.object()
    wanted = read_ids(body)
    detached: list[str] = []
    skipped: list[str] = []
    errors: list[str] = []
    records: dict[str, Record] = {}
    for email in read_emails(call):
        record = panel.state.records_by_email.get(email)
        if record is None:
            errors.append(f"{email}: record not found")
        elif not set(panel.state.attachments(record)) & set(wanted):
            skipped.append(email)
        else:
            records[email] = record
            detached.append(email)
    for inbound, attached in by_inbound(panel, records):
        if inbound.id not in wanted:
            continue
        gone = [entry for record in attached for entry in _entries_of(panel, inbound, record)]
        remove_entries(panel, inbound, gone, keep_traffic=True)
    return _three_lists(call, "detached", detached, skipped, errors)


def _delete_all_of_inbound(call: Call) -> Reply:
    inbound = find_inbound(call.panel, call.number("id"))
    emails = [entry.email for entry in inbound.settings.clients if entry.email]
    return delete_many(call.panel, list(dict.fromkeys(emails)), keep_traffic=False)


_HOME = "/panel/api/clients"
ROUTES = (
    Route("POST", f"{_HOME}/bulkCreate", _bulk_create, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkDel", _bulk_delete, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkAttach", _bulk_attach, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkDetach", _bulk_detach, since=FIRST, write=True),
    Route(
        "POST",
        "/panel/api/inbounds/:id/delAllClients",
        _delete_all_of_inbound,
        since=FIRST,
        write=True,
    ),
)
