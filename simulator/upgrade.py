"""What another release does to a database at its first start.

Callers: `app` (upgrade, restore of an older backup). Not here: the restart itself.
"""

from typing import TYPE_CHECKING

from simulator.clients import text_of
from simulator.gojson import Doc
from simulator.settings import Entry
from simulator.v3_records import sync_inbound
from simulator.version import Version

if TYPE_CHECKING:
    from simulator.app import Panel


def upgrade_state(panel: "Panel", old: Version) -> None:
    """Migrate the database from an older version to the panel's."""
    new = panel.version
    if old < (3, 0, 2) <= new:
        # The session's payload changed: cookies of before hold a user, not an id.
        panel.auth.drop_sessions()
    if old < (3, 0, 0) <= new and panel.options.token is not None:
        panel.add_token("install", panel.options.token)
    for inbound in panel.state.inbounds.values():
        _migrate_clients(panel, inbound.settings.clients)
        if inbound.settings.doc is not None and inbound.settings.entries is not None:
            inbound.settings.reload()
        if inbound.protocol == "hysteria2" and new >= (3, 2, 0):
            inbound.protocol = "hysteria"
    if old < (3, 1, 0) <= new:
        _build_table(panel)


def _migrate_clients(panel: "Panel", entries: list[Entry]) -> None:
    now = panel.clock.seconds_ms()
    for entry in entries:
        data: Doc = dict(entry.data)
        data["email"] = text_of(data, "email")
        if isinstance(data.get("tgId"), str):
            data["tgId"] = int(data["tgId"]) if data["tgId"].lstrip("-").isdigit() else 0
        if panel.version >= (2, 6, 7):
            data["created_at"] = data.get("created_at") or now
            data["updated_at"] = now
        if panel.version >= (3, 1, 0) and not text_of(data, "subId"):
            data["subId"] = panel.dice.text(16)
        entry.replace(data)


def _build_table(panel: "Panel") -> None:
    # QUIRK(upgrade-enables-records, 3x-ui 3.1.0+): the new table's column defaults to enabled,
    # and a stored false is lost; settings and traffic rows keep it.
    for inbound in panel.state.inbounds.values():
        known = {e.email: e for e in inbound.settings.clients if e.email}
        before = {
            email: dict(panel.state.records_by_email[email].fields)
            for email in known
            if email in panel.state.records_by_email
        }
        sync_inbound(panel, inbound)
        for email, fields in before.items():
            panel.state.records_by_email[email].set(enable=fields["enable"])
