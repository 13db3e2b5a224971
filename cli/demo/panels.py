"""The demo's panels: one simulator process each, and their control ports.

A panel is started on its declared port, or on a free one when that is taken. Every process is ended
by its id, whatever happens. Callers: `command`. Not here: the operator's commands, verdicts.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cli.demo.scenario import SimulatedPanel
from desired_state.model.errors import X3FleetError

if TYPE_CHECKING:
    import httpx

END_S = 5
"""How long a panel may take to end before it is killed."""


class DemoFailed(X3FleetError):
    """The demo's own scenery broke; says nothing about a fleet."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True)
class Login:
    """What opens the simulated panels: made up for one demo."""

    username: str
    password: str
    token: str


@dataclass(slots=True)
class ControlledPanel:
    """A running simulated panel, seen from its control port."""

    listens_at: str
    control: "httpx.Client"

    def state(self) -> dict[str, Any]:
        """Its database, as the panel itself holds it."""
        found: dict[str, Any] = self.call("GET", "/state")
        return found

    def add_inbound(self, values: Mapping[str, Any]) -> int:
        """Make an inbound by hand and give its id."""
        return int(self.call("POST", "/inbounds", values)["id"])

    def add_client(self, inbound: int, client: Mapping[str, Any]) -> None:
        """Make a client by hand."""
        self.call("POST", "/clients/add", {"inbound": inbound, "client": client})

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON of a control port
        """Call the control port.

        Raises:
            DemoFailed: it did not answer, or refused.
        """
        import httpx

        try:
            answer = self.control.request(method, path, json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise DemoFailed(
                f"the simulated panel at {self.listens_at} failed: {type(error).__name__} at {path}"
            ) from error
        return answer.json()


@dataclass(slots=True)
class DemoPanel(ControlledPanel):
    """One of the demo's panels, with its own process."""

    spec: SimulatedPanel
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return urlsplit(self.listens_at).port or 0

    @property
    def control_url(self) -> str:
        """Where its control port listens."""
        return str(self.control.base_url).rstrip("/")

    def requests(self) -> list[dict[str, Any]]:
        """What it was asked since the log was cleared."""
        found: list[dict[str, Any]] = self.call("GET", "/requests")
        return found

    def forget_requests(self) -> None:
        """Clear the log."""
        self.call("DELETE", "/requests")

    def edit_client(self, email: str, values: Mapping[str, Any]) -> None:
        """Change a client by hand."""
        self.call("POST", "/clients/edit", {"email": email, "set": values})

    def delete_client(self, email: str) -> None:
        """Delete a client by hand."""
        self.call("POST", "/clients/delete", {"email": email})


@contextmanager
def running_panels(
    specs: tuple[SimulatedPanel, ...], login: Login, folder: Path
) -> Iterator[tuple[DemoPanel, ...]]:
    """Run these panels, one process each, for the length of the block."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_running(spec, login, folder)) for spec in specs)


@contextmanager
def _running(spec: SimulatedPanel, login: Login, folder: Path) -> Iterator[DemoPanel]:
    import httpx

    log = folder / f"{spec.node}.log"
    process, line = _start(spec, login, spec.port, log)
    try:
        if not line:
            end_process(process)
            process, line = _start(spec, login, 0, log)
        if not line:
            raise DemoFailed(f"the simulated panel of {spec.node} did not start: {_last(log)}")
        told = json.loads(line)
        with httpx.Client(base_url=told["control_url"], trust_env=False, timeout=30) as control:
            yield DemoPanel(told["url"], control, spec, process)
    finally:
        end_process(process)


def _start(
    spec: SimulatedPanel, login: Login, port: int, log: Path
) -> tuple[subprocess.Popen[str], str]:
    """Start a simulator; its line is empty when it ended at once, as on a port that is taken."""
    command = [
        sys.executable, "-m", "simulator", "--version", spec.version, "--port", str(port),
        "--username", login.username, "--password", login.password,
    ]  # fmt: skip
    if spec.token:
        command += ["--token", login.token]
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 (our own module, our own arguments)
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for the demo, which then ends its panels in order.
            start_new_session=True,
        )
    try:
        return process, process.stdout.readline() if process.stdout else ""
    except BaseException:
        end_process(process)
        raise


def end_process(process: subprocess.Popen[str]) -> None:
    """End a process that was started here, by its id."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _last(log: Path) -> str:
    lines = log.read_text().splitlines()
    return lines[-1] if lines else "it said nothing"
