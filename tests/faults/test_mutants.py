"""Seventeen planted bugs: each must be found, or what finds bugs has lost its power."""

from collections.abc import Callable

import pytest

from controller.core.features import Version
from tests.faults.explorer import Explorer
from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.scenarios import MAIN, SCENARIOS, Scenario


def scenario(name: str) -> Scenario:
    return next(s for s in SCENARIOS if s.name == name)


def first_violation(hunted: Scenario, version: Version, *, pairs: bool) -> str:
    """Explore until something breaks; a world that does not settle without faults is broken too."""
    try:
        explorer = Explorer(hunted, version)
        explorer.attempt({})
        for plan in explorer.pairs() if pairs else explorer.singles():
            if explorer.report.violations:
                break
            explorer.attempt(plan)
    except AssertionError as error:
        return str(error)
    found = explorer.report.violations
    return f"{found[0][3]} under {found[0][2]}" if found else ""


def hunt(first: str) -> tuple[int, str]:
    """Look for the bug that is planted; says after how many scenarios it was found, and how."""
    tried = 0
    worlds = sorted(SCENARIOS, key=lambda world: world.name != first)
    for pairs in (False, True):
        for hunted in worlds:
            for version in hunted.pairs if pairs else hunted.versions:
                if version not in MAIN:
                    continue
                tried += 1
                found = first_violation(hunted, version, pairs=pairs)
                if found:
                    where = ".".join(map(str, version))
                    return tried, f"{hunted.name} on {where}: {found}"
    return tried, ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch, report_count: Callable[..., None]
) -> None:
    mutant.plant(monkeypatch)

    tried, found = hunt(mutant.world)

    print(f"{mutant.name}: killed by world {tried}, {found[:160]}")
    report_count({"planted bugs": 1, "found": int(bool(found))})
    assert found, f"{mutant.name} lives"


def test_without_a_planted_bug_the_same_hunt_finds_nothing() -> None:
    assert "" == first_violation(scenario("rotate 2 of 3"), (3, 6, 0), pairs=False)
