"""No address, port or panel path is hard-coded in what we ship; the audit that says so can fail."""

from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.hardcode import Finding, Kind, audit
from tests.architecture.source import ROOT, product_files, rel, text_files


@dataclass(frozen=True)
class Allowed:
    """Literals that may stand where they stand; `text` and `path` are shell patterns."""

    path: str
    kind: Kind
    text: str
    reason: str


HINT = "a hint that shows the form and names nobody"
LOOPBACK = "it listens on loopback, sees its callers there, and compares as a panel does"
ALLOWED = (
    Allowed("simulator/*", Kind.PANEL_PATH, "*", "the simulator is a panel: these are its routes"),
    Allowed("simulator/*", Kind.ADDRESS, "127.0.0.1", LOOPBACK),
    Allowed("simulator/*", Kind.ADDRESS, "::*", LOOPBACK),
    Allowed("simulator/*", Kind.ADDRESS, "0.*", LOOPBACK),
    Allowed("simulator/pages.py", Kind.PORT, ":*", "a panel's own default, which it reports"),
    Allowed(
        "simulator/demo.py", Kind.PORT, "port=*", "inbounds of a simulated panel; nobody calls"
    ),
    Allowed(
        "simulator/by_hand.py", Kind.HOST, "*example.com*", "the example of a disguise; no call"
    ),
    Allowed("simulator/v3_apply.py", Kind.HOST, "www.*", "a panel's own default, which it stores"),
    Allowed(
        "cli/demo/*panels.py",
        Kind.PANEL_PATH,
        "/clients/*",
        "routes of a simulator's control port, which no panel has",
    ),
    Allowed("controller/panels/*", Kind.PANEL_PATH, "*", "the one place that knows its routes"),
    Allowed(
        "controller/settings.py",
        Kind.ADDRESS,
        "127.0.0.1",
        "a setting's default: metrics are served on loopback",
    ),
    Allowed(
        "controller/telemetry/labels.py",
        Kind.PANEL_PATH,
        "login",
        "the name of a kind of call, as a metric's label",
    ),
    Allowed(
        "desired_state/manifests/panel_url.py",
        Kind.PORT,
        "DEFAULT_PORTS=*",
        "what a URL without a port means, by its scheme",
    ),
    Allowed("desired_state/manifests/fields.py", Kind.URL, "write it as scheme://*", HINT),
    Allowed("desired_state/store/settings.py", Kind.URL, "is no database URL, *", HINT),
)


def is_allowed(finding: Finding) -> bool:
    return any(covers(entry, finding) for entry in ALLOWED)


def covers(entry: Allowed, finding: Finding) -> bool:
    return (
        finding.kind is entry.kind
        and fnmatch(rel(finding.path), entry.path)
        and fnmatch(finding.text, entry.text)
    )


def audited() -> tuple[Path, ...]:
    """Product code with its migrations and templates, deploy/ and the image."""
    texts = [f for f in text_files() if rel(f).startswith("deploy/") or f.name == "Dockerfile"]
    templates = [f for f in text_files() if f.suffix == ".html"]
    return (*product_files(), *texts, *templates)


@cache
def findings() -> tuple[Finding, ...]:
    return tuple(finding for path in audited() for finding in audit(path))


def test_nothing_that_we_ship_holds_an_address() -> None:
    found = [
        f"{rel(f.path)}:{f.line} {f.kind}: {f.text[:80]!r}" for f in findings() if not is_allowed(f)
    ]

    assert [] == found


def test_every_exception_is_needed() -> None:
    """An exception without a literal is deleted, lest it hides the next one."""
    seen = findings()

    assert [] == [entry for entry in ALLOWED if not any(covers(entry, f) for f in seen)]


def test_every_exception_has_a_reason() -> None:
    assert [] == [entry for entry in ALLOWED if len(entry.reason.split()) < 4]


def test_migrations_and_deployment_are_audited() -> None:
    names = {rel(path) for path in audited()}

    assert "Dockerfile" in names
    assert {rel(f) for f in (ROOT / "desired_state/store/migrations").rglob("*.py")} <= names
    assert {rel(f) for f in text_files() if rel(f).startswith("deploy/")} <= names


SEEDED = {
    "an IPv4 address": ("HOST = '203.0.113.7'", Kind.ADDRESS),
    "an IPv6 address": ("HOST = '2001:db8::1'", Kind.ADDRESS),
    "an address inside a longer string": ("x = f'http {y} 198.51.100.4 {z}'", Kind.ADDRESS),
    "a loopback address": ("serve('127.0.0.1')", Kind.ADDRESS),
    "a URL": ("URL = 'https://nl1.example.net/x/'", Kind.URL),
    "a URL in an f-string": ("url = f'https://nl1.example.net/{path}'", Kind.URL),
    "a URL in bytes": ("URL = b'http://nl1.example.net'", Kind.URL),
    "a URL with a login": ("URL = 'https://u:p@nl1.example.net'", Kind.URL),
    "a host with its port": ("peer = 'panel.example.net:2053'", Kind.HOST),
    "a bare host name": ("peer = 'nl1.example.net'", Kind.HOST),
    "localhost": ("peer = 'localhost'", Kind.HOST),
    "a port by keyword": ("connect(host, port=2053)", Kind.PORT),
    "a port as a constant": ("PANEL_PORT = 54321", Kind.PORT),
    "a port as an annotated field": ("panel_port: int = 54321", Kind.PORT),
    "a port as text": ("connect(port='2053')", Kind.PORT),
    "a port as a default": ("def f(host, port=2053): ...", Kind.PORT),
    "a port after a host": ("url = f'{scheme}://{host}:2096'", Kind.PORT),
    "a port as a keyword-only default": ("def f(*, sub_port=2096): ...", Kind.PORT),
    "a port in a mapping": ("x = {'port': 2053}", Kind.PORT),
    "a port in a comparison": ("ok = inbound.port == 2053", Kind.PORT),
    "a port as a fallback": ("x = url.port or 2053", Kind.PORT),
    "a port out of two": ("port = 443 if tls else 80", Kind.PORT),
    "ports in a tuple": ("PORTS = (443, 8443)", Kind.PORT),
    "an API path": ("path = 'panel/api/inbounds/list'", Kind.PANEL_PATH),
    "an API path with a slash": ("path = f'{base}/panel/api/server/status'", Kind.PANEL_PATH),
    "a relative API path": ("path = 'inbounds/addClient'", Kind.PANEL_PATH),
    "a path with a hole": ("path = f'inbounds/{id}/delClient/{uuid}'", Kind.PANEL_PATH),
    "a path of clients": ("path = 'clients/bulkCreate'", Kind.PANEL_PATH),
    "the login path": ("path = '/login'", Kind.PANEL_PATH),
    "the login path without a slash": ("path = 'login'", Kind.PANEL_PATH),
    "an old panel's path": ("path = 'xui/API/inbounds'", Kind.PANEL_PATH),
}

HARMLESS = {
    "a version": "x = '3.2.8'",
    "a docstring": "def f():\n    '''Calls http://nl1.example.net:2053/panel/api/inbounds/list.'''",
    "a comment": "x = 1  # 203.0.113.7:2053",
    "a scheme alone": "x = f'https://{host}/'",
    "a local database": "URL = 'sqlite+aiosqlite:///x3fleet.db'",
    "the bounds of ports": "ok = 1 <= port <= 65535",
    "any free port": "bind(port=0)",
    "a number that is no port": "limit = 2053",
    "a name of a module": "x = 'controller.panels.api'",
    "a path of a document": "x = 'spec.inbounds.match'",
    "a moment": "x = '2026-11-23T08:00:00'",
    "a slice of text": "x = '::'",
    "a word": "x = 'credentials refused at login'",
}


@pytest.mark.parametrize(("code", "kind"), SEEDED.values(), ids=SEEDED)
def test_a_literal_in_python_is_found(code: str, kind: Kind, tmp_path: Path) -> None:
    seeded = tmp_path / "seeded.py"
    seeded.write_text(code)

    assert kind in {finding.kind for finding in audit(seeded)}


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_address_is_left_alone(code: str, tmp_path: Path) -> None:
    harmless = tmp_path / "harmless.py"
    harmless.write_text(code)

    assert [] == list(audit(harmless))


LINES = {
    "an address in a unit": ("x.service", "Environment=PANEL=203.0.113.7", Kind.ADDRESS),
    "a URL in a compose file": ("compose.yaml", "  URL: https://nl1.example.net", Kind.URL),
    "a published port": ("compose.yaml", '    - "8080:80"', Kind.PORT),
    "a port by name": ("compose.yaml", "    port: 2053", Kind.PORT),
    "an exposed port": ("Dockerfile", "EXPOSE 8080", Kind.PORT),
    "a path in a template": ("page.html", '<a href="/panel/api/inbounds/list">', Kind.PANEL_PATH),
    "a host in a template": ("page.html", "<b>nl1.example.net:2053</b>", Kind.HOST),
}


@pytest.mark.parametrize(("name", "line", "kind"), LINES.values(), ids=LINES)
def test_a_literal_in_a_line_is_found(name: str, line: str, kind: Kind, tmp_path: Path) -> None:
    seeded = tmp_path / name
    seeded.write_text(f"first: line\n{line}\n")

    assert (2, kind) in {(finding.line, finding.kind) for finding in audit(seeded)}


def test_an_exception_covers_its_own_folder_only() -> None:
    text = "panel/api/inbounds/list"

    def at(place: str) -> bool:
        return is_allowed(Finding(ROOT / place, 1, Kind.PANEL_PATH, text))

    assert at("controller/panels/dialects/v2.py")
    assert not at("controller/core/plan.py")
    assert not at("cli/doctor.py")
    assert not is_allowed(
        Finding(ROOT / "controller/panels/detect.py", 1, Kind.URL, "http://a.net")
    )
