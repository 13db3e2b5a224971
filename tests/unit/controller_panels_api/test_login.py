"""What a login sends, by era; one-time codes by the panel's clock, never near the end of a step."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pyotp
import pytest

from controller.panels.api.errors import PanelCredentialsRefused, PanelUnsupported
from tests.unit.controller_panels_api.scripted import FORM, START, TOKEN, ScriptedPanel, StoodClock

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEH"
STEP = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def sent_form(panel: ScriptedPanel) -> dict[str, str]:
    request = next(r for r in panel.requests if r.url.path.endswith("/login"))
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


@pytest.mark.parametrize(
    ("version", "extra", "fields"),
    [
        ("2.3.15", {}, {}),
        ("2.5.8", {"login_secret": "ls-1"}, {"loginSecret": "ls-1"}),
        ("2.6.0", {"totp_secret": SECRET}, {"twoFactorCode": pyotp.TOTP(SECRET).at(START)}),
        ("2.9.4", {}, {}),
        ("3.0.0", {"totp_secret": SECRET}, {"twoFactorCode": pyotp.TOTP(SECRET).at(START)}),
        ("3.6.0", {}, {}),
    ],
)
async def test_login_sends_what_its_era_wants(
    version: str, extra: dict[str, str], fields: dict[str, str]
) -> None:
    panel = ScriptedPanel(version, second_factor=bool(extra))

    async with panel.api(replace(FORM, **extra)) as api:  # type: ignore[arg-type]
        await api.connect()

    assert {"username": "admin", "password": FORM.password, **fields} == sent_form(panel)


async def test_second_factor_stays_at_home_where_the_panel_wants_none() -> None:
    panel = ScriptedPanel("2.9.4", second_factor=False)

    async with panel.api(replace(FORM, totp_secret=SECRET)) as api:
        await api.connect()

    assert {"username", "password"} == set(sent_form(panel))


@pytest.mark.parametrize(
    ("version", "field"),
    [
        ("2.5.8", "panel.auth.loginSecret"),
        ("2.6.6", "panel.auth.totpSecret"),
        ("3.2.8", "panel.auth.totpSecret"),
    ],
)
async def test_missing_second_factor_is_named_before_any_login(version: str, field: str) -> None:
    panel = ScriptedPanel(version, second_factor=True)

    async with panel.api() as api:
        with pytest.raises(PanelCredentialsRefused, match=f"declare {field}"):
            await api.connect()

    assert 0 == panel.logins


@pytest.mark.parametrize("version", ["2.3.15", "2.6.6", "2.9.4"])
async def test_token_alone_is_refused_by_name_on_2x_before_any_login(version: str) -> None:
    panel = ScriptedPanel(version)

    async with panel.api(TOKEN) as api:
        with pytest.raises(PanelUnsupported) as caught:
            await api.connect()

    assert (
        f"this panel is {version}, and API tokens begin with 3.0.0 "
        "(declare panel.auth.username and panel.auth.password)"
    ) == str(caught.value)
    assert 0 == panel.logins
    assert [] == [r for r in panel.requests if "Authorization" in r.headers]


# -- one-time codes --------------------------------------------------------------------------------


def strict(panel: ScriptedPanel) -> None:
    """Take only the code of the panel's present step, and never in its last 5 seconds."""

    def accepts(form: Mapping[str, str]) -> bool:
        now = panel.clock.now() + panel.ahead
        assert 30 - now.timestamp() % 30 > 5, "sent in the last 5 s of its step"
        return form["twoFactorCode"] == pyotp.TOTP(SECRET).at(now)

    panel.accepts = accepts


@pytest.mark.parametrize("into_step_s", [*range(30), 23.9, 24.5, 25.001, 29.999])
@pytest.mark.parametrize("ahead_s", [0, 7, -7, 4000, -86_400])
async def test_code_is_of_the_panels_step_and_stays_good(into_step_s: float, ahead_s: int) -> None:
    """Whatever our clock says: the step comes from the panel's `Date`."""
    panel = ScriptedPanel(
        clock=StoodClock(STEP + timedelta(seconds=into_step_s)),
        second_factor=True,
        ahead=timedelta(seconds=ahead_s),
    )
    strict(panel)

    async with panel.api(replace(FORM, totp_secret=SECRET)) as api:
        await api.connect()

    assert 1 == panel.logins


@pytest.mark.parametrize(("second", "waits"), [(0, []), (23, []), (24, [6.0]), (29, [1.0])])
async def test_near_the_end_of_a_step_the_login_waits_for_the_next(
    second: int, waits: list[float]
) -> None:
    panel = ScriptedPanel(clock=StoodClock(STEP + timedelta(seconds=second)), second_factor=True)
    strict(panel)

    async with panel.api(replace(FORM, totp_secret=SECRET)) as api:
        await api.connect()

    assert waits == panel.clock.slept
