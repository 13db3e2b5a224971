"""The stage of the fleet's demo: panels, a watched folder of manifests, and the running service.

It asks panels what they hold and types the operator's commands; it knows nothing of how a fleet is kept
equal to what was declared. Callers: `command`, `chapters`. Not here: what happens on the stage.
"""

import contextlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cli.demo.fleet.panels import FleetPanel
from cli.demo.panels import DemoFailed, end_process
from cli.render import Text, Tone, show_blocks

T = TypeVar("T")
LOOK_S = 0.5
PATIENCE_S = 300.0
"""How long the demo waits for one thing before it says that it did not happen."""
COUNTRIES = ("nl", "de", "fi", "se", "pl")


@dataclass(slots=True)
class FleetStage:
    """One demo under way. `panels`: by node, those that are declared."""

    folder: Path
    data: Path
    spare: list[FleetPanel]
    panels: dict[str, FleetPanel] = field(default_factory=dict)

    @property
    def manifests(self) -> Path:
        """The folder that the service watches."""
        return self.folder / "fleet"

    def declare_node(self) -> str:
        """Write the manifest of one more node into the watched folder and give its name."""
        number, panel = len(self.panels) + 1, self.spare.pop(0)
        country = COUNTRIES[number % len(COUNTRIES)]
        name = f"{country}-{number:02}"
        panel.furnish()
        text = (self.data / "node.yaml").read_text().replace("nl-00", name)
        text = text.replace("country: nl", f"country: {country}")
        text = re.sub(r"url: \S+", f"url: {panel.listens_at}", text)
        # Under its name at once: a folder is read as it stands.
        unfinished = self.manifests / f".{name}"
        unfinished.write_text(text)
        unfinished.rename(self.manifests / f"{name}.yaml")
        self.panels[name] = panel
        return name

    def held(self, wanted: Container[str] | None = None) -> dict[str, dict[str, bool]]:
        """Return every panel's keys, and whether each is switched on there.

        Up to 3.0.2 the last client of an inbound cannot be deleted: one that is off and nobody's holds
        the place, and is no key.

        Args:
            wanted: the keys of our own side, where the caller has asked for them.
        """
        known = self.wanted if wanted is None else wanted
        return {
            node: {key: on for key, on in panel.keys().items() if on or key in known}
            for node, panel in self.panels.items()
        }

    def nodes_of(self, key: str) -> dict[str, bool]:
        """Return the nodes whose panels hold a key, and whether it is on there."""
        return {node: keys[key] for node, keys in self.held().items() if key in keys}

    @property
    def wanted(self) -> dict[str, set[str]]:
        """Where our own side says that each key is to live."""
        return {one["key"]: set(one["nodes"]) for one in self.listed()}

    def listed(self) -> list[dict[str, Any]]:
        """Every key, as our own side lists it."""
        found: list[dict[str, Any]] = self.ask("keys", "list", "--limit", "100000")["keys"]
        return found

    def is_in_place(self) -> bool:
        """Whether panels hold exactly the keys that are placed on them."""
        placed: dict[str, set[str]] = {node: set() for node in self.panels}
        wanted = self.wanted
        for key, nodes in wanted.items():
            for node in nodes:
                placed[node].add(key)
        return placed == {node: set(keys) for node, keys in self.held(wanted).items()}

    def ask(self, *tokens: str) -> Any:  # noqa: ANN401 - any document of ours
        """Type a command and return its document."""
        code, text = self._typed(*tokens, "--output", "json")
        try:
            return json.loads(text)
        except ValueError:
            raise DemoFailed(f"x3fleet {' '.join(tokens)} ended with {code}") from None

    def type(self, *tokens: str) -> int:
        """Type a command, show it and what it says; anything but an error will do."""
        show_blocks(("", Text(f"$ x3fleet {' '.join(tokens)}", Tone.HEAD)))
        code, text = self._typed(*tokens)
        lines = text.rstrip().splitlines()
        show_blocks(tuple(lines[:8]) + ((f"... {len(lines) - 8} more",) if len(lines) > 8 else ()))
        if code == 1:
            raise DemoFailed(f"x3fleet {' '.join(tokens)} ended with an error")
        return code

    def _typed(self, *tokens: str) -> tuple[int, str]:
        from cli.main import run

        answer = io.StringIO()
        with contextlib.redirect_stdout(answer):
            code = run(tokens)
        return int(code), answer.getvalue()

    def metrics(self) -> str:
        """Read the service's metrics."""
        import httpx

        from controller.settings import load_settings

        served = load_settings().service.metrics
        answer = httpx.get(f"http://{served.host}:{served.port}/metrics", trust_env=False)
        return answer.text

    def until(self, what: str, holds: Callable[[], T], *, patience_s: float = PATIENCE_S) -> float:
        """Wait until something holds and give the seconds that it took.

        Raises:
            DemoFailed: it did not come true.
        """
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > patience_s:
                raise DemoFailed(f"it did not come true in {patience_s:.0f} s that {what}")
            time.sleep(LOOK_S)
        took = time.monotonic() - started
        show_blocks((f"{what}: after {took:.1f} s",))
        return took


@contextlib.contextmanager
def serving(log: Path) -> Iterator[None]:
    """Run `x3fleet run` with the environment of this moment, until the block ends."""
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "run"],
            stdout=lines, stderr=lines, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield
            if process.poll() is not None:
                raise DemoFailed("the service ended by itself")
        finally:
            end_process(process)
