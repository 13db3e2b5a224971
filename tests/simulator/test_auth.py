"""Who may call, by version: sessions, CSRF, tokens, lockout, one-time codes."""

import pyotp
import pytest

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.mark.parametrize(
    ("version", "ajax", "plain"),
    [
        ("2.3.15", 401, 307),
        ("2.8.3", 401, 307),
        ("2.8.4", 404, 404),
        ("3.0.1", 404, 404),
        ("3.0.2", 401, 404),
        ("3.6.0", 401, 404),
    ],
)
async def test_strangers_get_the_answer_of_their_version(open_site, version, ajax, plain):
    site = await open_site(version, logged_in=False)

    one = await site.http.get(
        "/panel/api/inbounds/list", headers={"x-requested-with": "XMLHttpRequest"}
    )
    other = await site.http.get("/panel/api/inbounds/list")

    assert (ajax, plain) == (one.status_code, other.status_code)


@pytest.mark.parametrize("version", ["2.6.6", "2.9.4", "3.6.0"])
async def test_only_the_code_of_the_present_step_is_taken(open_site, version):
    site = await open_site(version, logged_in=False, totp_secret=SECRET)
    codes = pyotp.TOTP(SECRET)
    now = site.panel.clock.now_ms() // 1000

    answers = [await site.log_in(twoFactorCode=codes.at(now + shift)) for shift in (-30, 30, 0)]

    assert [False, False, True] == [answer["success"] for answer in answers]
    assert (await site.http.post("/getTwoFactorEnable")).json()["obj"]


async def test_a_step_ends_with_the_panels_clock(open_site):
    site = await open_site("2.9.4", logged_in=False, totp_secret=SECRET)
    code = pyotp.TOTP(SECRET).at(site.panel.clock.now_ms() // 1000)

    await site.control("/clock", {"advance_s": 30})

    assert not (await site.log_in(twoFactorCode=code))["success"]


async def test_the_login_secret_of_early_versions(open_site):
    site = await open_site("2.5.8", logged_in=False, login_secret="hush")

    refused, done = await site.log_in(), await site.log_in(loginSecret="hush")

    assert (False, True) == (refused["success"], done["success"])
    assert (await site.http.post("/getSecretStatus")).json()["obj"]


@pytest.mark.parametrize(
    ("version", "locked"), [("2.9.4", False), ("3.0.2", True), ("3.6.0", True)]
)
async def test_five_wrong_passwords_lock_for_fifteen_minutes(open_site, version, locked):
    site = await open_site(version, logged_in=False)
    for _ in range(5):
        await site.log_in(password="nope")

    blocked = not (await site.log_in())["success"]
    await site.control("/clock", {"advance_s": 15 * 60 + 1})

    assert locked == blocked
    assert (await site.log_in())["success"]


async def test_old_failures_do_not_lock(open_site):
    site = await open_site("3.6.0", logged_in=False)
    for _ in range(4):
        await site.log_in(password="nope")
    await site.control("/clock", {"advance_s": 301})
    await site.log_in(password="nope")

    assert (await site.log_in())["success"]


async def test_changing_calls_of_a_session_need_its_csrf_token(open_site):
    site = await open_site("3.6.0", logged_in=False)
    await site.log_in()
    token = site.http.headers.pop("x-csrf-token")

    without = await site.http.post("/panel/api/inbounds/add", json={})
    wrong = await site.http.post(
        "/panel/api/inbounds/add", json={}, headers={"x-csrf-token": "wrong"}
    )
    right = await site.http.post(
        "/panel/api/inbounds/add", json={}, headers={"x-csrf-token": token}
    )

    assert [403, 403, 200] == [r.status_code for r in (without, wrong, right)]
    assert b"" == without.content


@pytest.mark.parametrize(
    ("version", "home", "shown"),
    [
        ("3.0.2", "/panel/setting/apiTokens", True),
        ("3.2.7", "/panel/setting/apiTokens", False),
        ("3.3.0", "/panel/api/setting/apiTokens", False),
    ],
)
async def test_tokens_are_made_listed_disabled_and_deleted(open_site, version, home, shown):
    site = await open_site(version, logged_in=False, token=None)
    await site.log_in()
    made = (await site.http.post(f"{home}/create", json={"name": "x"})).json()["obj"]
    listed = (await site.http.get(home)).json()["obj"][0]
    bearer = {"authorization": f"Bearer {made['token']}"}
    site.http.cookies.clear()
    cookieless = site.http.headers.pop("x-csrf-token")

    used = await site.http.get("/panel/api/inbounds/list", headers=bearer)
    site.panel.state.tokens[0].enabled = False
    disabled = await site.http.get("/panel/api/inbounds/list", headers=bearer)

    assert 48 == len(made["token"])
    assert shown == ("token" in listed)
    assert (200, 404) == (used.status_code, disabled.status_code)
    assert cookieless


async def test_a_single_token_of_the_first_releases(open_site):
    site = await open_site("3.0.0", logged_in=False, token=None)
    await site.log_in()

    token = (await site.http.get("/panel/setting/getApiToken")).json()["obj"]
    renewed = (await site.http.post("/panel/setting/regenerateApiToken")).json()["obj"]

    assert token != renewed
    assert [renewed] == [known.token for known in site.panel.state.tokens]


async def test_a_cookie_ends_with_the_librarys_thirty_days(open_site):
    site = await open_site("2.9.4")

    await site.control("/clock", {"advance_s": 31 * 86_400})

    assert {"status": 404} == await site.api("inbounds/list")


async def test_a_new_password_by_the_api_ends_sessions(open_site):
    site = await open_site("3.6.0", logged_in=False)
    await site.log_in()
    form = {"oldUsername": "admin", "oldPassword": "admin"}
    new = {"newUsername": "root", "newPassword": "secret"}

    wrong = await site.api("setting/updateUser", {**form, "oldPassword": "x", **new})
    done = await site.api("setting/updateUser", {**form, **new})

    assert (False, True) == (wrong["success"], done["success"])
    assert {"status": 404} == await site.api("inbounds/list")
    assert (await site.log_in(username="root", password="secret"))["success"]


async def test_the_front_end_may_be_missing(open_site):
    built = await open_site("3.6.0")
    bare = await open_site("3.6.0", front_end=False)

    pages = [await site.http.get("/") for site in (built, bare)]
    documents = [await site.http.get("/panel/api/openapi.json") for site in (built, bare)]

    assert [200, 500] == [page.status_code for page in pages]
    assert [200, 404] == [document.status_code for document in documents]
