"""Who may call: sessions, CSRF tokens, bearer tokens, the login limiter, one-time codes.

Callers: `app` before each handler, `pages` for login and logout, `control`.
Not here: the endpoints themselves.
"""

import base64
import hashlib
import hmac
import json
import struct
from collections import defaultdict
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import TYPE_CHECKING

from simulator import texts
from simulator.state import LETTERS_AND_DIGITS
from simulator.version import Version
from simulator.wire import Call, Reply, empty, envelope, redirect

if TYPE_CHECKING:
    from simulator.app import Panel

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
COOKIE = "3x-ui"
# The cookie library's own limit; the browser's Max-Age is the panel's setting.
_COOKIE_LIFE_MS = 30 * 24 * 3600 * 1000
_FAILURES_TO_LOCK = 5
_FAILURE_WINDOW_MS = 5 * 60 * 1000
_LOCK_MS = 15 * 60 * 1000
_TOTP_STEP_S = 30


@dataclass(frozen=True)
class Session:
    """What the signed cookie carries. The panel keeps no list of sessions."""

    created_ms: int
    serial: int
    user: str = ""
    password: str = ""
    epoch: int = 0
    csrf: str = ""


class Auth:
    """Sessions and the login limiter of one running panel process."""

    def __init__(self, panel: "Panel") -> None:
        self._panel = panel
        self._serial = 0
        self._valid_from = 0
        self._failures: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._locked_until: dict[tuple[str, str], int] = {}

    def restart(self) -> None:
        """Forget what only the process knew: the limiter. Cookies survive."""
        self._failures.clear()
        self._locked_until.clear()

    def drop_sessions(self) -> None:
        """Make every cookie given so far worthless."""
        self._valid_from = self._serial + 1

    def read(self, call: Call) -> Session | None:
        """The session of a request, logged in or not."""
        payload, _, signature = call.cookies.get(COOKIE, "").partition(".")
        if not payload or not hmac.compare_digest(signature, self._sign(payload)):
            return None
        values = json.loads(base64.urlsafe_b64decode(payload))
        session = Session(**values)
        age_ms = self._panel.clock.now_ms() - session.created_ms
        if session.serial < self._valid_from or age_ms > _COOKIE_LIFE_MS:
            return None
        return session

    def is_logged_in(self, session: Session | None) -> bool:
        """Whether this session belongs to the panel's user."""
        if session is None or not session.user:
            return False
        # QUIRK(cookie-carries-user, 3x-ui up to 3.0.1): the cookie holds the whole user and is
        # never compared with the database again; 3.0.2 checks an epoch that a new password bumps.
        if self._panel.version < (3, 0, 2):
            return bool(session.password)
        return session.epoch == self._panel.state.login_epoch and not session.password

    def bearer_is_valid(self, call: Call) -> bool:
        """Whether an API token of 3.0.0 and later comes with the request."""
        header = call.headers.get("authorization", "")
        if self._panel.version < (3, 0, 0) or not header.startswith("Bearer "):
            return False
        given = header.removeprefix("Bearer ")
        return any(t.enabled and t.token == given for t in self._panel.state.tokens)

    def csrf_is_valid(self, call: Call, session: Session | None) -> bool:
        """Whether a changing request of 3.0.0 and later carries its session's token."""
        if self._panel.version < (3, 0, 0) or call.method in SAFE_METHODS or call.is_bearer:
            return True
        given = call.headers.get("x-csrf-token", "")
        return bool(session and session.csrf and hmac.compare_digest(given, session.csrf))

    def mint_csrf(self, call: Call) -> str:
        """The token of the session; a new session when there is none."""
        session = self.read(call)
        if session is not None and session.csrf:
            return session.csrf
        raw = self._panel.dice.base64(32).replace("+", "-").replace("/", "_")
        token = raw.rstrip("=")
        self._save(call, replace(session, csrf=token) if session else self._new(csrf=token))
        return token

    def log_in(self, call: Call) -> None:
        """Put the user into the session and set the cookie."""
        state, version = self._panel.state, self._panel.version
        current = self.read(call)
        session = self._new(
            user=state.username,
            password=state.password if version < (3, 0, 2) else "",
            epoch=state.login_epoch,
            csrf=current.csrf if current else "",
        )
        self._save(call, session)
        # QUIRK(cookie-set-twice, 3x-ui up to 2.5.8): lifetime and user are saved one by one.
        if version < (2, 6, 0):
            call.set_cookies *= 2

    def log_out(self, call: Call) -> None:
        """Clear the cookie."""
        call.set_cookies.append(self._cookie("cleared", expires_s=1, max_age_s=0))

    def is_locked(self, call: Call, username: str) -> bool:
        """Whether the limiter of 3.0.0 and later refuses this caller for this name."""
        until = self._locked_until.get(self._bucket(call, username), 0)
        return self._panel.version >= (3, 0, 0) and until > self._panel.clock.now_ms()

    def note_failure(self, call: Call, username: str) -> None:
        """Count a refused login; the fifth within five minutes locks for fifteen."""
        now, bucket = self._panel.clock.now_ms(), self._bucket(call, username)
        recent = [at for at in self._failures[bucket] if now - at < _FAILURE_WINDOW_MS]
        self._failures[bucket] = [*recent, now]
        if len(self._failures[bucket]) >= _FAILURES_TO_LOCK:
            self._locked_until[bucket] = now + _LOCK_MS
            self._failures.pop(bucket)

    def note_success(self, call: Call, username: str) -> None:
        """Forget the failures before a right password."""
        self._failures.pop(self._bucket(call, username), None)

    def stranger(self, call: Call, group: str) -> Reply:
        """How this version answers a call without a valid session."""
        version = self._panel.version
        if group == "api" and version >= (2, 8, 4):
            return empty(401 if version >= (3, 0, 2) and call.is_ajax else 404)
        if call.is_ajax:
            message = texts.say("session_expired", version, call.language)
            reply = envelope(message, "null", success=False)
            return replace(reply, status=401)
        return redirect(307, self._panel.options.base_path, call.method)

    def _bucket(self, call: Call, username: str) -> tuple[str, str]:
        forwarded = call.headers.get("x-real-ip") or call.headers.get("x-forwarded-for", "")
        from_loopback = call.client_ip in {"127.0.0.1", "::1"}
        address = forwarded.split(",")[0].strip() if forwarded and from_loopback else ""
        return address or call.client_ip, username.strip().lower()

    def _new(self, **values: str | int) -> Session:
        self._serial += 1
        return Session(self._panel.clock.now_ms(), self._serial, **values)  # type: ignore[arg-type]  # names and types come from our own calls

    def _save(self, call: Call, session: Session) -> None:
        text = json.dumps(session.__dict__, separators=(",", ":"))
        payload = base64.urlsafe_b64encode(text.encode()).decode()
        life_s = self._panel.session_minutes * 60
        expires_s = self._panel.clock.now_ms() / 1000 + life_s
        value = f"{payload}.{self._sign(payload)}"
        call.set_cookies.append(self._cookie(value, expires_s=expires_s, max_age_s=life_s))

    def _cookie(self, value: str, *, expires_s: float, max_age_s: int) -> str:
        version = self._panel.version
        path = self._panel.options.base_path if version >= (2, 9, 0) else "/"
        expires = formatdate(expires_s, usegmt=True)
        text = f"{COOKIE}={value}; Path={path}; Expires={expires}; Max-Age={max_age_s}; HttpOnly"
        if version >= (3, 0, 0) and self._panel.is_tls:
            text += "; Secure"
        return text + ("; SameSite=Lax" if version >= (2, 8, 0) else "")

    def _sign(self, payload: str) -> str:
        key = self._panel.state.secret.encode()
        return hmac.new(key, payload.encode(), hashlib.sha256).hexdigest()


def new_token(panel: "Panel") -> str:
    """Make a bearer token: 48 letters and digits."""
    return panel.dice.text(48, LETTERS_AND_DIGITS)


def totp(secret: str, now_ms: int) -> str:
    """The one-time code of the present step; the panel takes no neighbour."""
    padded = secret.upper() + "=" * (-len(secret) % 8)
    counter = struct.pack(">Q", now_ms // 1000 // _TOTP_STEP_S)
    digest = hmac.new(base64.b32decode(padded), counter, hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def default_session_minutes(version: Version) -> int:
    """The panel's own default for a session's life."""
    return 360 if version >= (2, 6, 5) else 60
