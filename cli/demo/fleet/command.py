"""`x3fleet demo-fleet`: what may become of a fleet, on simulated panels under a running service.

It starts the panels and `x3fleet run`, lets them die, be wiped, filled and drained, and asks the panels
what came of it. Not here: the chapters (`chapters`), the stage (`stage`), how a fleet is kept.
"""

import contextlib
import json
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.demo.command import told_on_stderr
from cli.demo.fleet import chapters
from cli.demo.fleet.panels import running_fleet
from cli.demo.fleet.stage import FleetStage, serving
from cli.demo.panels import DemoFailed, Login
from cli.environment import only
from cli.exits import Exit
from cli.render import Output, OutputOption, Text, Tone, show_blocks, to_json

FOLDER = Path(__file__).parents[3] / "examples" / "demo-fleet"
"""The demo's data in a checkout; an installed package has none."""
VERSIONS = ("2.9.4", "3.2.8", "3.6.0")


def demo_fleet(
    *,
    nodes: Annotated[int, Parameter(help="how many nodes to begin with")] = 20,
    keys: Annotated[int, Parameter(help="how many keys that live on one node each")] = 200,
    everywhere: Annotated[int, Parameter(help="how many that live on every node")] = 10,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Run a simulated fleet through death, return, wipe, drain, growth and quotas."""
    login = Login("demo", secrets.token_hex(8), "")
    inbounds = json.loads((FOLDER / "inbounds.json").read_text())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="x3fleet-demo-")))
        if output is Output.JSON:
            stack.enter_context(told_on_stderr())
        spare = stack.enter_context(running_fleet(_counts(nodes + 1), login, inbounds))
        stage = FleetStage(folder, FOLDER, spare)
        stage.manifests.mkdir()
        shutil.copy(FOLDER / "fleet.yaml", stage.manifests)
        for _ in range(nodes):
            stage.declare_node()
        stack.enter_context(only(_variables(folder, stage, login)))
        fields = _play(stage, (nodes, keys, everywhere))
        held = all(value is not False for value in fields.values())
        show_blocks(("", Text("all of it held", Tone.GOOD) if held else Text("FAILED", Tone.BAD)))
    if output is Output.JSON:
        sys.stdout.write(to_json({"held": held, "nodes": nodes + 1, **fields}) + "\n")
    return Exit.DONE if held else Exit.ERROR


def _play(stage: FleetStage, sizes: tuple[int, int, int]) -> dict[str, Any]:
    nodes, keys, everywhere = sizes
    stage.type("db", "upgrade")
    fields: dict[str, Any] = {}
    log = stage.folder / "service.log"
    try:
        with serving(log):
            fields |= chapters.fill(stage, nodes, keys, everywhere)
            fields |= chapters.fail_over(stage)
            fields |= chapters.rebuild(stage)
            fields |= chapters.drain(stage)
            fields |= chapters.rebalance(stage)
            fields |= chapters.grow(stage)
            fields |= chapters.use_up(stage)
            fields |= chapters.look_back(stage)
        return fields | chapters.choose()
    except DemoFailed as error:
        # What held before is worth as much as what did not.
        show_blocks((Text(str(error), Tone.BAD), *log.read_text().splitlines()[-5:]))
        return fields | {"finished": False}


def _counts(panels: int) -> dict[str, int]:
    share, rest = divmod(panels, len(VERSIONS))
    return {version: share + (number < rest) for number, version in enumerate(VERSIONS)}


def _variables(folder: Path, stage: FleetStage, login: Login) -> dict[str, str]:
    return {
        "X3FLEET_DATABASE__URL": f"sqlite:///{folder / 'x3fleet.db'}",
        "X3FLEET_SYNC__DIRECTORY": str(stage.manifests),
        "X3FLEET_SYNC__EVERY_S": "1",
        "X3FLEET_CONTROLLER__METRICS__PORT": str(_free_port()),
        "X3FLEET_CONTROLLER__SAMPLE_S": "1",
        "X3FLEET_DEMO_USERNAME": login.username,
        "X3FLEET_DEMO_PASSWORD": login.password,
    }


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("", 0))
        return int(taken.getsockname()[1])
