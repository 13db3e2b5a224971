"""Members of a batch inside a request's body: who they are, and a body with fewer of them.

Callers: `fault_kinds`. Not here: answers.
Batches are `settings.clients` of addClient, the array of bulkCreate, and lists of `emails`.
"""

import json
from collections.abc import Callable
from typing import Any

from simulator.clients import key_name, text_of, typed
from simulator.rows import add_row, drop_row
from simulator.wire import Call


def _email_of(member: Any) -> str:  # noqa: ANN401 - a JSON value
    if isinstance(member, str):
        return member
    if isinstance(member, dict):
        client = member.get("client", member)
        return str(client.get("email") or "") if isinstance(client, dict) else ""
    return ""


def _change(body: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    try:
        doc = json.loads(body)
    except ValueError:
        return body
    if isinstance(doc, list):
        return json.dumps(change(doc)).encode()
    if isinstance(doc, dict) and isinstance(doc.get("emails"), list):
        doc["emails"] = change(doc["emails"])
    elif isinstance(doc, dict) and isinstance(doc.get("settings"), str):
        settings = json.loads(doc["settings"] or "{}")
        if isinstance(settings, dict) and isinstance(settings.get("clients"), list):
            settings["clients"] = change(settings["clients"])
            doc["settings"] = json.dumps(settings)
    elif isinstance(doc, dict) and isinstance(doc.get("inboundIds"), list):
        doc["inboundIds"] = change(doc["inboundIds"])
    return json.dumps(doc).encode()


def first(body: bytes, count: int) -> bytes:
    """The body with only its first members."""
    return _change(body, lambda members: members[:count])


def without(body: bytes, emails: set[str]) -> bytes:
    """The body without some members."""
    return _change(body, lambda members: [m for m in members if _email_of(m) not in emails])


def named(body: bytes) -> set[str]:
    """Emails of the members."""
    found: set[str] = set()

    def collect(members: list[Any]) -> list[Any]:
        found.update(_email_of(member) for member in members)
        return members

    _change(body, collect)
    return found


def deleted_email(call: Call) -> str:
    """Whom a single delete is about; v2 names clients by credential."""
    email = call.params.get("email")
    if email is not None:
        return email
    inbound = call.panel.state.inbounds.get(int(call.params.get("id") or 0))
    wanted = call.params.get("clientId")
    if inbound is None or wanted is None:
        return ""
    name = key_name(inbound.protocol)
    entries = inbound.settings.clients
    return next((e.email for e in entries if text_of(e.data, name) == wanted), "")


def commit_rows_only(call: Call) -> None:
    """Do what a v2 panel has already done when saving the inbound fails (up to 3.0.2).

    addClient has made traffic rows, delClient has removed one; later versions roll back.
    """
    panel = call.panel
    route = panel.find_route(call)
    if route is None or panel.version >= (3, 1, 0):
        return
    if route.path.endswith("/addClient"):
        form = call.form()
        clients = json.loads(form.get("settings") or "{}").get("clients") or []
        for client in clients:
            if text_of(client, "email"):
                add_row(panel, int(form.get("id") or 0), typed(client, panel.version))
    elif "/delClient" in route.path:
        email = deleted_email(call)
        if email:
            drop_row(panel.state, email)
    panel.touch()
