"""What needs no session or belongs to the settings: login, CSRF, logout, tokens, defaults.

Callers: `app` collects `ROUTES`. Not here: the API below `/panel/api`, except the settings
that moved there in 3.3.0.
"""

import hmac
from typing import Any

from simulator import gojson, texts
from simulator.auth import new_token, totp
from simulator.state import ApiToken
from simulator.wire import (
    HTML_TYPE,
    JSON_TYPE,
    TEXT_TYPE,
    Call,
    Refused,
    Reply,
    Route,
    envelope,
    obj,
    redirect,
    refuse,
)

_NAME_LIMIT = 64
_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Login</title></head><body></body></html>"


def _root(call: Call) -> Reply:
    if not call.panel.options.front_end and call.version >= (3, 0, 0):
        return Reply(500, b"missing embedded page: login.html", TEXT_TYPE)
    if call.version >= (3, 0, 0):
        return Reply(200, _LOGIN_PAGE, HTML_TYPE)
    # 2.x tells its version behind the address of every script, to strangers too.
    script = f"{call.panel.options.base_path}assets/vue/vue.min.js?{call.version}"
    page = _LOGIN_PAGE.replace(b"</head>", f'<script src="{script}"></script></head>'.encode())
    return Reply(200, page, HTML_TYPE)


def _panel_page(call: Call) -> Reply:
    if not call.panel.options.front_end and call.version >= (3, 0, 0):
        return Reply(500, b"missing embedded page: index.html", TEXT_TYPE)
    return Reply(200, _LOGIN_PAGE, HTML_TYPE)


def _login(call: Call) -> Reply:
    try:
        form = call.form()
    except Refused:
        return _say(call, "login_invalid")
    username, password = (str(form.get(name) or "") for name in ("username", "password"))
    if not username:
        return _say(call, "login_no_user")
    if not password:
        return _say(call, "login_no_password")
    auth = call.panel.auth
    if auth.is_locked(call, username):
        return _say(call, "login_refused")
    if not _credentials_are_right(call, username, password, form):
        auth.note_failure(call, username)
        return _say(call, "login_refused")
    auth.note_success(call, username)
    auth.log_in(call)
    return call.done("login_ok")


def _credentials_are_right(call: Call, username: str, password: str, form: dict[str, Any]) -> bool:
    options, state = call.panel.options, call.panel.state
    right = username == state.username and hmac.compare_digest(
        password.encode(), state.password.encode()
    )
    if call.version < (2, 6, 0):
        wanted = options.login_secret or ""
        return right and (not wanted or str(form.get("loginSecret") or "") == wanted)
    if options.totp_secret:
        code = str(form.get("twoFactorCode") or "")
        return right and code == totp(options.totp_secret, call.panel.clock.now_ms())
    return right


def _say(call: Call, key: str) -> Reply:
    return envelope(texts.say(key, call.version, call.language), "null", success=False)


def _logout_get(call: Call) -> Reply:
    call.panel.auth.log_out(call)
    return redirect(307, call.panel.options.base_path, call.method)


def _logout_post(call: Call) -> Reply:
    call.panel.auth.log_out(call)
    return Reply(200, b'{"success":true}', JSON_TYPE, [("cache-control", "no-store")])


def _csrf_token(call: Call) -> Reply:
    body = {"obj": call.panel.auth.mint_csrf(call), "success": True}
    return Reply(200, gojson.compact(body).encode(), JSON_TYPE)


def _two_factor(call: Call) -> Reply:
    return obj(bool(call.panel.options.totp_secret))


def _secret_status(call: Call) -> Reply:
    return obj(bool(call.panel.options.login_secret))


def _openapi(call: Call) -> Reply:
    if call.panel.options.front_end:
        document = {"openapi": "3.0.3", "info": {"title": "3X-UI", "version": str(call.version)}}
        return Reply(200, gojson.compact(document).encode(), JSON_TYPE)
    body = b'{"msg":"openapi.json not found","success":false}'
    return Reply(404, body, JSON_TYPE)


def _default_settings(call: Call) -> Reply:
    version = call.version
    host = call.headers.get("host", "127.0.0.1").rsplit(":", 1)[0]
    base = f"http://{host}:2096"
    values: dict[str, object] = {
        "datepicker": "gregorian",
        "defaultCert": "",
        "defaultKey": "",
        "expireDiff": 0,
        "ipLimitEnable": version >= (3, 3, 1),
        "pageSize": 25 if version >= (2, 8, 0) else 50,
        "subEnable": version >= (2, 8, 2),
        "subURI": f"{base}/sub/",
        "tgBotEnable": False,
        "trafficDiff": 0,
    }
    values |= _settings_by_version(call, base)
    return obj(dict(sorted(values.items())))


def _settings_by_version(call: Call, base: str) -> dict[str, object]:
    version, values = call.version, dict[str, object]()
    if version < (2, 8, 2):
        values |= {"subJsonURI": f"{base}/json/"}
    else:
        values |= {"subJsonEnable": False, "subJsonURI": "", "subTitle": ""}
    if version >= (2, 9, 0):
        clash = version < (3, 2, 7)
        values |= {"subClashEnable": clash, "subClashURI": f"{base}/clash/" if clash else ""}
    if version <= (3, 3, 1):
        values["remarkModel"] = "-ieo"
    if version >= (3, 2, 7):
        values |= {"subDomain": "", "webDomain": ""}
    if version >= (3, 3, 0):
        values["subThemeDir"] = ""
    if version >= (3, 3, 1):
        values["accessLogEnable"] = False
    if version >= (3, 4, 2):
        values |= {"devChannelEnable": False, "isDevBuild": False}
    return values


def _view(call: Call, token: ApiToken, *, created: bool = False) -> dict[str, object]:
    view: dict[str, object] = {"id": token.id, "name": token.name}
    # From 3.2.7 on only a hash is stored: the token is shown once, by create.
    if created or call.version < (3, 2, 7):
        view["token"] = token.token
    return view | {"enabled": token.enabled, "createdAt": token.created_s}


def _list_tokens(call: Call) -> Reply:
    tokens = sorted(call.panel.state.tokens, key=lambda token: -token.id)
    return obj([_view(call, token) for token in tokens])


def _create_token(call: Call) -> Reply:
    name = str(call.form().get("name") or "").strip()
    state = call.panel.state
    if not name:
        raise refuse("token name is required")
    if len(name) > _NAME_LIMIT:
        raise refuse("token name must be 64 characters or fewer")
    if any(token.name == name for token in state.tokens):
        raise refuse("a token with that name already exists")
    token = call.panel.add_token(name, new_token(call.panel))
    return obj(_view(call, token, created=True))


def _find_token(call: Call) -> ApiToken:
    wanted = call.number("id")
    for token in call.panel.state.tokens:
        if token.id == wanted:
            return token
    raise refuse("token not found")


def _delete_token(call: Call) -> Reply:
    call.panel.state.tokens.remove(_find_token(call))
    return call.done("settings_changed")


def _enable_token(call: Call) -> Reply:
    _find_token(call).enabled = bool(call.form().get("enabled"))
    return call.done("settings_changed")


def _single_token(call: Call) -> Reply:
    tokens = call.panel.state.tokens
    if not tokens:
        call.panel.add_token("default", new_token(call.panel))
    return obj(tokens[0].token)


def _renew_single_token(call: Call) -> Reply:
    call.panel.state.tokens.clear()
    return _single_token(call)


def _update_user(call: Call) -> Reply:
    form, state = call.form(), call.panel.state
    old = str(form.get("oldUsername") or ""), str(form.get("oldPassword") or "")
    new = str(form.get("newUsername") or ""), str(form.get("newPassword") or "")
    if old != (state.username, state.password):
        raise refuse("The original username or password is incorrect")
    if not all(new):
        raise refuse("New username and new password cannot be empty")
    call.panel.set_credentials(*new)
    return call.done("settings_changed")


def _csrf_panel(call: Call) -> Reply:
    return _csrf_token(call)


def _token_routes() -> list[Route]:
    routes: list[Route] = []
    homes = [("/panel/setting", (3, 0, 2), (3, 2, 8)), ("/panel/api/setting", (3, 3, 0), None)]
    for home, since, until in homes:
        last = until or (99, 0, 0)
        group = "page" if until else "api"
        paths = [
            ("GET", "/apiTokens", _list_tokens),
            ("POST", "/apiTokens/create", _create_token),
            ("POST", "/apiTokens/delete/:id", _delete_token),
            ("POST", "/apiTokens/setEnabled/:id", _enable_token),
        ]
        for method, path, handler in paths:
            routes.append(
                Route(method, home + path, handler, since, last, "settings_changed", group)
            )
    return routes


ROUTES = (
    Route("GET", "/", _root, group="open"),
    Route("POST", "/login", _login, group="open"),
    Route("GET", "/logout", _logout_get, until=(3, 0, 1), group="open"),
    Route("POST", "/logout", _logout_post, since=(3, 0, 2), group="open"),
    Route("GET", "/csrf-token", _csrf_token, since=(3, 0, 0), group="open"),
    Route("POST", "/getTwoFactorEnable", _two_factor, since=(2, 6, 0), group="open"),
    Route("POST", "/getSecretStatus", _secret_status, until=(2, 5, 8), group="open"),
    Route("GET", "/panel/", _panel_page, group="page"),
    Route("GET", "/panel/csrf-token", _csrf_panel, since=(3, 0, 0), group="page"),
    Route(
        "GET", "/panel/api/openapi.json", _openapi, since=(3, 2, 0), until=(3, 5, 0), group="open"
    ),
    Route("GET", "/panel/api/openapi.json", _openapi, since=(3, 6, 0)),
    Route(
        "POST", "/panel/setting/defaultSettings", _default_settings, until=(3, 2, 8), group="page"
    ),
    Route("POST", "/panel/api/setting/defaultSettings", _default_settings, since=(3, 3, 0)),
    Route("POST", "/panel/setting/updateUser", _update_user, until=(3, 2, 8), group="page"),
    Route("POST", "/panel/api/setting/updateUser", _update_user, since=(3, 3, 0)),
    Route("GET", "/panel/setting/getApiToken", _single_token, (3, 0, 0), (3, 0, 1), group="page"),
    Route(
        "POST",
        "/panel/setting/regenerateApiToken",
        _renew_single_token,
        since=(3, 0, 0),
        until=(3, 0, 1),
        group="page",
    ),
    *_token_routes(),
)
