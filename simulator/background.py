"""What the panel does by itself: the traffic poll with renewal and enforcement.

Runs lazily: before a request is served, the polls that were due by the panel's clock are made
up for. Callers: `app` before each request, `control`.
Not here: periodic resets of inbounds, LDAP, the Telegram bot, sub-panels.
"""

from typing import TYPE_CHECKING

from simulator.clients import number_of
from simulator.gojson import Doc
from simulator.settings import Entry
from simulator.state import InboundRow, TrafficRow

if TYPE_CHECKING:
    from simulator.app import Panel

_DAY_MS = 86_400_000
_GRACE_MS = 20_000


class Background:
    """The jobs of one panel process."""

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel
        self._last_poll_ms = panel.clock.now_ms()

    @property
    def interval_ms(self) -> int:
        """Time between two polls."""
        return 5_000 if self._panel.version >= (3, 0, 0) else 10_000

    def catch_up(self) -> None:
        """Run the poll when it is due, and look after Xray."""
        self._panel.xray.check()
        now = self._panel.clock.now_ms()
        if now - self._last_poll_ms >= self.interval_ms:
            self.run()
        elif now < self._last_poll_ms:
            self._last_poll_ms = now

    def run(self) -> None:
        """Run the poll: renew, then disable what is spent."""
        self._last_poll_ms = self._panel.clock.now_ms()
        if not self._enforces():
            return
        self._renew()
        self._disable_spent()
        self._disable_spent_inbounds()

    def _enforces(self) -> bool:
        # Without Xray, 2.x and 3.6.0 enforce at each attempt to start it; the ones between do not.
        running = self._panel.xray_state == "running"
        return running or not (3, 0, 0) <= self._panel.version < (3, 6, 0)

    def count(self, email: str, up: int, down: int) -> bool:
        """Add what flowed, as one poll would see it: first use, counters, online list."""
        panel = self._panel
        row = panel.state.traffic.get(email)
        if row is None:
            return False
        if row.expiry_ms < 0:
            self._start(row)
        row.up += up
        row.down += down
        row.all_time += up + down
        if up + down > 0:
            row.last_online_ms = panel.clock.now_ms()
        home = panel.state.inbounds.get(row.inbound_id)
        if home is not None:
            home.up += up
            home.down += down
            home.all_time += up + down
        panel.touch()
        return True

    def online(self) -> list[str]:
        """Emails whose counters moved lately."""
        panel = self._panel
        grace = self.interval_ms + (_GRACE_MS if panel.version >= (3, 6, 0) else 0)
        since = panel.clock.now_ms() - grace
        return [row.email for row in panel.state.traffic if row.last_online_ms > since]

    def _holders(self, row: TrafficRow) -> list[tuple[InboundRow, Entry]]:
        """Settings entries of a client: in its row's inbound, from 3.1.0 on in all."""
        state = self._panel.state
        found = []
        for inbound in state.inbounds.values():
            if self._panel.version >= (3, 1, 0) or inbound.id == row.inbound_id:
                entry = inbound.settings.find(row.email)
                if entry is not None:
                    found.append((inbound, entry))
        return found

    def _set_record(self, email: str, **values: object) -> None:
        record = self._panel.state.records_by_email.get(email)
        if record is not None:
            record.set(**values)

    def _start(self, row: TrafficRow) -> None:
        """Turn a duration into a date: the client was used for the first time."""
        now = self._panel.clock.seconds_ms()
        row.expiry_ms = now - row.expiry_ms
        stamped = self._panel.version >= (2, 6, 7)
        for inbound, entry in self._holders(row):
            values: Doc = {"expiryTime": now - number_of(entry.data, "expiryTime")}
            if stamped:
                values["updated_at"] = now
            inbound.settings.change(entry, **values)
            if stamped and self._panel.version < (3, 1, 0):
                self._stamp_neighbours(inbound, now)
        self._set_record(row.email, expiryTime=row.expiry_ms, updatedAt=now)

    @staticmethod
    def _stamp_neighbours(inbound: InboundRow, now: int) -> None:
        # QUIRK(first-use-stamps-all, 3x-ui 2.6.7 to 3.0.2): every client of the inbound gets
        # a new updated_at.
        for entry in inbound.settings.clients:
            entry.change(created_at=entry.data.get("created_at", now), updated_at=now)
        inbound.settings.rewrite()

    def _renew(self) -> None:
        now = self._panel.clock.seconds_ms()
        for row in self._panel.state.traffic:
            if row.reset_days <= 0 or not 0 < row.expiry_ms <= now:
                continue
            while row.expiry_ms < now:
                row.expiry_ms += row.reset_days * _DAY_MS
            row.up = row.down = 0
            row.enable = True
            self._write_renewal(row)

    def _write_renewal(self, row: TrafficRow) -> None:
        values: Doc = {"expiryTime": row.expiry_ms}
        enables = self._panel.version >= (3, 0, 2)
        for index, (inbound, entry) in enumerate(self._holders(row)):
            # QUIRK(renewal-enables-first-only, 3x-ui 3.0.2+): of several inbounds only the first.
            extra = {"enable": True} if enables and index == 0 else {}
            inbound.settings.change(entry, **values, **extra)
        self._set_record(
            row.email, expiryTime=row.expiry_ms, **({"enable": True} if enables else {})
        )
        self._panel.touch()

    def _disable_spent(self) -> None:
        panel = self._panel
        now = panel.clock.seconds_ms()
        for row in panel.state.traffic:
            if not row.enable or not row.is_spent(now):
                continue
            row.enable = False
            panel.touch()
            if panel.version >= (2, 9, 4):
                self._write_disabled(row, now)

    def _write_disabled(self, row: TrafficRow, now: int) -> None:
        values: Doc = {"enable": False, "updated_at": now}
        if (3, 0, 0) <= self._panel.version < (3, 1, 0):
            values |= {"totalGB": row.total, "expiryTime": row.expiry_ms}
        for inbound, entry in self._holders(row):
            inbound.settings.change(entry, **values)
        self._set_record(row.email, enable=False, updatedAt=self._panel.clock.now_ms())

    def _disable_spent_inbounds(self) -> None:
        now = self._panel.clock.seconds_ms()
        for inbound in self._panel.state.inbounds.values():
            over = 0 < inbound.total <= inbound.up + inbound.down
            if inbound.enable and (over or 0 < inbound.expiry_ms <= now):
                inbound.enable = False
                self._panel.touch()
