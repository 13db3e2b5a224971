"""`x3fleet demo`: the main job on simulated panels, by the commands that an operator types.

Nothing here knows how to converge a fleet: it types commands, breaks panels by hand and asks the
panels what became of it. Not here: verdicts (`verdict`), processes (`panels`), data (`scenario`).
"""

import contextlib
import io
import json
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.demo import verdict as judge
from cli.demo.panels import DemoFailed, DemoPanel, Login, running_panels
from cli.demo.scenario import FOLDER, Scenario, copy_manifests, read_scenario
from cli.demo.verdict import Damage, Verdict
from cli.environment import only
from cli.exits import Exit
from cli.render import Output, OutputOption, Text, Tone, count, show_blocks, to_json

WATCH_S = 0.5
"""How often the waiting demo looks whether its panels still run."""


def demo(
    *,
    once: Annotated[bool, Parameter(help="end when all is shown")] = False,
    data: Annotated[Path, Parameter(help="manifests and demo.json", show_default=False)] = FOLDER,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Run the main job on three simulated panels: converge, damage by hand, heal."""
    scenario = read_scenario(data)
    login = Login("demo", secrets.token_hex(8), secrets.token_hex(24))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="x3fleet-demo-")))
        if output is Output.JSON:
            stack.enter_context(told_on_stderr())
        panels = stack.enter_context(running_panels(scenario.panels, login, folder))
        stage = Stage(scenario, panels, folder, data)
        variables = _variables(folder, login, scenario)
        with only(variables):
            outcome = stage.play()
        if not once:
            _stay(stage, variables)
    if output is Output.JSON:
        sys.stdout.write(to_json(outcome.document()) + "\n")
    return Exit.DONE if outcome.converged else Exit.ERROR


@dataclass(slots=True)
class Stage:
    """One demo under way."""

    scenario: Scenario
    panels: tuple[DemoPanel, ...]
    folder: Path
    data: Path
    damages: list[Damage] = field(default_factory=list)

    def play(self) -> Verdict:
        """Play the whole and ask the panels what became of it."""
        self._set_up()
        self._declare()
        for panel in self.panels:
            panel.forget_requests()
        heading("A second cycle finds nothing to do")
        call("reconcile", "now")
        again = sum(judge.writes_of(panel.requests()) for panel in self.panels)
        show_blocks((f"the panels' own logs: {count(again, 'write')}",))
        before = self._states()
        self._damage()
        broken = self._states()
        heading("What is ours is healed, what is not is left alone")
        call("reconcile", "now")
        heading("And the fleet is in sync again")
        in_sync = call("plan") == Exit.DONE
        outcome = self._judge(before, broken, in_sync=in_sync, second_cycle_writes=again)
        self._tell(outcome)
        return outcome

    def _set_up(self) -> None:
        heading("Simulated panels, one process each")
        for panel in self.panels:
            spec = panel.spec
            made = [panel.add_inbound(inbound) for inbound in spec.inbounds]
            for email in self.scenario.before:
                panel.add_client(made[0], _by_hand(email))
            moved = "" if panel.port == spec.port else f" (port {spec.port} is taken)"
            where = f"{spec.node}  3x-ui {spec.version}  {panel.listens_at}{moved}"
            inbounds = ", ".join(str(inbound["protocol"]) for inbound in spec.inbounds)
            by_hand = ", ".join(self.scenario.before)
            show_blocks((f"{where}  inbounds {inbounds}; made by hand: {by_hand}",))

    def _declare(self) -> None:
        fleet = self.folder / "fleet"
        copy_manifests(self.data, fleet, {p.spec.port: p.port for p in self.panels})
        heading("Declare the fleet, issue keys, reconcile")
        call("db", "upgrade", must=True)
        call("manifests", "apply", str(fleet), must=True)
        for keys in self.scenario.keys:
            call("keys", "issue", "--tariff", keys.tariff, "--count", str(keys.count), must=True)
        call("reconcile", "now")
        call("nodes", "list")
        call("keys", "list")

    def _damage(self) -> None:
        heading("Damage by hand, in the panels themselves")
        for panel in self.panels:
            mine = judge.ours(panel.state(), self.scenario.before)
            if len(mine) < 2:
                raise DemoFailed(f"{panel.spec.node} holds too few clients to break two of them")
            deleted, edited = mine[0], mine[-1]
            panel.delete_client(deleted)
            panel.edit_client(edited, self.scenario.edit)
            for email in self.scenario.after:
                panel.add_client(panel.state()["inbounds"][0]["id"], _by_hand(email))
            foreign = (*self.scenario.before, *self.scenario.after)
            self.damages.append(Damage(panel.spec.node, deleted, edited, foreign))
            changed = ", ".join(f"{k}={v}" for k, v in self.scenario.edit.items())
            added = ", ".join(self.scenario.after)
            done = f"deleted {deleted}; edited {edited} ({changed}); added {added}"
            show_blocks((f"{panel.spec.node}: {done}",))
        call("plan")

    def _states(self) -> dict[str, Any]:
        return {panel.spec.node: panel.state() for panel in self.panels}

    def _judge(
        self,
        before: dict[str, Any],
        broken: dict[str, Any],
        *,
        in_sync: bool,
        second_cycle_writes: int,
    ) -> Verdict:
        after, wanted = self._states(), _wanted()
        held: set[str] = set()
        in_place, healed, untouched = True, 0, 0
        for damage in self.damages:
            state, keys = after[damage.node], wanted.get(damage.node, set())
            in_place &= judge.is_in_place(state, keys, damage.foreign)
            held |= set(judge.keys_on(state, keys, damage.foreign))
            emails = (damage.deleted, damage.edited)
            healed += judge.healed(before[damage.node], state, emails)
            untouched += judge.untouched(broken[damage.node], state, damage.foreign)
        return Verdict(
            nodes=len(after),
            keys=len(held),
            healed=healed,
            damaged=2 * len(self.damages),
            foreign_untouched=untouched,
            foreign=sum(len(damage.foreign) for damage in self.damages),
            second_cycle_writes=second_cycle_writes,
            in_place=in_place,
            in_sync=in_sync,
        )

    def _tell(self, outcome: Verdict) -> None:
        heading("What the panels themselves say")
        belongs = "each where it belongs" if outcome.in_place else "NOT where they belong"
        lines = (
            f"{outcome.keys} keys on {outcome.nodes} nodes, {belongs}",
            f"healed: {outcome.healed} of {outcome.damaged} damaged clients",
            f"foreign clients untouched: {outcome.foreign_untouched} of {outcome.foreign}",
            f"writes in the second cycle: {outcome.second_cycle_writes}",
        )
        last = Text("converged", Tone.GOOD) if outcome.converged else Text("FAILED", Tone.BAD)
        show_blocks((*lines, last))


# -- what the demo types ---------------------------------------------------------------------------


def heading(text: str) -> None:
    """Print what comes next."""
    show_blocks(("", Text(f"== {text}", Tone.HEAD)))


def call(*tokens: str, must: bool = False) -> int:
    """Type one command, as an operator would, and show it.

    Raises:
        DemoFailed: it had to succeed and did not.
    """
    from cli.main import run

    typed = shlex.join(("x3fleet", *tokens))
    show_blocks(("", Text(f"$ {typed}", Tone.HEAD)))
    code = run(tokens)
    if code:
        show_blocks((Text(f"(exit {code})", Tone.DIM),))
        if must:
            raise DemoFailed(f"{typed} ended with {int(code)}")
    return code


def _wanted() -> dict[str, set[str]]:
    """Ask our own side which keys belong where, to be compared with what panels hold."""
    from cli.main import run

    answer = io.StringIO()
    with contextlib.redirect_stdout(answer):
        run(("keys", "list", "--output", "json"))
    wanted: dict[str, set[str]] = {}
    for key in json.loads(answer.getvalue())["keys"]:
        for node in key["nodes"]:
            wanted.setdefault(node, set()).add(key["key"])
    return wanted


def _by_hand(email: str) -> dict[str, Any]:
    return {
        "email": email,
        "id": secrets.token_hex(16),
        "password": secrets.token_hex(16),
        "subId": secrets.token_hex(8),
        "enable": True,
        "limitIp": 0,
        "totalGB": 0,
        "expiryTime": 0,
        "tgId": 0,
        "comment": "made by hand",
        "reset": 0,
    }


def _variables(folder: Path, login: Login, scenario: Scenario) -> dict[str, str]:
    variables = {
        "X3FLEET_DATABASE__URL": f"sqlite:///{folder / 'x3fleet.db'}",
        "X3FLEET_DEMO_USERNAME": login.username,
        "X3FLEET_DEMO_PASSWORD": login.password,
    }
    if any(panel.token for panel in scenario.panels):
        variables["X3FLEET_DEMO_TOKEN"] = login.token
    return variables


class _Plain(io.TextIOBase):
    """Stderr as a stream that is no terminal, so that nothing is coloured."""

    def write(self, text: str) -> int:
        return sys.__stderr__.write(text) if sys.__stderr__ else len(text)

    def flush(self) -> None:
        if sys.__stderr__:
            sys.__stderr__.flush()

    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def told_on_stderr() -> Iterator[None]:
    """Keep stdout for the line of JSON."""
    plain = _Plain()
    with contextlib.redirect_stdout(plain), contextlib.redirect_stderr(plain):
        yield


def _stay(stage: Stage, variables: dict[str, str]) -> None:
    """Leave the panels up until Ctrl-C, and say what may be tried."""
    script = stage.folder / "env.sh"
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    script.touch(mode=0o600)
    script.write_text("\n".join(lines) + "\n")
    key = next(iter(sorted(next(iter(_wanted_in(variables).values()), {""}))), "KEY")
    heading("The panels stay up until Ctrl-C; in another window")
    show_blocks(
        (
            f". {script}",
            f"x3fleet nodes show {stage.panels[0].spec.node}",
            f"x3fleet keys show {key}",
            f"x3fleet keys rotate {key}; x3fleet plan; x3fleet reconcile now",
            "x3fleet doctor",
            *(f"curl {panel.control_url}/state    # {panel.spec.node}" for panel in stage.panels),
        )
    )
    with contextlib.suppress(KeyboardInterrupt):
        while all(panel.process.poll() is None for panel in stage.panels):
            time.sleep(WATCH_S)


def _wanted_in(variables: dict[str, str]) -> dict[str, set[str]]:
    with only(variables):
        return _wanted()
