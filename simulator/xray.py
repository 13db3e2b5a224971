"""Whom a panel's running Xray serves, as far as that differs from what the panel shows; its restart.

Told by the client writes (`v2`, `v3_apply`, `v3_bulk_changes`) and by the poll (`background`). `app`
collects `ROUTES`. Not here: traffic, what stands in Xray's configuration beside clients.
"""

from typing import TYPE_CHECKING

from simulator.clients import text_of
from simulator.gojson import Doc
from simulator.state import InboundRow
from simulator.wire import Call, Reply, Route

if TYPE_CHECKING:
    from simulator.app import Panel

_AES = frozenset({"aes-128-gcm", "aes-256-gcm"})
_CREDENTIALS = ("id", "password", "auth", "flow")
_CHECK_MS = 30_000
"""A panel looks this often whether it has to restart Xray."""


class Xray:
    """The Xray of one panel.

    `restarts`: how often it was restarted, by whomever.
    """

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel
        self._lost: set[tuple[int, str]] = set()
        self._revived: set[tuple[int, str]] = set()
        self._started_with: object = None
        self._due_ms: int | None = None
        self.restarts = 0

    def told(self, inbound: InboundRow, client: Doc) -> None:
        """Take a client that was added, edited or switched: the old one out, the new one in."""
        place = inbound.id, text_of(client, "email")
        self._lost.discard(place)
        # QUIRK(edited-shadowsocks-dropped, 3x-ui 2.4.7 to 3.4.1): some ciphers' clients are handed
        # over as a kind of account that Xray refuses. The panel notes that a restart may be due.
        if client.get("enable") and self._is_refused(inbound):
            self._lost.add(place)
            self._due_ms = self._due_ms or self._panel.clock.now_ms() + _CHECK_MS

    def unserved(self) -> list[list[object]]:
        """Clients that are there and enabled, and that Xray does not serve: inbound and email."""
        clients = self._panel.state.inbounds
        return [
            [number, email]
            for number, email in sorted(self._lost)
            if number in clients
            and (entry := clients[number].settings.find(email)) is not None
            and entry.data.get("enable")
        ]

    def lingering(self) -> list[list[object]]:
        """Clients that are off or gone, and that Xray serves all the same: inbound and email."""
        return [
            [number, email] for number, email in sorted(self._revived) if not self._is_on(email)
        ]

    def check(self) -> None:
        """Restart it when that may be due and what it would be started with has changed."""
        if self._due_ms is None or self._panel.clock.now_ms() < self._due_ms:
            return
        self._due_ms = None
        if self._configuration() != self._started_with:
            self.restart()

    def restart(self) -> None:
        """Start it anew: it reads all clients."""
        self.restarts += 1
        self._lost.clear()
        self._due_ms = None
        self._started_with = self._configuration()
        # QUIRK(revived-lingers, 3x-ui 3.1.0+): Xray is started from records and rows; a client whose
        # entry in the inbound is disabled is not taken out of it when they are switched off.
        self._revived = {
            (inbound.id, entry.email)
            for inbound in self._panel.state.inbounds.values()
            for entry in inbound.settings.clients
            if not entry.data.get("enable") and self._is_on(entry.email)
        }

    def _is_on(self, email: str) -> bool:
        state = self._panel.state
        record, row = state.records_by_email.get(email), state.traffic.get(email)
        return record is not None and bool(record.fields["enable"]) and (row is None or row.enable)

    def _is_refused(self, inbound: InboundRow) -> bool:
        version, method = self._panel.version, str(inbound.settings.get("method") or "")
        if inbound.protocol != "shadowsocks" or not (2, 4, 7) <= version < (3, 4, 2):
            return False
        if version < (2, 9, 3):
            return method.startswith("2022-")
        known_again = version >= (3, 1, 0) and method == "aes-256-gcm"
        return method.startswith("2022-") or (method in _AES and not known_again)

    def _configuration(self) -> object:
        return [
            (inbound.id, entry.email, *(text_of(entry.data, name) for name in _CREDENTIALS))
            for inbound in self._panel.state.inbounds.values()
            if inbound.enable
            for entry in inbound.settings.clients
            if entry.data.get("enable")
        ]


def _restart(call: Call) -> Reply:
    panel = call.panel
    if panel.xray_state == "error":
        return call.failed("wrong", "fork/exec bin/xray-linux-amd64: no such file or directory")
    panel.xray_state = "running"
    panel.xray.restart()
    return call.done_plain("Xray has been successfully relaunched.")


ROUTES = (
    Route(
        "POST", "/server/restartXrayService", _restart, until=(2, 6, 8), group="page", write=True
    ),
    Route("POST", "/panel/api/server/restartXrayService", _restart, since=(2, 7, 0), write=True),
)
