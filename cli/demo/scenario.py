"""What the demo is about, read from `demo.json` beside its manifests: it is data, not code.

Callers: `command`. Not here: running anything.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desired_state.model.errors import ConfigError

FILE = "demo.json"
FOLDER = Path(__file__).parents[2] / "examples" / "demo"
"""The demo's data in a checkout; an installed package has none."""


@dataclass(frozen=True, slots=True)
class SimulatedPanel:
    """One panel to simulate. `port` is what the manifests name; `token`: it is opened by one."""

    node: str
    version: str
    port: int
    inbounds: tuple[Mapping[str, Any], ...]
    token: bool = False


@dataclass(frozen=True, slots=True)
class KeysToIssue:
    """Keys of one tariff."""

    tariff: str
    count: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole of it.

    `before`, `after`: emails of clients that are made by hand, on every panel, before the first
    run and after it. `edit`: what is changed by hand in one of our clients.
    """

    panels: tuple[SimulatedPanel, ...]
    keys: tuple[KeysToIssue, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    edit: Mapping[str, Any]


def read_scenario(folder: Path) -> Scenario:
    """Read `demo.json` of a folder.

    Raises:
        ConfigError: it is missing or says something else.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text())
        return Scenario(
            panels=tuple(_panel(panel) for panel in found["panels"]),
            keys=tuple(KeysToIssue(keys["tariff"], int(keys["count"])) for keys in found["keys"]),
            before=tuple(found["by_hand_before"]),
            after=tuple(found["by_hand_after"]),
            edit=dict(found["edit"]),
        )
    except OSError as error:
        raise ConfigError(
            f"the demo's data {path} cannot be read: {error.strerror}",
            hint="run it in a checkout, or name a folder with --data",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no scenario: {error!r}") from error


def _panel(found: Mapping[str, Any]) -> SimulatedPanel:
    return SimulatedPanel(
        node=str(found["node"]),
        version=str(found["version"]),
        port=int(found["port"]),
        inbounds=tuple(found["inbounds"]),
        token=bool(found.get("token", False)),
    )


def copy_manifests(folder: Path, target: Path, ports: Mapping[int, int]) -> None:
    """Copy the manifests, each declared port replaced by the one that is listened on."""
    target.mkdir()
    for source in sorted(folder.glob("*.y*ml")):
        text = source.read_text()
        for declared, actual in ports.items():
            text = text.replace(f":{declared}/", f":{actual}/")
        (target / source.name).write_text(text)
