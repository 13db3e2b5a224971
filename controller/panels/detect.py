"""Which panel this is: family and version, as exactly as it tells them.

Called by `PanelApi`: `greet` before the login, `identify` after it. All probes are reads and ask
for no compression. Not here: the login itself; what a version can do (`controller.core.features`).
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from controller.core.features import (
    NEWEST_VERIFIED,
    OLDEST,
    Features,
    Version,
    features_of,
    parse_version,
)
from controller.core.observed import XrayState
from controller.panels.api.channel import Ask, Channel, Kind
from controller.panels.api.clock import Clock
from controller.panels.api.envelope import Answer, parse_envelope
from controller.panels.api.errors import (
    NotAPanel,
    PanelBusy,
    PanelContractBroken,
    PanelCredentialsRefused,
    PanelError,
    PanelTlsMismatch,
    PanelUnsupported,
)
from controller.panels.api.outcomes import Standing, describe, stand
from controller.panels.wire.answers import Legible

STATUS_PATH = "panel/api/server/status"
_LIST_2X = "panel/api/inbounds/list"
_STATUS_LOOKS = 4
"""A panel's first status after its start is null; a real one follows within seconds."""
_STATUS_WAIT_S = 2.0
_ASSET_VERSION = re.compile(rb"""assets/[^"'?<>\s]+\?v?(\d+\.\d+\.\d+)["']""")
_SECONDS = re.compile(r"[0-9]{1,6}")
"""Of a `Retry-After`, some days at most: more is no advice, and may be more than a date can hold."""
_CSRF_FORM = re.compile(r"[\w\-+/=.]{16,128}", re.ASCII)


class Era(StrEnum):
    """How a panel lets people in."""

    LOGIN_SECRET = "login-secret"  # noqa: S105 - the name of a field, not a secret
    """Up to 2.5.8: name, password and an optional `loginSecret`."""
    TWO_FACTOR = "two-factor"
    """2.6.0 to 2.9.4: an optional one-time code."""
    CSRF = "csrf"
    """3.0.0 on: the same behind a CSRF token; or a bearer token."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a panel tells a stranger. `oldest`, `newest`: the versions that behave like this.

    `second_factor`: whether a login needs the secret or a code; None when it was not asked.
    """

    era: Era
    oldest: Version
    newest: Version | None
    second_factor: bool | None = None

    @property
    def version_text(self) -> str:
        """`2.9.4`, `2.8.4 to 2.9.4` or `3.0.2 or newer`."""
        oldest = _dotted(self.oldest)
        if self.newest is None:
            return f"{oldest} or newer"
        return oldest if self.newest == self.oldest else f"{oldest} to {_dotted(self.newest)}"


@dataclass(frozen=True, slots=True)
class PanelInfo:
    """What connecting found out.

    `version_text`: exact (`3.2.8`, `2.9.4`) where the panel tells it, else the range that its
    behaviour allows (`2.8.4 to 2.9.4`). `version`: the exact one, or the oldest of the range: what
    is not certain is taken as missing. `features`: of that version. `guid`: from 3.3.0. `xray`: as
    of this connect, and not asked (UNKNOWN) on 2.x. `unverified_version`: newer than what was ever
    tried, unreadable, or possibly older than the oldest.
    """

    version_text: str
    version: Version
    features: Features
    guid: str | None = None
    xray: XrayState = XrayState.UNKNOWN
    unverified_version: bool = False


class _Xray(BaseModel):
    state: str = ""


class _Status(BaseModel):
    xray: _Xray | None = None
    panel_version: Legible | None = Field(default=None, alias="panelVersion")
    panel_guid: Legible | None = Field(default=None, alias="panelGuid")


# -- before the login ------------------------------------------------------------------------------


async def greet(channel: Channel, *, by_form: bool) -> Greeting:
    """Find out, without credentials, which family answers and how it lets people in.

    Args:
        channel: forgets its cookies and tokens; from 3.0.0 on it then holds a CSRF token.
        by_form: a name and password will be used, so it matters whether they need a second factor.

    Raises:
        NotAPanel: says what was seen instead.
        PanelUnsupported: older than 2.3.15.
        PanelError: unreachable, TLS mismatch, busy.
    """
    channel.reset()
    first = await _probe(channel, "GET", "csrf-token")
    _refuse_wrong_scheme(channel, first)
    if _flag_or_text(first) is None:
        return await _greet_2x(channel, first)
    channel.csrf = _csrf_of(channel, first)
    second_factor = None
    if by_form:
        asked = await _probe(channel, "POST", "getTwoFactorEnable")
        second_factor = _flag_or_text(asked) is True
    stranger = await _probe(channel, "GET", STATUS_PATH, anonymous=True)
    # A stranger is told 401 from 3.0.2 on, 404 before.
    if stranger.status == 401:
        return Greeting(Era.CSRF, (3, 0, 2), None, second_factor)
    return Greeting(Era.CSRF, (3, 0, 0), None, second_factor)


async def fetch_csrf(channel: Channel) -> str:
    """Get the CSRF token of the channel's session, 3.0.0 on.

    Raises:
        NotAPanel: no token came.
    """
    return _csrf_of(channel, await _probe(channel, "GET", "csrf-token"))


async def _greet_2x(channel: Channel, first: Answer) -> Greeting:
    modern = await _probe(channel, "POST", "getTwoFactorEnable")
    second_factor = _flag_or_text(modern)
    if isinstance(second_factor, bool):
        greeting = Greeting(Era.TWO_FACTOR, (2, 6, 0), (2, 9, 4), second_factor)
    else:
        ancient = await _probe(channel, "POST", "getSecretStatus")
        second_factor = _flag_or_text(ancient)
        if not isinstance(second_factor, bool):
            raise _not_a_panel(channel, first, modern, ancient)
        greeting = Greeting(Era.LOGIN_SECRET, OLDEST, (2, 5, 8), second_factor)
    return await _narrow_2x(channel, greeting)


async def _narrow_2x(channel: Channel, greeting: Greeting) -> Greeting:
    # 2.x puts its version behind the address of every script of its login page.
    page = await _probe(channel, "GET", "", anonymous=True)
    found = _ASSET_VERSION.search(page.body)
    version = parse_version(found.group(1).decode()) if found else None
    if version is not None and version < OLDEST:
        raise PanelUnsupported(
            channel.node,
            "detect",
            f"this panel is {_dotted(version)}; the oldest supported version is {_dotted(OLDEST)}",
            hint="upgrade the panel",
        )
    if version is not None and greeting.newest and greeting.oldest <= version <= greeting.newest:
        return replace(greeting, oldest=version, newest=version)
    if greeting.era is Era.LOGIN_SECRET:
        return greeting
    # A stranger is told 401 up to 2.8.3, 404 from 2.8.4 on.
    stranger = await _probe(channel, "GET", _LIST_2X, anonymous=True)
    if stranger.status == 404:
        return replace(greeting, oldest=(2, 8, 4))
    return replace(greeting, newest=(2, 8, 3))


async def _probe(channel: Channel, method: str, path: str, *, anonymous: bool = False) -> Answer:
    answer = await channel.ask(Ask(Kind.PROBE, method, path, anonymous=anonymous))
    if stand(answer) is Standing.BUSY and answer.status != 200:
        raise busy(answer, "detect")
    return answer


def _flag_or_text(answer: Answer) -> bool | str | None:
    """The `obj` of a panel's public answer; None when this is none."""
    if answer.status != 200:
        return None
    try:
        return parse_envelope(answer, bool | str).obj  # type: ignore[arg-type] # a union is no type
    except PanelError:
        return None


def _csrf_of(channel: Channel, answer: Answer) -> str:
    token = _flag_or_text(answer)
    # Anything else could not stand in a header.
    if not isinstance(token, str) or not _CSRF_FORM.fullmatch(token):
        raise NotAPanel(
            channel.node, "detect", f"csrf-token answered {describe(answer)}, which is no token"
        )
    return token


def _refuse_wrong_scheme(channel: Channel, answer: Answer) -> None:
    redirected = 300 <= answer.status < 400 and answer.location.startswith("https://")
    scolded = b"HTTP request to an HTTPS server" in answer.body[:200]
    if channel.is_plain and (redirected or scolded):
        raise PanelTlsMismatch(
            channel.node, "detect", "url says http, and the panel wants https", hint="correct it"
        )


def _not_a_panel(channel: Channel, *seen: Answer) -> NotAPanel:
    if all(answer.status == 403 for answer in seen):
        return NotAPanel(
            channel.node,
            "detect",
            f"everything under this base path is forbidden ({describe(seen[0])})",
            hint="the panel's own domain setting, or a filter before it, wants another host name",
        )
    told = ", ".join(f"{answer.path} answered {describe(answer)}" for answer in seen)
    return NotAPanel(
        channel.node,
        "detect",
        f"no 3x-ui answers under this base path: {told}",
        hint="correct the host, the port or the base path of panel.url",
    )


# -- after the login -------------------------------------------------------------------------------


async def identify(channel: Channel, greeting: Greeting, clock: Clock) -> PanelInfo:
    """Find out, logged in, exactly which panel this is. Nothing is asked on 2.x.

    Raises:
        PanelCredentialsRefused: the token is not accepted.
        PanelBusy: the panel has just started and does not know its own status yet.
        PanelError: no usable answer.
    """
    if greeting.era is not Era.CSRF:
        return PanelInfo(
            version_text=greeting.version_text,
            version=greeting.oldest,
            features=features_of(greeting.oldest),
            unverified_version=greeting.era is Era.LOGIN_SECRET
            and greeting.oldest != greeting.newest,
        )
    status = await _status(channel, clock)
    text, version, unverified = _version_of(status, greeting)
    return PanelInfo(
        version_text=text,
        version=version,
        features=features_of(version, drives_sub_nodes=await _drives_sub_nodes(channel)),
        guid=status.panel_guid or None,
        xray=_xray_state(status),
        unverified_version=unverified,
    )


async def _status(channel: Channel, clock: Clock) -> _Status:
    for look in range(_STATUS_LOOKS):
        if look:
            await clock.sleep(_STATUS_WAIT_S)
        answer = await channel.ask(Ask(Kind.PROBE, "GET", STATUS_PATH))
        _check_status(channel, answer)
        status = parse_envelope(answer, _Status).obj
        if status is not None:
            return status
    raise PanelBusy(
        channel.node, "detect", "the panel has just started and does not tell its status yet"
    )


def _check_status(channel: Channel, answer: Answer) -> None:
    standing = stand(answer)
    if standing is Standing.USABLE:
        return
    if standing is Standing.BUSY:
        raise busy(answer, "detect")
    if standing is Standing.SESSION_GONE and channel.bearer is not None:
        raise PanelCredentialsRefused(
            channel.node,
            "login",
            "the token was refused, or the base path is another panel's: "
            f"its status answered {describe(answer)}",
            hint="correct panel.auth.token; it was tried once and is not tried again by itself",
        )
    raise PanelContractBroken(
        channel.node,
        "detect",
        f"the login was accepted, and yet the status answered {describe(answer)}",
        hint="a panel with its own TLS keeps no session over plain http",
    )


def _version_of(status: _Status, greeting: Greeting) -> tuple[str, Version, bool]:
    if not status.panel_version:
        newest = (3, 0, 1) if greeting.oldest < (3, 0, 2) else (3, 0, 2)
        known = replace(greeting, newest=newest)
        return known.version_text, known.oldest, False
    version = parse_version(status.panel_version)
    if version is None:
        # A development build names its commit instead.
        return status.panel_version, NEWEST_VERIFIED, True
    return _dotted(version), version, version > NEWEST_VERIFIED


def _xray_state(status: _Status) -> XrayState:
    try:
        return XrayState(status.xray.state if status.xray else "unknown")
    except ValueError:
        return XrayState.UNKNOWN


async def _drives_sub_nodes(channel: Channel) -> bool:
    """Whether the panel forwards writes to panels of its own; if it does not say, assume so."""
    answer = await channel.ask(Ask(Kind.PROBE, "GET", "panel/api/nodes/list"))
    if answer.status == 404:
        return False
    try:
        return bool(parse_envelope(answer, list[Any]).obj)
    except PanelError:
        return True


def busy(answer: Answer, operation: str) -> PanelBusy:
    """Say that the panel answered with nothing usable, and when to ask again."""
    wait = answer.retry_after
    return PanelBusy(
        answer.node,
        operation,
        f"the panel answered {describe(answer)}",
        retry_after_s=float(wait) if _SECONDS.fullmatch(wait) else None,
    )


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)
