"""A panel as a function from request to answer, for rules that no real network can produce on demand.

Used with httpx's mock transport. It knows just enough of logging in to let a session through; what it
answers to everything else, a test scripts. Behaviour of whole versions: the simulator, in `contract`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import httpx

from controller.panels.api.session import PanelApi
from desired_state.model.ids import NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls

START = datetime(2026, 11, 2, 12, 0, 3, tzinfo=UTC)
URL = "http://127.0.0.1:2053/base/"
FORM = Credentials(username="admin", password="pw-of-nl-1")
TOKEN = Credentials(token="T" * 48)

Answer = httpx.Response | Exception
Handler = Callable[[httpx.Request], "Answer"]


class StoodClock:
    """Time that moves only while somebody sleeps."""

    def __init__(self, now: datetime = START) -> None:
        self.start = now
        self.elapsed_s = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed_s += seconds


def envelope(obj: object = None, *, success: bool = True, msg: str = "") -> httpx.Response:
    return httpx.Response(200, json={"success": success, "msg": msg, "obj": obj})


def html() -> httpx.Response:
    return httpx.Response(200, html="<!DOCTYPE html><html><body>log in</body></html>")


def refused() -> httpx.Response:
    return envelope(success=False, msg="Invalid username or password or two-factor code.")


@dataclass
class ScriptedPanel:
    """A panel of one version. `answers` script paths below the base path; a list is used up."""

    version: str = "3.2.8"
    clock: StoodClock = field(default_factory=StoodClock)
    answers: dict[str, Answer | Handler | list["Answer | Handler"]] = field(default_factory=dict)
    second_factor: bool = False
    accepts: Callable[[Mapping[str, str]], bool] = lambda form: form["password"] == FORM.password
    token: str | None = TOKEN.token
    page: bool = True
    ahead: timedelta = timedelta()
    requests: list[httpx.Request] = field(default_factory=list)
    session: int = 0
    csrf: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/base/")
        result = self._scripted(path, request)
        if result is None:
            result = self._answer(path, request)
        if isinstance(result, Exception):
            raise result
        date = self.clock.now() + self.ahead
        result.headers.setdefault("Date", format_datetime(date, usegmt=True))
        return result

    @property
    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/base/") for request in self.requests]

    @property
    def logins(self) -> int:
        return self.paths.count("login")

    def api(self, credentials: Credentials = FORM, **options: object) -> PanelApi:
        target = NodeTarget(NodeName("nl-1"), URL, credentials, Tls(), Mode.ENFORCE)
        transport = httpx.MockTransport(self)
        return PanelApi(target, clock=self.clock, transport=transport, **options)  # type: ignore[arg-type]

    def expire(self) -> None:
        """Make every session given so far worthless."""
        self.session += 1

    def is_logged_in(self, request: httpx.Request) -> bool:
        bearer = request.headers.get("Authorization")
        if bearer is not None and self.token is not None and bearer == f"Bearer {self.token}":
            return True
        return f"3x-ui=user-{self.session}" in request.headers.get("Cookie", "")

    def _parsed(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    def _scripted(self, path: str, request: httpx.Request) -> Answer | None:
        answer = self.answers.get(path)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        return answer(request) if callable(answer) else answer

    def _answer(self, path: str, request: httpx.Request) -> httpx.Response:
        if path.startswith("panel/"):
            return self._inside(path, request)
        public = {
            "csrf-token": self._csrf,
            "getTwoFactorEnable": self._two_factor,
            "getSecretStatus": self._secret_status,
            "login": self._login,
            "": self._page,
        }
        return public[path](request) if path in public else httpx.Response(404)

    def _inside(self, path: str, request: httpx.Request) -> httpx.Response:
        if not self.is_logged_in(request):
            return self._stranger()
        by_cookie = "Authorization" not in request.headers
        if request.method == "POST" and by_cookie and not self._csrf_is_right(request):
            return httpx.Response(403)
        if path == "panel/api/server/status":
            return self._status()
        known = {"panel/api/nodes/list", "panel/api/inbounds/list"}
        return envelope([]) if path in known else httpx.Response(404)

    def _stranger(self) -> httpx.Response:
        version = self._parsed()
        if version < (2, 8, 4):
            return httpx.Response(401, json={"success": False, "msg": "expired"})
        return httpx.Response(401 if version >= (3, 0, 2) else 404)

    def _csrf_is_right(self, request: httpx.Request) -> bool:
        given = request.headers.get("X-CSRF-Token")
        return self._parsed() < (3, 0, 0) or given == self._csrf_text()

    def _csrf_text(self) -> str:
        return f"csrf-token-number-{self.csrf:06d}"

    def _csrf(self, _: httpx.Request) -> httpx.Response:
        if self._parsed() < (3, 0, 0):
            return httpx.Response(404)
        return envelope(self._csrf_text())

    def _two_factor(self, _: httpx.Request) -> httpx.Response:
        known = self._parsed() >= (2, 6, 0)
        return envelope(self.second_factor) if known else httpx.Response(404)

    def _secret_status(self, _: httpx.Request) -> httpx.Response:
        known = self._parsed() < (2, 6, 0)
        return envelope(self.second_factor) if known else httpx.Response(404)

    def _page(self, _: httpx.Request) -> httpx.Response:
        if not self.page or self._parsed() >= (3, 0, 0):
            return html()
        script = f'<script src="/base/assets/vue/vue.min.js?{self.version}"></script>'
        return httpx.Response(200, html=f"<html><head>{script}</head></html>")

    def _login(self, request: httpx.Request) -> httpx.Response:
        if not self._csrf_is_right(request):
            return httpx.Response(403)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if not self.accepts(form):
            return refused()
        answer = envelope(None, msg="welcome")
        answer.headers["Set-Cookie"] = f"3x-ui=user-{self.session}; Path=/; HttpOnly"
        return answer

    def _status(self) -> httpx.Response:
        version = self._parsed()
        status: dict[str, object] = {"xray": {"state": "running"}}
        if version >= (3, 1, 0):
            status["panelVersion"] = self.version
        if version >= (3, 3, 0):
            status["panelGuid"] = "guid-of-this-panel"
        return envelope(status)


def body_of(request: httpx.Request) -> object:
    return json.loads(request.content)
