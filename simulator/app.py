"""A panel: its parts put together, and the dispatch of a request to its endpoint.

Callers: `server`, `__main__`, tests (`create_panel`). Not here: HTTP itself (`gate`), faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator import (
    inbounds,
    pages,
    status,
    v2,
    v2_traffic,
    v3_bulk,
    v3_bulk_changes,
    v3_clients,
    v3_groups,
    v3_reads,
    v3_traffic,
    xray,
)
from simulator.auth import Auth, default_session_minutes
from simulator.background import Background
from simulator.control import control_app
from simulator.faults import FaultBook
from simulator.gate import Gate, LogLine
from simulator.state import ApiToken, Dice, PanelClock, State
from simulator.trail import Trail
from simulator.upgrade import upgrade_state
from simulator.version import Version, parse_version
from simulator.wire import Call, Panic, Refused, Reply, Route, Router, empty, redirect
from simulator.xray import Xray

_ROUTES: tuple[Route, ...] = (
    *pages.ROUTES,
    *inbounds.ROUTES,
    *status.ROUTES,
    *v2.ROUTES,
    *v2_traffic.ROUTES,
    *v3_clients.ROUTES,
    *v3_reads.ROUTES,
    *v3_bulk.ROUTES,
    *v3_bulk_changes.ROUTES,
    *v3_traffic.ROUTES,
    *v3_groups.ROUTES,
    *xray.ROUTES,
)
_NO_ROUTE = b"404 page not found"


@dataclass(frozen=True)
class PanelOptions:
    """How a panel is set up.

    `token` is a bearer token that 3.0.0+ accepts from the start; `totp_secret` turns two-factor
    codes on (2.6.0+), `login_secret` the old secret field (up to 2.5.8). `xray_state` is
    `running`, `stop` or `error`; without Xray some versions do not enforce limits. `front_end`
    says whether the web pages of 3.x were built in. `start_ms` sets the panel's clock.
    """

    base_path: str = "/"
    username: str = "admin"
    password: str = "admin"  # noqa: S105 - the panel's own default
    token: str | None = None
    totp_secret: str | None = None
    login_secret: str | None = None
    xray_state: str = "running"
    language: str = "en-US"
    session_minutes: int | None = None
    start_ms: int | None = None
    front_end: bool = True


class Panel:
    """One running panel. `app` is its port, `control` the port of its damages."""

    def __init__(self, version: Version, seed: int, options: PanelOptions) -> None:
        self.version = version
        self.options = options
        self.dice = Dice(seed)
        self.clock = PanelClock(options.start_ms)
        self.state = self._new_state()
        self.auth = Auth(self)
        self.faults = FaultBook(self)
        self.log: list[LogLine] = []
        self.trail = Trail()
        self.xray_state = options.xray_state
        self.is_tls = False
        self.forced_language = ""
        self.cost_us = 0
        self.status_asked_ms: int | None = None
        self.started_ms = self.clock.now_ms()
        self.xray = Xray(self)
        self.background = Background(self)
        self._snapshots: dict[int, tuple[Version, State]] = {}
        self._revision = 0
        self._cache: dict[str, tuple[int, str]] = {}
        self._router = Router(_ROUTES, version)
        self._give_first_token()
        self.app = Gate(self)
        self.control = control_app(self)

    @property
    def session_minutes(self) -> int:
        """Life of a session's cookie."""
        return self.options.session_minutes or default_session_minutes(self.version)

    def touch(self) -> None:
        """Note that the database changed."""
        self._revision += 1

    def cached(self, name: str, make: Callable[[], str]) -> str:
        """A text that stays the same until the database changes."""
        known = self._cache.get(name)
        if known is None or known[0] != self._revision:
            known = self._revision, make()
            self._cache[name] = known
        return known[1]

    def find_route(self, call: Call) -> Route | None:
        """The endpoint of a request; fills in its path parameters."""
        path = self.inner_path(call.path)
        found = None if path is None else self._router.match(call.method, path)
        if found is None:
            return None
        call.params = found[1]
        return found[0]

    def inner_path(self, path: str) -> str | None:
        """The path below the base path, or None outside it."""
        base = self.options.base_path
        return path[len(base) - 1 :] if path.startswith(base) else None

    def answer(self, call: Call) -> Reply:
        """Serve a request: route, session, CSRF, handler."""
        route = self.find_route(call)
        if route is None:
            return self._no_route(call)
        refusal = self._check_caller(call, route)
        if refusal is not None:
            return refusal
        if not route.write:
            return self._handle(route, call)
        try:
            return self.trail.follow(self, call, lambda: self._handle(route, call))
        finally:
            self.touch()

    def _handle(self, route: Route, call: Call) -> Reply:
        try:
            return route.handler(call)
        except Refused as refused:
            return call.failed(refused.outer or route.fail, refused.inner)
        except Panic:
            return self._panic(call)

    def _check_caller(self, call: Call, route: Route) -> Reply | None:
        session = self.auth.read(call)
        if route.group == "open":
            public = route.method == "GET" or self.auth.csrf_is_valid(call, session)
            return None if public else empty(403)
        call.is_bearer = route.group == "api" and self.auth.bearer_is_valid(call)
        if not call.is_bearer and not self.auth.is_logged_in(session):
            return self.auth.stranger(call, route.group)
        return None if self.auth.csrf_is_valid(call, session) else empty(403)

    def _no_route(self, call: Call) -> Reply:
        path = self.inner_path(call.path)
        if path is None:
            if call.path + "/" == self.options.base_path:
                return redirect(301 if call.method == "GET" else 307, call.path + "/", call.method)
        else:
            other = self._router.slash_redirect(call.method, path)
            if other is not None:
                location = self.options.base_path[:-1] + other
                return redirect(301 if call.method == "GET" else 307, location, call.method)
        # QUIRK(absent-is-empty-200, 3x-ui 2.6.0 to 2.8.3): with gzip allowed, absent means 200.
        if "gzip" in call.headers.get("accept-encoding", ""):
            return empty(200 if (2, 6, 0) <= self.version <= (2, 8, 3) else 404)
        # The web framework's own words, until 2.8.5 gave them up for an empty answer. Compression
        # has closed the answer before they could be written.
        return empty(404) if self.version >= (2, 8, 5) else Reply(404, _NO_ROUTE, "text/plain")

    def _panic(self, call: Call) -> Reply:
        # QUIRK(panic-is-empty-200, 3x-ui up to 2.5.8 and 2.9.0+): with gzip a crash is a 200.
        compressed = "gzip" in call.headers.get("accept-encoding", "")
        shows_500 = (2, 6, 0) <= self.version < (2, 9, 0)
        return empty(500 if shows_500 or not compressed else 200)

    def add_token(self, name: str, token: str) -> ApiToken:
        """Store a bearer token."""
        self.state.last_token_id += 1
        created_s = self.clock.now_ms() // 1000
        made = ApiToken(self.state.last_token_id, name, token, created_s)
        self.state.tokens.append(made)
        return made

    def set_credentials(self, username: str, password: str) -> None:
        """Change the user; 3.0.2+ ends all sessions."""
        self.state.username, self.state.password = username, password
        self.state.login_epoch += 1

    def restart(self) -> None:
        """Restart the panel's process: limiter and status are forgotten, sessions stay."""
        self.auth.restart()
        self.status_asked_ms = None
        self.started_ms = self.clock.now_ms()
        self.xray.restart()
        self.background = Background(self)

    def wipe(self, *, keep_guid: bool = False) -> None:
        """Start over with a fresh database: all sessions and tokens die."""
        guid = self.state.guid
        self.state = self._new_state()
        if keep_guid:
            self.state.guid = guid
        self._give_first_token()
        self.restart()
        self.touch()

    def upgrade(self, version: str) -> None:
        """Put a later release on the same database, as its installer does.

        Raises:
            ValueError: an unknown version, or an older one.
        """
        old, new = self.version, parse_version(version)
        if new < old:
            message = f"a panel of {old} cannot go back to {new}"
            raise ValueError(message)
        self.version = new
        self._router = Router(_ROUTES, new)
        upgrade_state(self, old)
        self.restart()
        self.touch()

    def snapshot(self) -> int:
        """Make a backup; give its number."""
        number = len(self._snapshots) + 1
        self._snapshots[number] = self.version, self.state.copy()
        return number

    def restore(self, number: int) -> None:
        """Put a backup back, with what the present version does to an older one.

        Raises:
            KeyError: no such backup.
            ValueError: the backup is of a later version.
        """
        version, state = self._snapshots[number]
        if version > self.version:
            message = f"a database of {version} cannot be read by {self.version}"
            raise ValueError(message)
        self.state = state.copy()
        if version != self.version:
            upgrade_state(self, version)
        self.restart()
        self.touch()

    def view(self) -> dict[str, Any]:
        """The panel as the control port shows it."""
        from simulator.control import view_panel  # noqa: PLC0415 - control needs this module

        return view_panel(self)

    def _new_state(self) -> State:
        return State(
            secret=self.dice.text(32),
            guid=self.dice.uuid(),
            username=self.options.username,
            password=self.options.password,
        )

    def _give_first_token(self) -> None:
        if self.options.token is not None and self.version >= (3, 0, 0):
            self.add_token("install", self.options.token)


def create_panel(version: str, *, seed: int = 0, options: PanelOptions | None = None) -> Panel:
    """Make a panel of a version, with an empty database.

    Args:
        version: such as `2.9.4`; every release from 2.3.15 to 3.6.0.
        seed: of everything that the panel makes up.
        options: credentials and circumstances.

    Raises:
        ValueError: the version is not simulated.
    """
    chosen = options or PanelOptions()
    base = "/" + chosen.base_path.strip("/") + "/"
    values = {**chosen.__dict__, "base_path": base.replace("//", "/")}
    return Panel(parse_version(version), seed, PanelOptions(**values))
