"""Log in once, again when the session is gone, never after a refusal; write at most once."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from controller.core.effects import Verdict
from controller.panels.api.errors import (
    PanelBusy,
    PanelChanged,
    PanelContractBroken,
    PanelCredentialsRefused,
    PanelTemporary,
    PanelUnreachable,
)
from controller.panels.api.outcomes import WriteAnswer
from desired_state.model.node import Credentials
from tests.unit.controller_panels_api.scripted import (
    FORM,
    TOKEN,
    Answer,
    ScriptedPanel,
    body_of,
    envelope,
    html,
)

LIST = "panel/api/inbounds/list"
WRITE = "panel/api/clients/add"
WRONG = replace(FORM, password="wrong")
EVERY_ERA = pytest.mark.parametrize(
    "version", ["2.5.8", "2.6.6", "2.9.4", "3.0.0", "3.0.2", "3.6.0"]
)
AUTHS = pytest.mark.parametrize("auth", [FORM, TOKEN], ids=["form", "token"])


# -- logging in ------------------------------------------------------------------------------------


@EVERY_ERA
async def test_many_reads_are_one_login(version: str) -> None:
    panel = ScriptedPanel(version)

    async with panel.api() as api:
        for _ in range(3):
            await api.read("GET", LIST)

    assert (1, 3) == (panel.logins, panel.paths.count(LIST))


async def test_parallel_reads_are_one_login() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        await asyncio.gather(*(api.read("GET", LIST) for _ in range(5)))

    assert 1 == panel.logins


async def test_connect_says_the_same_again_without_asking() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        first = await api.connect()
        asked = len(panel.requests)
        second = await api.connect()

    assert first is second
    assert asked == len(panel.requests)


async def test_token_needs_no_login() -> None:
    panel = ScriptedPanel()

    async with panel.api(TOKEN) as api:
        await api.read("GET", LIST)

    assert 0 == panel.logins
    assert f"Bearer {TOKEN.token}" == panel.requests[-1].headers["Authorization"]


async def test_with_both_a_token_and_a_name_the_panel_gets_what_it_knows() -> None:
    both = replace(FORM, token=TOKEN.token)
    old, new = ScriptedPanel("2.9.4"), ScriptedPanel("3.2.8")

    for panel in (old, new):
        async with panel.api(both) as api:
            await api.read("GET", LIST)

    assert (1, 0) == (old.logins, new.logins)


# -- refused credentials ---------------------------------------------------------------------------


@EVERY_ERA
async def test_refused_password_is_tried_exactly_once(version: str) -> None:
    panel = ScriptedPanel(version)

    async with panel.api(WRONG) as api:
        for _ in range(3):
            with pytest.raises(PanelCredentialsRefused):
                await api.connect()
            with pytest.raises(PanelCredentialsRefused):
                await api.read("GET", LIST)
        api.forget()
        written = await api.write(WRITE, json={})

    assert 1 == panel.logins
    assert Verdict.NOT_SENT is written.verdict
    assert WRITE not in panel.paths


@pytest.mark.parametrize("version", ["3.0.0", "3.0.2", "3.6.0"])
async def test_refused_token_is_named_and_tried_exactly_once(version: str) -> None:
    panel = ScriptedPanel(version)

    async with panel.api(Credentials(token="W" * 48)) as api:
        for _ in range(3):
            with pytest.raises(
                PanelCredentialsRefused, match="token was refused, or the base path"
            ):
                await api.connect()

    bearers = [r for r in panel.requests if "Authorization" in r.headers]
    assert (0, 1) == (panel.logins, len(bearers))


async def test_password_that_stops_being_right_is_tried_once_more_and_never_again() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        await api.read("GET", LIST)
        panel.expire()
        panel.accepts = lambda _: False
        for _ in range(3):
            with pytest.raises(PanelCredentialsRefused):
                await api.read("GET", LIST)

    assert 2 == panel.logins


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(200), PanelBusy),
        (httpx.Response(502), PanelBusy),
        (html(), PanelBusy),
        (httpx.Response(404), PanelContractBroken),
        (httpx.ReadTimeout("lost"), PanelTemporary),
    ],
    ids=["empty 200", "502", "HTML", "404", "lost"],
)
async def test_login_without_an_answer_is_no_refusal(answer: Answer, kind: type[Exception]) -> None:
    """The next turn may try again; within this one it was sent once."""
    panel = ScriptedPanel(answers={"login": [answer]})

    async with panel.api() as api:
        with pytest.raises(kind):
            await api.connect()
        assert 1 == panel.logins
        await api.connect()

    assert 2 == panel.logins


# -- a session that is gone ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.5.8", "2.8.3", "2.9.4", "3.0.0", "3.0.2", "3.6.0"])
async def test_expired_session_is_one_login_and_one_repetition(version: str) -> None:
    panel = ScriptedPanel(version)

    async with panel.api() as api:
        await api.connect()
        panel.expire()
        answer = await api.read("GET", LIST)

    assert (200, 2, 2) == (answer.status, panel.logins, panel.paths.count(LIST))


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(307), httpx.Response(401), httpx.Response(404), html(), httpx.Response(403)],
    ids=["307", "401", "empty 404", "200 HTML", "empty 403"],
)
async def test_every_way_of_saying_not_logged_in_leads_to_one_login(answer: Answer) -> None:
    panel = ScriptedPanel(answers={LIST: [answer]})

    async with panel.api() as api:
        result = await api.read("GET", LIST)

    assert (200, 2, 2) == (result.status, panel.logins, panel.paths.count(LIST))


async def test_parallel_reads_of_an_expired_session_share_one_login() -> None:
    """All five are turned away before the first of them logs in again."""
    panel = ScriptedPanel()
    turned_away = asyncio.Barrier(5)

    async def together(request: httpx.Request) -> httpx.Response:
        answer = panel(request)
        if request.url.path.endswith(LIST) and answer.status_code == 401:
            await turned_away.wait()
        return answer

    async with panel.api() as api:
        await api.connect()
        panel.expire()
        api._channel._client._transport = httpx.MockTransport(together)
        async with asyncio.timeout(5):
            await asyncio.gather(*(api.read("GET", LIST) for _ in range(5)))

    assert 2 == panel.logins


@AUTHS
async def test_greeting_a_panel_anew_carries_nothing_of_the_session_before(
    auth: Credentials,
) -> None:
    """Who answers may be another panel by now: it gets no cookie and no token unasked."""
    panel = ScriptedPanel()

    async with panel.api(auth) as api:
        await api.connect()
        api.forget()
        before = len(panel.requests)
        await api.connect()

    greeting = panel.requests[before]
    assert greeting.url.path.endswith("csrf-token")
    names = ("Cookie", "Authorization", "X-CSRF-Token")
    assert [None] * 3 == [greeting.headers.get(name) for name in names]


@AUTHS
async def test_path_that_stays_away_after_the_login_is_no_absence(auth: Credentials) -> None:
    panel = ScriptedPanel()

    async with panel.api(auth) as api:
        with pytest.raises(PanelContractBroken) as caught:
            await api.read("GET", "panel/api/nonsense")

    assert 2 == panel.paths.count("panel/api/nonsense")
    assert str(caught.value).startswith(
        "logged in, and panel/api/nonsense answered 404 without a body"
    )


async def test_stale_csrf_token_of_a_read_is_fetched_anew() -> None:
    panel = ScriptedPanel(
        answers={"panel/api/clients/onlines": [httpx.Response(403), envelope([])]}
    )

    async with panel.api() as api:
        await api.connect()
        panel.csrf += 1
        await api.read("POST", "panel/api/clients/onlines")

    assert "csrf-token-number-000001" == panel.requests[-1].headers["X-CSRF-Token"]


async def test_login_with_a_stale_csrf_token_fetches_another_and_was_no_attempt() -> None:
    panel = ScriptedPanel(answers={"login": [httpx.Response(403)]})

    async with panel.api() as api:
        await api.connect()

    assert (2, 2) == (panel.logins, panel.paths.count("csrf-token"))


async def test_panel_that_accepts_the_login_and_keeps_no_session_is_named() -> None:
    panel = ScriptedPanel(answers={"login": envelope()})

    async with panel.api() as api:
        with pytest.raises(PanelContractBroken, match="the login was accepted, and yet"):
            await api.connect()

    assert 1 == panel.logins


# -- reads that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (httpx.Response(500), PanelBusy, "the panel answered 500 without a body"),
        (httpx.Response(200), PanelBusy, "the panel answered 200 without a body"),
        (
            httpx.Response(404, html="<html>nginx"),
            PanelContractBroken,
            "logged in, and panel/api/inbounds/list answered 404 with HTML",
        ),
    ],
)
async def test_unusable_answer_says_what_was_seen(
    answer: Answer, kind: type[Exception], text: str
) -> None:
    panel = ScriptedPanel(answers={LIST: [answer]})

    async with panel.api() as api:
        with pytest.raises(kind) as caught:
            await api.read("GET", LIST)

    assert text == str(caught.value)
    assert 1 == panel.paths.count(LIST)


async def test_busy_panel_may_say_when_to_ask_again() -> None:
    answer = httpx.Response(429, headers={"Retry-After": "30"})
    panel = ScriptedPanel(answers={LIST: [answer]})

    async with panel.api() as api:
        with pytest.raises(PanelBusy) as caught:
            await api.read("GET", LIST)

    assert 30.0 == caught.value.retry_after_s


async def test_read_posts_forms_and_json() -> None:
    panel = ScriptedPanel(answers={"a": [envelope(1)], "b": [envelope(2)]})

    async with panel.api(TOKEN) as api:
        await api.read("POST", "a", form={"x": "1 & 2"})
        await api.read("POST", "b", json={"ключ": [1]})

    assert b"x=1+%26+2" == panel.requests[-2].content
    assert {"ключ": [1]} == body_of(panel.requests[-1])


# -- writes ----------------------------------------------------------------------------------------


WRITES = [
    (envelope(msg="ok"), Verdict.APPLIED),
    (envelope(success=False, msg="no"), Verdict.REJECTED),
    (httpx.Response(200), Verdict.UNKNOWN),
    (html(), Verdict.UNKNOWN),
    (httpx.Response(200, content=b'{"success":tr'), Verdict.UNKNOWN),
    (httpx.Response(500), Verdict.UNKNOWN),
    (httpx.Response(502, html="<html>"), Verdict.UNKNOWN),
    (httpx.ReadTimeout(""), Verdict.UNKNOWN),
    (httpx.WriteTimeout(""), Verdict.UNKNOWN),
    (httpx.ReadError(""), Verdict.UNKNOWN),
    (httpx.RemoteProtocolError(""), Verdict.UNKNOWN),
    (httpx.ConnectError(""), Verdict.NOT_SENT),
    (httpx.ConnectTimeout(""), Verdict.NOT_SENT),
    (httpx.PoolTimeout(""), Verdict.NOT_SENT),
    (httpx.Response(307), Verdict.NOT_SENT),
    (httpx.Response(401), Verdict.NOT_SENT),
    (httpx.Response(404), Verdict.NOT_SENT),
    (httpx.Response(403), Verdict.NOT_SENT),
]


@AUTHS
@pytest.mark.parametrize(
    ("answer", "verdict"), WRITES, ids=[f"{i}-{verdict}" for i, (_, verdict) in enumerate(WRITES)]
)
async def test_write_is_sent_once_whatever_comes_of_it(
    answer: Answer, verdict: Verdict, auth: Credentials
) -> None:
    panel = ScriptedPanel(answers={WRITE: answer})

    async with panel.api(auth) as api:
        result = await api.write(WRITE, json={"client": {}})

    assert verdict is result.verdict
    assert 1 == panel.paths.count(WRITE)
    assert 13 == result.sent_bytes


async def test_write_hands_on_body_status_and_sizes_of_what_the_panel_said() -> None:
    panel = ScriptedPanel(answers={WRITE: envelope({"skipped": []}, msg="ok")})

    async with panel.api() as api:
        result = await api.write(WRITE, content=b'{"clients":[]}')

    body = b'{"success":true,"msg":"ok","obj":{"skipped":[]}}'
    assert WriteAnswer(Verdict.APPLIED, "", body, 0.0, 14, 200) == result


async def test_body_of_an_unknown_write_is_kept_back() -> None:
    panel = ScriptedPanel(answers={WRITE: httpx.Response(500, json={"success": True})})

    async with panel.api() as api:
        result = await api.write(WRITE, json={})

    assert (Verdict.UNKNOWN, None, 500) == (result.verdict, result.body, result.status)


async def test_write_carries_the_csrf_token_and_asks_for_no_compression() -> None:
    panel = ScriptedPanel(answers={WRITE: envelope()})

    async with panel.api() as api:
        await api.write(WRITE, form={"id": "1"})

    sent = panel.requests[-1]
    assert "csrf-token-number-000000" == sent.headers["X-CSRF-Token"]
    assert "identity" == sent.headers["Accept-Encoding"]
    assert "application/x-www-form-urlencoded" == sent.headers["Content-Type"]


async def test_after_a_write_without_a_session_the_next_read_logs_in_and_nothing_is_resent() -> (
    None
):
    panel = ScriptedPanel(answers={WRITE: envelope})
    panel.answers[WRITE] = lambda r: envelope() if panel.is_logged_in(r) else httpx.Response(401)

    async with panel.api() as api:
        await api.connect()
        panel.expire()
        written = await api.write(WRITE, json={})
        await api.read("GET", LIST)
        again = await api.write(WRITE, json={})

    assert (Verdict.NOT_SENT, Verdict.APPLIED) == (written.verdict, again.verdict)
    assert (2, 2) == (panel.logins, panel.paths.count(WRITE))


async def test_write_to_an_unreachable_panel_is_not_sent() -> None:
    panel = ScriptedPanel(answers={"csrf-token": httpx.ConnectError("")})

    async with panel.api() as api:
        result = await api.write(WRITE, json={})

    assert WriteAnswer(Verdict.NOT_SENT, "no connection to the host came about") == result


async def test_one_write_is_in_flight_at_a_time() -> None:
    flying, most = 0, 0
    panel = ScriptedPanel()

    async def slowly(request: httpx.Request) -> httpx.Response:
        nonlocal flying, most
        if not request.url.path.endswith(WRITE):
            return panel(request)
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1
        return envelope()

    async with panel.api() as api:
        api._channel._client._transport = httpx.MockTransport(slowly)
        results = await asyncio.gather(*(api.write(WRITE, json={}) for _ in range(5)))

    assert 1 == most
    assert [Verdict.APPLIED] * 5 == [result.verdict for result in results]


async def test_cancelled_write_frees_the_panel_for_the_next_one() -> None:
    panel = ScriptedPanel()
    begun = asyncio.Event()
    answers = [asyncio.Event(), None]

    async def first_hangs(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(WRITE):
            return panel(request)
        event = answers.pop(0)
        if event is not None:
            begun.set()
            await event.wait()
        return envelope()

    async with panel.api() as api:
        api._channel._client._transport = httpx.MockTransport(first_hangs)
        task = asyncio.create_task(api.write(WRITE, json={}))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await api.write(WRITE, json={})

    assert Verdict.APPLIED is result.verdict


# -- another panel than before ---------------------------------------------------------------------


async def test_upgrade_that_ends_the_session_stops_what_was_meant_for_the_old_version() -> None:
    panel = ScriptedPanel("2.9.4")

    async with panel.api() as api:
        await api.connect()
        panel.version = "3.6.0"
        panel.expire()
        with pytest.raises(PanelChanged, match=r"was 2\.9\.4 and is now 3\.6\.0"):
            await api.read("GET", LIST)
        written = await api.write(WRITE, json={})
        info = await api.connect()
        await api.read("GET", LIST)

    assert (3, 6, 0) == info.version
    assert Verdict.NOT_SENT is written.verdict
    assert WRITE not in panel.paths


@AUTHS
async def test_forgetting_asks_which_panel_this_is(auth: Credentials) -> None:
    panel = ScriptedPanel("3.0.2")

    async with panel.api(auth) as api:
        before = await api.connect()
        panel.version = "3.2.8"
        assert before is await api.connect()
        api.forget()
        after = await api.connect()

    assert ("3.0.2", "3.2.8") == (before.version_text, after.version_text)


async def test_panel_that_was_unreachable_is_asked_again_which_it_is() -> None:
    panel = ScriptedPanel("3.0.2")

    async with panel.api() as api:
        await api.connect()
        panel.answers[LIST] = [httpx.ConnectError("")] * 3
        with pytest.raises(PanelUnreachable):
            await api.read("GET", LIST)
        panel.version = "3.2.8"
        info = await api.connect()

    assert "3.2.8" == info.version_text


async def test_write_whose_path_is_gone_leads_to_a_new_detection() -> None:
    panel = ScriptedPanel("3.0.2", answers={WRITE: httpx.Response(404)})

    async with panel.api(TOKEN) as api:
        await api.connect()
        panel.version = "3.2.8"
        written = await api.write(WRITE, json={})
        info = await api.connect()

    assert (Verdict.NOT_SENT, "3.2.8") == (written.verdict, info.version_text)


async def test_clock_skew_is_of_the_last_answer() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        assert api.clock_skew is None
        await api.connect()
        assert 0 == api.clock_skew.total_seconds()  # type: ignore[union-attr]
