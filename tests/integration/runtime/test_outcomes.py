"""Every row of the outcome table at every effect, through the real worker, store and HTTP.

A turn is run once to learn its effects. Then, for each effect and each row that it can meet, the same turn
from the same database and panel, with that row at that effect; the turns after it must make all good.
`make deep` tries all of them, every other run a sample.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controller.core.effects import Write
from controller.service import Controller, open_controller
from tests.drill.audit import (
    Account,
    Row,
    deletes_without_reason,
    finalised_too_soon,
    generations_together,
    more_than_once,
    strangers_touched,
)
from tests.integration.runtime import outcome_rows
from tests.integration.runtime.fleet import Fleet, journal_of
from tests.integration.runtime.stage import ONE, SCENES, Stage, controlling, staged, turn_of

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
EACH = 0 if DEEP else 1
"""How many cases of a scenario are tried; 0: all."""
VERSIONS = ("2.9.4", "3.2.8", "3.6.0")
TURNS_TO_CONVERGE = 5
"""One that waits out a session or a refusal, three after it, and one that finds nothing to do."""
SPREADS = "duplicate_request"


async def effects_of(stage: Stage) -> list[object]:
    """List the effects of the turn without any fault."""
    seen: list[object] = []
    async with controlling(stage, stage.set_up()) as controller:
        execute = controller.worker._execute

        async def note(turn: Any, effect: Any) -> object:
            seen.append(effect)
            return await execute(turn, effect)

        controller.worker._execute = note  # type: ignore[method-assign]
        await turn_of(controller)
    return seen


async def attempt(stage: Stage, at: int, row: outcome_rows.Row | None) -> list[str]:
    """Run the turn with a row at its effect number `at`, then others without; say what is broken."""
    settings = stage.set_up()
    said: list[str] = []
    with suppress(outcome_rows.Killed):
        async with controlling(stage, settings) as controller:
            if row is not None:
                _strike(stage, controller, at, row, said)
            await turn_of(controller)
    quiet = False
    for _ in range(TURNS_TO_CONVERGE):
        stage.pass_time()
        writes = len([line for line in stage.panel.log if line.write])
        async with controlling(stage, settings) as controller:
            report = await turn_of(controller)
        quiet = writes == len([line for line in stage.panel.log if line.write])
        if quiet and report.result is not None and report.result.is_in_sync:
            break
    else:
        why = report.error if report.result is None else report.result.status.conditions
        said.append(f"L1: not converged after {TURNS_TO_CONVERGE} turns: {why}")
    async with open_controller(settings, clock=stage.clock) as controller:
        here = Fleet(settings, controller, stage.fleet.sites)
        journal = [
            Row(ONE, r.email, r.key, r.state.value, r.delete_reason, None)
            for r in await journal_of(here, ONE)
        ]
    return said + _audit(stage, journal, row)


def _strike(
    stage: Stage, controller: Controller, at: int, row: outcome_rows.Row, said: list[str]
) -> None:
    execute, numbers = controller.worker._execute, iter(range(10**6))

    async def faulty(turn: Any, effect: Any) -> object:
        if next(numbers) != at:
            return await execute(turn, effect)
        answer = await row.strike(stage.panel, lambda: execute(turn, effect))
        if isinstance(effect, Write) and answer.verdict not in row.verdicts:
            said.append(f"the outcome is {answer.verdict}, not {row.verdicts}: {answer.cause}")
        return answer

    controller.worker._execute = faulty  # type: ignore[method-assign]


def _audit(stage: Stage, journal: list[Row], row: outcome_rows.Row | None) -> list[str]:
    lines = [line.__dict__ for line in stage.panel.trail.lines]
    rows = {one.email: one for one in journal}
    twice = row is not None and row.name.startswith(SPREADS)
    faults = [
        *(f"S1: {f}" for f in strangers_touched(Account(ONE, tuple(lines)), lines)),
        *(f"S2: {f}" for f in generations_together(ONE, lines)),
        *(f"S3: {f}" for f in finalised_too_soon(ONE, lines, rows)),
        *(f"S5: {f}" for f in deletes_without_reason(ONE, lines, rows)),
        *(f"D1: {f}" for f in more_than_once(ONE, lines, "came") if not twice),
        *(f"D2: {f}" for f in more_than_once(ONE, lines, "went") if not twice),
    ]
    held = set(stage.fleet["one"].clients())
    faults += [
        f"S3: {r.email} is gone and there" for r in journal if r.state == "gone" and r.email in held
    ]
    return faults


def end_of(stage: Stage) -> dict[str, Any]:
    """What the panel holds of ours, but for moments and counters."""
    site = stage.fleet["one"]
    enabled = site.enabled()
    kept = ("id", "uuid", "password", "auth", "subId", "totalGB", "limitIp", "flow", "inboundIds")
    return {
        email: {"enabled": enabled[email]} | {name: client.get(name) for name in kept}
        for email, client in site.ours().items()
    }


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stage(
    version: str, scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with staged(version, scene, tmp_path, monkeypatch) as ready:
        yield ready


@pytest.mark.timeout(0 if DEEP else 300)
@pytest.mark.promise("S1")
@pytest.mark.promise("S2")
@pytest.mark.promise("S3")
@pytest.mark.promise("S5")
@pytest.mark.promise("L1")
@pytest.mark.promise("D1")
@pytest.mark.promise("D2")
@pytest.mark.parametrize("scene", SCENES)
async def test_whatever_one_effect_comes_to_the_turns_after_it_make_it_good(
    stage: Stage, rng: random.Random, report_count: Callable[..., None]
) -> None:
    effects = await effects_of(stage)
    assert [] == await attempt(stage, 0, None)
    wanted = end_of(stage)
    cases = [
        (at, row)
        for at, effect in enumerate(effects)
        for row in outcome_rows.rows_for(effect, stage.panel.version)
    ]
    tried = rng.sample(cases, EACH) if EACH else cases
    broken: Counter[str] = Counter()
    for at, row in tried:
        said = await attempt(stage, at, row)
        if wanted != end_of(stage):
            said.append("the end is another one than without the fault")
        kind = getattr(effects[at], "verb", type(effects[at]).__name__)
        broken.update(f"{at} {kind}: {row.name}: {one}" for one in said)

    report_count({"outcomes at effects": len(tried), "of": len(cases), "violations": len(broken)})
    assert [] == sorted(broken)[:10]
