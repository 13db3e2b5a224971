"""Traffic rows: how each version inserts, updates and shows them.

Callers: every module that writes clients, and the reads. Not here: enforcement (`background`).
"""

from typing import TYPE_CHECKING

from simulator.clients import number_of, text_of
from simulator.gojson import Doc
from simulator.state import State, TrafficRow
from simulator.version import Version

if TYPE_CHECKING:
    from simulator.app import Panel


def add_row(panel: "Panel", inbound_id: int, client: Doc) -> None:
    """Insert the row of a new client; what happens to an existing one differs by version."""
    email = text_of(client, "email")
    row = panel.state.traffic.get(email)
    # QUIRK(row-enable-always-true, 3x-ui up to 2.8.0): the row ignores the client's enable.
    enable = client.get("enable") is True or panel.version < (2, 8, 1)
    if row is None:
        panel.state.traffic.add(
            TrafficRow(
                id=0,
                inbound_id=inbound_id,
                email=email,
                enable=enable,
                total=number_of(client, "totalGB"),
                expiry_ms=number_of(client, "expiryTime"),
                reset_days=number_of(client, "reset"),
            )
        )
    elif panel.version >= (3, 6, 0):
        # QUIRK(stale-row, 3x-ui up to 3.5.0): a surviving row is inherited as it is; 3.6.0
        # refreshes all but the counters.
        row.inbound_id = inbound_id
        _copy_limits(row, client)
        row.enable = enable


def update_row(panel: "Panel", email: str, client: Doc) -> None:
    """Follow an update of a client, a new email included. Counters stay."""
    row = panel.state.traffic.get(email)
    if row is None:
        return
    row.enable = client.get("enable") is True or panel.version < (2, 8, 1)
    _copy_limits(row, client)
    if text_of(client, "email") != email:
        panel.state.traffic.rename(row, text_of(client, "email"))


def _copy_limits(row: TrafficRow, client: Doc) -> None:
    row.total = number_of(client, "totalGB")
    row.expiry_ms = number_of(client, "expiryTime")
    row.reset_days = number_of(client, "reset")


def drop_row(state: State, email: str) -> None:
    """Delete the row and the IP log of an email."""
    state.traffic.delete(email)
    state.ips.pop(email, None)


def rename_ips(state: State, old: str, new: str) -> None:
    """Let the IP log follow a rename."""
    if old in state.ips:
        state.ips[new] = state.ips.pop(old)


def reset_row(row: TrafficRow) -> None:
    """Zero the counters and enable the row."""
    row.up = row.down = 0
    row.enable = True


def view_row(row: TrafficRow, version: Version, owner: Doc | None = None) -> dict[str, object]:
    """A row as answers show it; `owner` is the client whose uuid and subId are shown."""
    view: dict[str, object] = {
        "id": row.id,
        "inboundId": row.inbound_id,
        "enable": row.enable,
        "email": row.email,
    }
    if version >= (2, 8, 3):
        view["uuid"] = text_of(owner, "id") if owner else ""
        view["subId"] = text_of(owner, "subId") if owner else ""
    view |= {"up": row.up, "down": row.down}
    if (2, 6, 7) <= version <= (3, 0, 2):
        view["allTime"] = row.all_time
    view |= {"expiryTime": row.expiry_ms, "total": row.total, "reset": row.reset_days}
    if version >= (2, 6, 8):
        view["lastOnline"] = row.last_online_ms
    return view
