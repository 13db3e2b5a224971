"""Which panel this is, and in one sentence why something is none."""

from dataclasses import replace

import httpx
import pytest

from controller.core.features import NEWEST_VERIFIED, features_of
from controller.core.observed import XrayState
from controller.panels.api.errors import (
    NotAPanel,
    PanelBusy,
    PanelError,
    PanelTlsMismatch,
    PanelUnsupported,
)
from controller.panels.detect import PanelInfo
from tests.unit.controller_panels_api.scripted import (
    FORM,
    TOKEN,
    Answer,
    ScriptedPanel,
    envelope,
    html,
)

STATUS = "panel/api/server/status"
NODES = "panel/api/nodes/list"


async def info_of(panel: ScriptedPanel) -> PanelInfo:
    async with panel.api() as api:
        return await api.connect()


@pytest.mark.parametrize(
    "version", ["2.3.15", "2.4.10", "2.4.11", "2.6.6", "2.8.3", "2.8.4", "2.9.4"]
)
async def test_2x_tells_its_version_on_its_login_page(version: str) -> None:
    exact = tuple(int(part) for part in version.split("."))

    info = await info_of(ScriptedPanel(version))

    assert PanelInfo(version, exact, features_of(exact)) == info  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "text", "oldest", "unverified"),
    [
        ("2.3.15", "2.3.15 to 2.5.8", (2, 3, 15), True),
        ("2.5.8", "2.3.15 to 2.5.8", (2, 3, 15), True),
        ("2.6.0", "2.6.0 to 2.8.3", (2, 6, 0), False),
        ("2.8.3", "2.6.0 to 2.8.3", (2, 6, 0), False),
        ("2.8.4", "2.8.4 to 2.9.4", (2, 8, 4), False),
        ("2.9.4", "2.8.4 to 2.9.4", (2, 8, 4), False),
    ],
)
async def test_2x_without_its_page_is_a_range_and_taken_for_its_oldest(
    version: str, text: str, oldest: tuple[int, int, int], unverified: bool
) -> None:
    info = await info_of(ScriptedPanel(version, page=False))

    assert PanelInfo(text, oldest, features_of(oldest), unverified_version=unverified) == info


async def test_page_that_contradicts_the_behaviour_is_not_believed() -> None:
    lying = httpx.Response(200, html='<script src="/base/assets/vue/vue.min.js?2.3.15"></script>')

    info = await info_of(ScriptedPanel("2.9.4", answers={"": lying}))

    assert "2.8.4 to 2.9.4" == info.version_text


@pytest.mark.parametrize(
    ("version", "text", "poisonable"),
    [
        ("3.0.0", "3.0.0 to 3.0.1", True),
        ("3.0.1", "3.0.0 to 3.0.1", True),
        ("3.0.2", "3.0.2", False),
    ],
)
async def test_3_0_is_told_apart_by_how_it_greets_strangers(
    version: str, text: str, poisonable: bool
) -> None:
    info = await info_of(ScriptedPanel(version))

    assert (text, poisonable) == (info.version_text, info.features.poisonable)
    assert XrayState.RUNNING is info.xray


@pytest.mark.parametrize("credentials", [FORM, TOKEN], ids=["form", "token"])
@pytest.mark.parametrize("version", ["3.1.0", "3.2.8", "3.6.0", "3.7.0", "4.0.0"])
async def test_3_1_tells_its_version(version: str, credentials: object) -> None:
    exact = tuple(int(part) for part in version.split("."))
    guid = "guid-of-this-panel" if exact >= (3, 3, 0) else None

    async with ScriptedPanel(version).api(credentials) as api:  # type: ignore[arg-type]
        info = await api.connect()

    assert (
        PanelInfo(
            version,
            exact,  # type: ignore[arg-type]
            features_of(exact),  # type: ignore[arg-type]
            guid,
            XrayState.RUNNING,
            unverified_version=exact > NEWEST_VERIFIED,
        )
        == info
    )


async def test_development_build_is_taken_for_the_newest_known() -> None:
    status = envelope({"panelVersion": "dev+1a2b3c4d", "xray": {"state": "stop"}})

    info = await info_of(ScriptedPanel("3.6.0", answers={STATUS: _once_inside(status)}))

    assert (
        PanelInfo(
            "dev+1a2b3c4d",
            NEWEST_VERIFIED,
            features_of(NEWEST_VERIFIED),
            xray=XrayState.STOP,
            unverified_version=True,
        )
        == info
    )


def _once_inside(answer: httpx.Response) -> object:
    def handler(request: httpx.Request) -> httpx.Response:
        return answer if "Cookie" in request.headers else httpx.Response(401)

    return handler


async def test_null_status_is_no_answer_yet() -> None:
    """A panel that has just started tells its status some seconds later."""
    panel = ScriptedPanel("3.6.0")
    panel.answers[STATUS] = [httpx.Response(401), envelope(None), envelope(None)]

    info = await info_of(panel)

    assert ("3.6.0", [2.0, 2.0]) == (info.version_text, panel.clock.slept)


async def test_status_that_stays_null_is_busy() -> None:
    panel = ScriptedPanel("3.6.0", answers={STATUS: _once_inside(envelope(None))})  # type: ignore[dict-item]

    with pytest.raises(PanelBusy, match="has just started"):
        await info_of(panel)


@pytest.mark.parametrize(
    ("answer", "drives"),
    [
        (envelope([]), False),
        (envelope(None), False),
        (envelope([{"id": 1, "apiToken": "x"}]), True),
        (httpx.Response(404), False),
        (envelope(success=False, msg="database is locked"), True),
        (httpx.Response(500), True),
    ],
    ids=["none", "null", "one", "no such list", "refused", "500"],
)
async def test_panel_drives_sub_nodes_unless_it_says_it_does_not(
    answer: Answer, drives: bool
) -> None:
    info = await info_of(ScriptedPanel("3.2.8", answers={NODES: answer}))

    assert drives is info.features.drives_sub_nodes


# -- no panel --------------------------------------------------------------------------------------


def everywhere(answer: httpx.Response) -> ScriptedPanel:
    paths = ("csrf-token", "getTwoFactorEnable", "getSecretStatus", "", STATUS, "login")
    return ScriptedPanel(answers=dict.fromkeys(paths, answer))


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            httpx.Response(404),
            NotAPanel,
            (
                "no 3x-ui answers under this base path: csrf-token answered 404 without a body, "
                "getTwoFactorEnable answered 404 without a body, "
                "getSecretStatus answered 404 without a body"
            ),
        ),
        (html(), NotAPanel, "csrf-token answered 200 with HTML"),
        (
            httpx.Response(200, json={"hello": 1}),
            NotAPanel,
            "200 with 11 bytes of application/json",
        ),
        (httpx.Response(403), NotAPanel, "everything under this base path is forbidden"),
        (httpx.Response(200), NotAPanel, "csrf-token answered 200 without a body"),
        (
            httpx.Response(307, headers={"Location": "https://127.0.0.1:2053/base/csrf-token"}),
            PanelTlsMismatch,
            "url says http, and the panel wants https",
        ),
        (
            httpx.Response(400, text="Client sent an HTTP request to an HTTPS server.\n"),
            PanelTlsMismatch,
            "url says http, and the panel wants https",
        ),
        (httpx.Response(502, html="<html>"), PanelBusy, "the panel answered 502 with HTML"),
    ],
    ids=["404", "site", "other API", "403", "empty", "https", "https scolds", "502"],
)
async def test_what_is_no_panel_is_said_in_one_sentence_before_any_login(
    answer: httpx.Response, kind: type[PanelError], text: str
) -> None:
    panel = everywhere(answer)

    with pytest.raises(kind) as caught:
        await info_of(panel)

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert 0 == panel.logins


@pytest.mark.parametrize("version", ["2.3.14", "2.0.0", "1.7.9"])
async def test_version_before_the_oldest_is_refused_before_any_login(version: str) -> None:
    panel = ScriptedPanel(version)

    with pytest.raises(PanelUnsupported) as caught:
        await info_of(panel)

    assert (
        f"this panel is {version}; the oldest supported version is 2.3.15 (upgrade the panel)"
        == str(caught.value)
    )
    assert 0 == panel.logins


@pytest.mark.parametrize("token", ["", "short", "x" * 500, "new\nline-in-the-token", "ключ" * 10])
async def test_csrf_token_that_fits_no_header_is_none(token: str) -> None:
    with pytest.raises(NotAPanel, match="which is no token"):
        await info_of(ScriptedPanel(answers={"csrf-token": envelope(token)}))


async def test_probes_carry_no_credentials() -> None:
    panel = ScriptedPanel("3.2.8")
    async with panel.api(replace(FORM)) as api:
        await api.connect()

    before = panel.requests[: panel.paths.index("login")]
    assert all(FORM.password.encode() not in r.content for r in before if FORM.password)
    assert all("Authorization" not in r.headers for r in before)
