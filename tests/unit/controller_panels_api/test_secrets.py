"""No secret shows in an error, a cause, a representation or a log, whatever goes wrong."""

import logging
import traceback
from dataclasses import replace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.panels.api.errors import PanelError
from controller.panels.api.masking import mask
from desired_state.model.node import Credentials
from tests.unit.controller_panels_api.scripted import Answer, ScriptedPanel, envelope, html

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
WRITE = "panel/api/inbounds/updateClient/"


def secret(letters: str = LETTERS) -> st.SearchStrategy[str]:
    return st.text(letters, min_size=24, max_size=40)


FAILURES: list[Answer] = [
    httpx.ConnectError("boom"),
    httpx.ReadTimeout("boom"),
    httpx.RemoteProtocolError("boom"),
    httpx.DecodingError("boom"),
    httpx.Response(500),
    httpx.Response(404),
    httpx.Response(403),
    html(),
    envelope(success=False, msg="no"),
]
PLACES = ["csrf-token", "getTwoFactorEnable", "login", "panel/api/server/status", "panel/api/x"]


@pytest.mark.parametrize("place", PLACES)
@given(  # the strategies are named, so that a failing example reads by itself
    token=secret(),
    password=secret(),
    totp=st.text(BASE32, min_size=24, max_size=24),
    failure=st.sampled_from(FAILURES),
    by_token=st.booleans(),
    version=st.sampled_from(["2.9.4", "3.2.8"]),
)
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
async def test_no_credential_shows_when_something_fails(
    caplog: pytest.LogCaptureFixture,
    place: str,
    *,
    token: str,
    password: str,
    totp: str,
    failure: Answer,
    by_token: bool,
    version: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = Credentials(
        token=token if by_token else None, username="admin", password=password, totp_secret=totp
    )
    panel = ScriptedPanel(
        version,
        second_factor=True,
        token=token,
        accepts=lambda form: form["password"] == password,
        answers={place: failure},
    )

    shown = [repr(credentials)]
    async with panel.api(credentials) as api:
        shown.append(repr(api))
        try:
            await api.read("GET", "panel/api/x")
        except PanelError as error:
            shown += [str(error), repr(error), error.operation]
            shown += traceback.format_exception(error)
        shown.append(repr(await api.write("panel/api/x", json={})))

    text = "\n".join([*shown, caplog.text])
    assert [] == [value for value in (token, password, totp) if value in text]


async def test_secret_that_the_panel_repeats_is_masked_in_the_cause() -> None:
    uuid, trojan = "0b3c8b3e-7d51-4d0a-a1b0-1f2f8b0a9c11", "trojan-password-1"
    password = "pw-of-nl-1"
    told = f"Client Not Found In Inbound For ID: {uuid} {trojan} {password} bob"
    panel = ScriptedPanel(answers={WRITE + uuid: envelope(success=False, msg=told)})

    async with panel.api() as api:
        result = await api.write(WRITE + uuid, json={}, secrets=(trojan,))

    assert "Client Not Found In Inbound For ID: *** *** *** bob" == result.cause


@pytest.mark.parametrize("before", [0, 150, 180, 5_000])
async def test_a_sentence_that_is_cut_shows_no_half_of_a_secret(before: int) -> None:
    secret = "c2VjcmV0LW9mLWEtc2VydmVyLXRoYXQtaXMtbG9uZw"
    told = f"{'x' * before}{secret} and more {'y' * 300}"
    panel = ScriptedPanel(answers={"panel/api/x": envelope(success=False, msg=told)})

    async with panel.api() as api:
        result = await api.write("panel/api/x", json={}, secrets=(secret,))

    assert result.cause.startswith("x" * min(before, 200))
    assert secret[:3] not in result.cause


def test_masking_leaves_nothing_of_a_secret_that_holds_another() -> None:
    assert "*** and ***" == mask("abcdef and cd", ["cd", "abcdef", ""])


async def test_node_and_panel_address_are_not_secrets_but_the_base_path_stays_out() -> None:
    """A base path is half a secret: it hides the panel from scanners."""
    panel = ScriptedPanel(answers={"csrf-token": httpx.Response(404)}, version="3.2.8")
    panel.answers |= dict.fromkeys(("getTwoFactorEnable", "getSecretStatus"), httpx.Response(404))

    async with panel.api(replace(Credentials(username="a", password="b"))) as api:
        with pytest.raises(PanelError) as caught:
            await api.connect()

    assert "/base" not in str(caught.value)
