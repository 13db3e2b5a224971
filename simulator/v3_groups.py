"""Groups of clients (3.2.0+).

Callers: `app` collects `ROUTES`. Not here: the group as a field of a client (`v3_clients`).
"""

from simulator.clients import list_of, text_of
from simulator.state import Record
from simulator.wire import Call, Reply, Route, obj, refuse

FIRST = (3, 2, 0)


def _members(call: Call, name: str) -> list[Record]:
    return [r for r in call.panel.state.records.values() if r.fields.get("group") == name]


def _text(call: Call, name: str) -> str:
    return text_of(call.object(), name).strip()


def _list(call: Call) -> Reply:
    used = (str(r.fields.get("group") or "") for r in call.panel.state.records.values())
    shown = []
    for name in sorted({*call.panel.state.groups, *(name for name in used if name)}):
        rows = [call.panel.state.traffic.get(r.email) for r in _members(call, name)]
        up = sum(row.up for row in rows if row)
        down = sum(row.down for row in rows if row)
        shown.append(
            {
                "name": name,
                "clientCount": len(rows),
                "trafficUsed": up + down,
                "up": up,
                "down": down,
            }
        )
    return obj(shown)


def _emails(call: Call) -> Reply:
    return obj([record.email for record in _members(call, call.params["name"])])


def _create(call: Call) -> Reply:
    name = _text(call, "name")
    if not name:
        raise refuse("group name is required")
    if name in call.panel.state.groups or _members(call, name):
        raise refuse("group already exists")
    call.panel.state.groups.append(name)
    return obj(None)


def _move(call: Call, records: list[Record], group: str) -> Reply:
    """Write the group into records and settings, without any lock, as the panel does."""
    for record in records:
        record.set(group=group, updatedAt=call.panel.clock.now_ms())
        for inbound in call.panel.state.inbounds.values():
            entry = inbound.settings.find(record.email)
            if entry is not None:
                data = {k: v for k, v in entry.data.items() if k != "group"}
                inbound.settings.replace(entry, data | ({"group": group} if group else {}))
    return obj({"affected": len(records)})


def _rename(call: Call) -> Reply:
    old, new = _text(call, "oldName"), _text(call, "newName")
    if not new:
        raise refuse("group name is required")
    groups = call.panel.state.groups
    call.panel.state.groups = [new if name == old else name for name in groups]
    return _move(call, _members(call, old), new)


def _delete(call: Call) -> Reply:
    name = _text(call, "name")
    call.panel.state.groups = [known for known in call.panel.state.groups if known != name]
    return _move(call, _members(call, name), "")


def _chosen(call: Call) -> list[Record]:
    known = call.panel.state.records_by_email
    emails = list_of(call.object(), "emails", str)
    return [known[email] for email in emails if email in known]


def _add(call: Call) -> Reply:
    return _move(call, _chosen(call), _text(call, "group"))


def _remove(call: Call) -> Reply:
    return _move(call, _chosen(call), "")


_HOME = "/panel/api/clients/groups"
ROUTES = (
    Route("GET", _HOME, _list, since=FIRST),
    Route("GET", f"{_HOME}/:name/emails", _emails, since=FIRST),
    Route("POST", f"{_HOME}/create", _create, since=FIRST, write=True),
    Route("POST", f"{_HOME}/rename", _rename, since=FIRST, write=True),
    Route("POST", f"{_HOME}/delete", _delete, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkAdd", _add, since=FIRST, write=True),
    Route("POST", f"{_HOME}/bulkRemove", _remove, since=FIRST, write=True),
)
