"""Logging in: form with a secret or a one-time code, CSRF, bearer token.

Called by `session` after the panel was greeted. One attempt: a refusal is raised and never repeated
here, since five of them lock the account. Not here: when to log in.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

import pyotp

from controller.core.effects import Verdict
from controller.panels.api.channel import Ask, Channel, Kind
from controller.panels.api.clock import Clock
from controller.panels.api.envelope import Answer
from controller.panels.api.errors import (
    PanelContractBroken,
    PanelCredentialsRefused,
    PanelError,
    PanelUnsupported,
)
from controller.panels.api.outcomes import describe, judge_write
from controller.panels.detect import Era, Greeting, busy, fetch_csrf
from desired_state.model.node import Credentials

FORM_TYPE = "application/x-www-form-urlencoded"
_STEP_S = 30
_MARGIN_S = 6
"""5 s that a code must still be good for, and 1 s by which a `Date` may be early."""


async def log_in(
    channel: Channel, credentials: Credentials, greeting: Greeting, clock: Clock
) -> None:
    """Make the channel's next requests those of a logged-in user.

    A token is only put into the channel; the first read tells whether the panel takes it. With both
    a token and a name, panels without tokens get the name.

    Raises:
        PanelCredentialsRefused: refused, or refused for certain if it were sent.
        PanelUnsupported: a token alone, and a version that knows none.
        PanelError: no usable answer.
    """
    if credentials.token is not None and greeting.era is Era.CSRF:
        channel.bearer = credentials.token
        return
    if not credentials.username:
        raise PanelUnsupported(
            channel.node,
            "login",
            f"this panel is {greeting.version_text}, and API tokens begin with 3.0.0",
            hint="declare panel.auth.username and panel.auth.password",
        )
    form = await _form(channel, credentials, greeting, clock)
    answer = await _send(channel, form)
    if answer.status == 403 and greeting.era is Era.CSRF:
        # The token is checked before the password: this was no attempt.
        channel.csrf = await fetch_csrf(channel)
        answer = await _send(channel, form)
    _check(channel, answer)


async def _send(channel: Channel, form: Mapping[str, str]) -> Answer:
    content = urlencode(form).encode()
    return await channel.ask(Ask(Kind.LOGIN, "POST", "login", content, FORM_TYPE))


async def _form(
    channel: Channel, credentials: Credentials, greeting: Greeting, clock: Clock
) -> dict[str, str]:
    form = {"username": credentials.username or "", "password": credentials.password or ""}
    if not greeting.second_factor:
        return form
    if greeting.era is Era.LOGIN_SECRET:
        if not credentials.login_secret:
            raise _missing(channel, "a login secret", "panel.auth.loginSecret")
        return form | {"loginSecret": credentials.login_secret}
    if not credentials.totp_secret:
        raise _missing(channel, "a one-time code", "panel.auth.totpSecret")
    return form | {"twoFactorCode": await _code(channel, credentials.totp_secret, clock)}


def _missing(channel: Channel, what: str, field: str) -> PanelError:
    return PanelCredentialsRefused(
        channel.node,
        "login",
        f"the panel wants {what}, and none is declared; no login was tried",
        hint=f"declare {field}",
    )


async def _code(channel: Channel, secret: str, clock: Clock) -> str:
    """Make a code of the panel's present step that stays good while the request travels.

    Panels take the code of one step only, by their own clock.
    """
    left_s = _STEP_S - channel.panel_now().timestamp() % _STEP_S
    if left_s <= _MARGIN_S:
        await clock.sleep(left_s)
    # Rounding must not leave it a hair before the next step.
    moment = channel.panel_now().timestamp() + 0.001
    return pyotp.TOTP(secret).at(int(moment))


def _check(channel: Channel, answer: Answer) -> None:
    verdict, _ = judge_write(answer)
    match verdict:
        case Verdict.APPLIED:
            return
        case Verdict.REJECTED:
            raise PanelCredentialsRefused(
                channel.node,
                "login",
                "the panel refused the username, the password or the second factor; "
                "it was asked once and will not be asked again by itself",
                hint="correct panel.auth; five refusals in 5 minutes lock the name for 15",
            )
        case Verdict.UNKNOWN:
            # Also 200 without a body: the panel could not store the session.
            raise busy(answer, "login")
        case Verdict.NOT_SENT:
            raise PanelContractBroken(
                channel.node, "login", f"the login answered as none does: {describe(answer)}"
            )
