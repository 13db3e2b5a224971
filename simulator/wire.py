"""Requests, answers and routes, as the panel's web framework shapes them.

Callers: every module with endpoints (they make `Route`s and `Reply`s), `app` (which dispatches).
Not here: what an endpoint does, authentication, faults.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from simulator import gojson, texts
from simulator.version import NEWEST, OLDEST, Version

if TYPE_CHECKING:
    from simulator.app import Panel

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"


class Refused(Exception):
    """The panel says no: 200 with `success: false`.

    Args:
        inner: the part in parentheses. Errors that the panel makes itself end with a newline.
        outer: the key of the sentence around it, when it is not the route's usual one.
    """

    def __init__(self, inner: str, outer: str | None = None) -> None:
        super().__init__(inner)
        self.inner = inner
        self.outer = outer


class Panic(Exception):
    """A handler of the panel crashed: an empty answer, its status by version."""


def refuse(text: str, outer: str | None = None) -> Refused:
    """Make a refusal in the panel's own words (with the newline inside)."""
    return Refused(text + "\n", outer)


def not_found() -> Refused:
    """Make the database library's refusal (without a newline)."""
    return Refused("record not found")


@dataclass
class Reply:
    """An answer before compression and Date."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Call:
    """One request, decoded."""

    panel: "Panel"
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    client_ip: str
    scheme: str = "http"
    params: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)
    is_bearer: bool = False

    @property
    def version(self) -> Version:
        """The panel's version."""
        return self.panel.version

    @property
    def is_ajax(self) -> bool:
        """Whether a script asks, which changes the answer to strangers."""
        return self.headers.get("x-requested-with") == "XMLHttpRequest"

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies by name."""
        pairs = (part.partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}

    @property
    def language(self) -> str:
        """The language of the answer: cookie, header, or the panel's own."""
        asked = self.cookies.get("lang") or self.headers.get("accept-language", "")
        asked = self.panel.forced_language or asked.split(",")[0].split(";")[0].strip()
        for language in texts.LANGUAGES:
            if asked and language.startswith(asked[:2]):
                return language
        return self.panel.options.language

    def one(self, name: str) -> str:
        """A query value, empty when missing."""
        return self.query.get(name, [""])[0]

    def number(self, name: str) -> int:
        """A numeric path parameter.

        Raises:
            Refused: as Go's number parser words it.
        """
        text = self.params[name]
        try:
            return int(text)
        except ValueError:
            message = f'strconv.Atoi: parsing "{text}": invalid syntax'
            raise Refused(message) from None

    def json(self) -> Any:  # noqa: ANN401 - JSON is any
        """The body as JSON.

        Raises:
            Refused: in the words of Go's decoder, or because the body is too large (3.4.0+).
        """
        self.check_size()
        try:
            return gojson.parse(self.body, stream=True)
        except gojson.GoJsonError as error:
            raise Refused(str(error)) from error

    def object(self) -> gojson.Doc:
        """The body as a JSON object; null is an empty one.

        Raises:
            Refused: anything else.
        """
        body = self.json()
        if body is None:
            return {}
        if not isinstance(body, dict):
            kind = gojson.kind_of(body)
            message = f"json: cannot unmarshal {kind} into Go value of type controller.request"
            raise Refused(message)
        return body

    def check_size(self) -> None:
        """Refuse bodies over 10 MiB from 3.4.0 on."""
        limit = 10 * 1024 * 1024
        if self.version >= (3, 4, 0) and len(self.body) > limit:
            message = "http: request body too large"
            raise Refused(message)

    def form(self) -> dict[str, Any]:
        """The body by its content type: JSON, or form fields as strings."""
        if self.headers.get("content-type", "").startswith("application/json"):
            body = self.json()
            return body if isinstance(body, dict) else {}
        self.check_size()
        fields = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[0] for name, values in fields.items()}

    def done(self, key: str, obj: str = "null") -> Reply:
        """Answer a write that was done; `obj` is JSON text."""
        return envelope(texts.success(key, self.version, self.language), obj)

    def done_plain(self, sentence: str) -> Reply:
        """Answer a write with a sentence that is never translated."""
        return envelope(sentence, "null")

    def failed(self, key: str, inner: str) -> Reply:
        """Answer a refusal."""
        message = texts.failure(key, inner, self.version, self.language)
        return envelope(message, "null", success=False)


Handler = Callable[[Call], Reply]


def envelope(message: str, obj: str, *, success: bool = True) -> Reply:
    """The panel's JSON envelope; `obj` is JSON text."""
    flag = "true" if success else "false"
    text = f'{{"success":{flag},"msg":{gojson.compact(message)},"obj":{obj}}}'
    return Reply(body=text.encode(), content_type=JSON_TYPE)


def obj(value: object) -> Reply:
    """Answer a read."""
    return envelope("", gojson.compact(value))


def obj_text(text: str) -> Reply:
    """Answer a read whose object is already JSON text."""
    return envelope("", text)


def empty(status: int) -> Reply:
    """An answer without a body."""
    return Reply(status=status)


def redirect(status: int, location: str, method: str) -> Reply:
    """A redirect; only answers to GET carry a body."""
    headers = [("location", location)]
    if method != "GET":
        return Reply(status=status, headers=headers)
    title = {301: "Moved Permanently", 307: "Temporary Redirect"}[status]
    body = f'<a href="{location}">{title}</a>.\n\n'
    return Reply(status, body.encode(), HTML_TYPE, headers)


@dataclass(frozen=True)
class Route:
    """An endpoint and the versions that have it.

    `fail` is the key of the sentence around its refusals; `group` decides who may call it and
    how strangers are answered: `open`, `page` or `api`.
    """

    method: str
    path: str
    handler: Handler
    since: tuple[int, int, int] = OLDEST
    until: tuple[int, int, int] = NEWEST
    fail: str = "wrong"
    group: str = "api"
    write: bool = False

    def exists(self, version: Version) -> bool:
        """Whether this version has the endpoint."""
        return self.since <= version <= self.until


class Router:
    """The routes of one version, matched on the decoded path like the panel's framework does."""

    def __init__(self, routes: Iterable[Route], version: Version) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[str, list[str], Route]] = []
        for route in routes:
            if not route.exists(version):
                continue
            if ":" in route.path:
                self._patterns.append((route.method, route.path.split("/"), route))
            else:
                self._exact[route.method, route.path] = route

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Find the route of a path, with its parameters."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, {}
        parts = path.split("/")
        for known, pattern, candidate in self._patterns:
            params = _match_parts(pattern, parts) if known == method else None
            if params is not None:
                return candidate, params
        return None

    def slash_redirect(self, method: str, path: str) -> str | None:
        """The path with or without its last slash, when only that one exists."""
        other = path[:-1] if path.endswith("/") else path + "/"
        return other if other and self.match(method, other) else None


def _match_parts(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    params: dict[str, str] = {}
    for wanted, got in zip(pattern, parts, strict=True):
        if wanted.startswith(":"):
            if not got:
                return None
            params[wanted[1:]] = got
        elif wanted != got:
            return None
    return params
