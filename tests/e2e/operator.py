"""An operator at a shell: types `x3fleet` as processes, in a folder and with settings of its own.

Panels are simulated and run in the test's own loop, so that a test sees what they hold and were asked.
Callers: the tests beside this file. Not here: expectations.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.app import Panel, PanelOptions, create_panel
from simulator.by_hand import add_inbound
from simulator.server import Tls, running
from tests.e2e import shell
from tests.e2e.shell import ROOT

USERNAME, PASSWORD, TOKEN = "keeper", "panel-pw-7d1e", "t" * 48
SECRETS = {"PANEL_USERNAME": USERNAME, "PANEL_PASSWORD": PASSWORD, "PANEL_TOKEN": TOKEN}
TARIFF = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: all}
spec:
  title: {ru: "Везде", en: "Everywhere"}
  days: 30
  nodes: {count: all}
"""
NODE = """\
apiVersion: x3fleet/v1
kind: Node
metadata: {name: %(name)s}
spec:
  panel:
    url: %(url)s
    auth: %(auth)s
  address: %(name)s.example.net
"""
BY_PASSWORD = "{username: {env: PANEL_USERNAME}, password: {env: PANEL_PASSWORD}}"
BY_TOKEN = "{token: {env: PANEL_TOKEN}}"


@dataclass(frozen=True)
class Run:
    """One command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one line of JSON on stdout."""
        lines = self.out.splitlines()
        assert 1 == len(lines), (self.out, self.err)
        return json.loads(lines[0])


@dataclass
class Operator:
    """Types commands. `settings`: environment variables that all see; `program`: the module to run."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    program: str = "cli"

    def __post_init__(self) -> None:
        self.settings = {
            "X3FLEET_DATABASE__URL": f"sqlite:///{self.database}",
            **SECRETS,
            **self.settings,
        }

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "x3fleet.db"

    async def start(self, *words: str, **settings: str) -> shell.Process:
        """Start a command; its output is read by `finish`."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = {**kept, "PYTHONPATH": str(ROOT), **self.settings, **settings}
        return await shell.start(self.program, words, environment, self.folder)

    async def run(self, *words: str, **settings: str) -> Run:
        """Type a command and wait for its end."""
        return await finish(await self.start(*words, **settings))

    async def ask(self, *words: str, code: int = 0, **settings: str) -> Any:
        """Type a command with `--output json`, demand its exit code, and give its document."""
        run = await self.run(*words, "--output", "json", **settings)
        assert code == run.code, (words, run.out, run.err)
        return run.document

    def declare(self, *nodes: str, tariff: str = TARIFF) -> Path:
        """Write manifests and give their folder."""
        fleet = self.folder / "fleet"
        fleet.mkdir(exist_ok=True)
        (fleet / "fleet.yaml").write_text("---\n".join((tariff, *nodes)))
        return fleet

    async def set_up(self, *nodes: str, keys: int = 0) -> list[str]:
        """Make a database, declare nodes and issue keys; gives the keys' ids."""
        fleet = self.declare(*nodes)
        await self.ask("db", "upgrade")
        await self.ask("manifests", "apply", str(fleet))
        if not keys:
            return []
        issued = await self.ask("keys", "issue", "--tariff", "all", "--count", str(keys))
        return [key["key"] for key in issued["keys"]]


async def finish(process: shell.Process) -> Run:
    """Wait for the end of a command."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, out.decode(), err.decode())


def node(name: str, url: str, *, auth: str = BY_PASSWORD) -> str:
    """Write a node's manifest."""
    return NODE % {"name": name, "url": url, "auth": auth}


@dataclass(frozen=True)
class Site:
    """A simulated panel that listens."""

    panel: Panel
    url: str

    @property
    def emails(self) -> list[str]:
        """Every client's email, once for each inbound that carries it."""
        inbounds = self.panel.state.inbounds.values()
        return sorted(entry.email for inbound in inbounds for entry in inbound.settings.clients)

    @property
    def writes(self) -> int:
        """Requests that could have changed it."""
        return sum(line.write for line in self.panel.log)

    @property
    def logins(self) -> int:
        """Attempts to log in."""
        return sum(line.path.endswith("/login") for line in self.panel.log)


@asynccontextmanager
async def site(
    version: str, *, inbounds: int = 1, tls: Tls | None = None, seed: int = 0, **options: Any
) -> AsyncIterator[Site]:
    """Run a panel with some inbounds while the block runs."""
    given = {"username": USERNAME, "password": PASSWORD, "token": TOKEN, **options}
    if version.startswith("2"):
        given["token"] = None
    panel = create_panel(version, seed=seed, options=PanelOptions(**given))
    for number in range(inbounds):
        protocol = ("vless", "trojan")[number % 2]
        add_inbound(panel, {"protocol": protocol, "port": 21_643 + number})
    async with running(panel, control_port=None, tls=tls) as served:
        yield Site(panel, served.url)


def shape(value: Any) -> Any:
    """Replace every value by the name of its type: what scripts rely on."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "null" if value is None else type(value).__name__
