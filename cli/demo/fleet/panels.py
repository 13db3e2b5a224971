"""Twenty simulated panels in a few processes, each seen from its control port.

Callers: `stage`. Not here: what is done to them (`chapters`), the operator's commands.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.demo.panels import ControlledPanel, DemoFailed, Login, end_process
from cli.demo.verdict import Place, clients_of

if TYPE_CHECKING:
    pass

KEY = re.compile(r"x3f-([a-z2-7]{10})-g\d+")
"""The key in an email of ours, as the default template makes it."""


@dataclass(slots=True)
class FleetPanel(ControlledPanel):
    """One simulated panel. `inbounds`: what an operator makes on it by hand."""

    inbounds: list[dict[str, Any]]

    def clients(self) -> dict[Place, dict[str, Any]]:
        """Return what it holds of every client, by inbound and email."""
        return clients_of(self.state())

    def keys(self) -> dict[str, bool]:
        """Return the keys that it holds, and whether each is switched on everywhere on it."""
        found: dict[str, bool] = {}
        for (_, email), client in self.clients().items():
            match = KEY.match(email)
            if match:
                found[match[1]] = found.get(match[1], True) and bool(client["enable"])
        return found

    def furnish(self) -> None:
        """Make the inbounds that keys live on, and one client that is not ours."""
        made = [self.add_inbound(inbound) for inbound in self.inbounds]
        client = {
            "email": "office-router", "id": "0" * 32, "subId": "office", "enable": True,
            "limitIp": 0, "totalGB": 0, "expiryTime": 0, "tgId": 0, "reset": 0, "comment": "",
        }  # fmt: skip
        self.add_client(made[0], client)

    def die(self) -> None:
        """Cut every connection to it, until it returns."""
        self.call("POST", "/faults", {"kind": "lost_request", "path": ".*", "count": None})

    def return_(self) -> None:
        """Answer again."""
        self.call("DELETE", "/faults")

    def wipe(self) -> None:
        """Lose the database: inbounds are made anew, as an operator would, clients are gone."""
        self.call("POST", "/wipe", {})
        self.furnish()

    def use(self, key: str, up: int, down: int) -> None:
        """Let traffic flow on one client of a key, and let the panel count it."""
        email = next(email for _, email in self.clients() if key in email)
        self.call("POST", "/traffic", {"email": email, "up": up, "down": down})


@contextmanager
def running_fleet(
    counts: Mapping[str, int], login: Login, inbounds: list[dict[str, Any]]
) -> Iterator[list[FleetPanel]]:
    """Run so many panels of each version, one process a version, for the length of the block."""
    import httpx

    processes: list[subprocess.Popen[str]] = []
    controls: list[httpx.Client] = []
    try:
        panels: list[FleetPanel] = []
        for version, count in counts.items():
            command = [
                sys.executable, "-m", "simulator", "--version", version, "--count", str(count),
                "--username", login.username, "--password", login.password,
            ]  # fmt: skip
            processes.append(
                subprocess.Popen(  # noqa: S603 (our own module, our own arguments)
                    command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                    start_new_session=True,
                )
            )  # fmt: skip
        for process, count in zip(processes, counts.values(), strict=True):
            for _ in range(count):
                line = process.stdout.readline() if process.stdout else ""
                if not line:
                    raise DemoFailed("a simulated panel did not start")
                told = json.loads(line)
                control = httpx.Client(base_url=told["control_url"], trust_env=False, timeout=60)
                controls.append(control)
                panels.append(FleetPanel(told["url"], control, inbounds))
        yield panels
    finally:
        for control in controls:
            control.close()
        for process in processes:
            end_process(process)
