"""The `clients` table of 3.1.0 and later, and how inbounds' settings are folded into it.

Callers: `inbounds`, the `v3_*` modules, `background`, `upgrade`.
Not here: endpoints.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from simulator.clients import known_fields, text_of, typed
from simulator.gojson import Doc
from simulator.settings import Entry
from simulator.state import InboundRow, Record
from simulator.version import Version
from simulator.wire import Refused

if TYPE_CHECKING:
    from simulator.app import Panel

# Written to the record only when the incoming value is not empty (3.2.0+).
_STICKY = ("uuid", "password", "auth", "security")
_STICKY_LATER = ("secret", "adTag", "privateKey", "publicKey", "allowedIPs", "group")
_ALWAYS = (
    "flow",
    "preSharedKey",
    "keepAlive",
    "subId",
    "limitIp",
    "totalGB",
    "expiryTime",
    "enable",
    "tgId",
    "comment",
    "reset",
)
_RENAMED = {"id": "uuid", "created_at": "createdAt", "updated_at": "updatedAt"}
_BACK = {new: old for old, new in _RENAMED.items()}


def find_email_clash(panel: "Panel", clients: Iterable[Doc]) -> str | None:
    """The first email that is already taken, in the payload or in any inbound.

    Empty emails are skipped. From 3.0.0 on equal, non-empty subIds make it the same person.

    Raises:
        Refused: a stored client without an email stops the check (up to 3.0.1).
    """
    state, version = panel.state, panel.version
    if version < (3, 0, 2) and any(ib.settings.has_nameless for ib in state.inbounds.values()):
        # QUIRK(client-without-email-poisons, 3x-ui up to 3.0.1): the list of all emails is read
        # into strings, and one missing email fails it for every inbound.
        message = (
            "sql: Scan error on column index 0, name \"JSON_EXTRACT(client.value, '$.email')\": "
            "converting NULL to string is unsupported"
        )
        raise Refused(message)
    seen: dict[str, str] = {}
    for client in clients:
        email, sub_id = text_of(client, "email"), text_of(client, "subId")
        if not email:
            continue
        key = email if version < (2, 4, 4) else email.lower()
        if key in seen:
            if version < (3, 0, 0) or not sub_id or seen[key] != sub_id:
                return email
            continue
        seen[key] = sub_id
        if _is_taken(panel, email, sub_id):
            return email
    return None


def _is_taken(panel: "Panel", email: str, sub_id: str) -> bool:
    if panel.version < (2, 4, 4):
        inbounds = panel.state.inbounds.values()
        return any(inbound.settings.find(email) is not None for inbound in inbounds)
    owners = [owner for _, owner in panel.state.find_clients(email)]
    if panel.version < (3, 0, 0):
        return bool(owners)
    return any(not sub_id or owner != sub_id for owner in owners)


def to_record(client: Doc) -> dict[str, object]:
    """A typed client as a record's fields (without the row id)."""
    fields = {_RENAMED.get(name, name): value for name, value in client.items()}
    allowed = fields.get("allowedIPs")
    if "allowedIPs" in fields:
        fields["allowedIPs"] = ",".join(allowed) if isinstance(allowed, list) else ""
    return fields


def to_client(record: Record, version: Version) -> Doc:
    """A record as a typed client."""
    client: Doc = {}
    for name in known_fields(version):
        client[name] = record.fields.get(_RENAMED.get(name, name))
    allowed = client.get("allowedIPs")
    if "allowedIPs" in client:
        parts = str(allowed or "").split(",")
        client["allowedIPs"] = [part.strip() for part in parts if part.strip()] or None
    return client


def view_record(record: Record) -> dict[str, object]:
    """A record as answers show it."""
    view: dict[str, object] = {"id": record.id, **record.fields}
    view["reverse"] = record.fields.get("reverse") or None
    return view


def merge(record: Record, incoming: dict[str, object], version: Version) -> None:
    """Fold incoming fields into a record."""
    fields, before = record.fields, dict(record.fields)
    sticky: tuple[str, ...] = _STICKY + _STICKY_LATER
    always: tuple[str, ...] = _ALWAYS
    if version < (3, 2, 0):
        # QUIRK(save-overwrites-credentials, 3x-ui 3.1.0): one inbound's empty uuid or password
        # wipes what another inbound needs.
        sticky, always = (), _ALWAYS + _STICKY
    if (3, 2, 0) <= version < (3, 2, 5):
        sticky, always = tuple(name for name in sticky if name != "group"), (*always, "group")
    for name in always:
        if name in incoming:
            fields[name] = incoming[name]
    for name in sticky:
        if incoming.get(name):
            fields[name] = incoming[name]
    if version < (3, 2, 0) or incoming.get("reverse"):
        fields["reverse"] = incoming.get("reverse")
    created, known = _stamp(incoming, "createdAt"), _stamp(fields, "createdAt")
    if created > 0 and (known == 0 or created < known):
        fields["createdAt"] = created
    fields["updatedAt"] = max(_stamp(incoming, "updatedAt"), _stamp(fields, "updatedAt"))
    if fields != before:
        record.revision += 1


def _stamp(fields: dict[str, object], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def sync_inbound(panel: "Panel", inbound: InboundRow) -> None:
    """Fold the settings of one inbound into the table and rewrite its attachments (3.1.0+).

    Raises:
        Refused: the same client twice in the settings (3.1.0).
    """
    if panel.version < (3, 1, 0):
        return
    links: dict[int, str] = {}
    created: list[tuple[Entry, Record]] = []
    fresh: set[str] = set()
    for entry in inbound.settings.clients:
        email = entry.email.strip()
        if not email:
            continue
        record = panel.state.records_by_email.get(email)
        if record is None:
            record = _create_record(panel, email, entry)
            created.append((entry, record))
            fresh.add(email)
        elif email not in fresh:
            _fold(panel, entry, record)
        if record.id in links:
            if panel.version < (3, 2, 0):
                message = (
                    "UNIQUE constraint failed: client_inbounds.client_id, "
                    "client_inbounds.inbound_id"
                )
                raise Refused(message)
            continue
        links[record.id] = text_of(entry.data, "flow")
    # Rewritten links come last: the list shows attachments in that order.
    panel.state.links.pop(inbound.id, None)
    panel.state.links[inbound.id] = links


def _create_record(panel: "Panel", email: str, entry: Entry) -> Record:
    fields = to_record(typed(entry.data, panel.version))
    now = panel.clock.now_ms()
    fields["email"] = email
    fields["createdAt"] = fields["createdAt"] or now
    fields["updatedAt"] = fields["updatedAt"] or now
    # QUIRK(record-created-enabled, 3x-ui 3.1.0+): the column's default replaces a stored false,
    # so a disabled client's record starts enabled until the inbound is written again.
    fields["enable"] = True
    return panel.state.add_record(fields)


def _fold(panel: "Panel", entry: Entry, record: Record) -> None:
    if entry.synced == (record.id, record.revision):
        return
    merge(record, to_record(typed(entry.data, panel.version)), panel.version)
    entry.synced = (record.id, record.revision)


def compact_orphans(panel: "Panel", inbound: InboundRow) -> None:
    """Remove settings entries that have an email but no record."""
    known = panel.state.records_by_email
    entries = inbound.settings.clients
    named = [entry for entry in entries if entry.email]
    if any(entry.email not in known for entry in named):
        inbound.settings.keep(lambda entry: not entry.email or entry.email in known)


def effective_flow(panel: "Panel", record: Record) -> str:
    """The flow of the lowest inbound that has one (3.2.7+); before, the record's own."""
    if panel.version < (3, 2, 7):
        return str(record.fields.get("flow") or "")
    for inbound_id in panel.state.attachments(record):
        flow = panel.state.links[inbound_id][record.id]
        if flow:
            return flow
    return ""
