"""Every effect of a turn meets every fault, alone and in pairs: what is promised holds throughout."""

import os
import random
from collections.abc import Callable
from itertools import islice

import pytest

from controller.core import effects as fx
from controller.core.features import Version
from tests.fakes.faults import Fault
from tests.faults.explorer import Explorer, Report
from tests.faults.scenarios import SCENARIOS, Scenario

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
TRIPLES = 1_000_000
"""Sampled by `make deep`, shared out over all worlds."""
SHARES = 20

WORLDS = [(scenario, version) for scenario in SCENARIOS for version in scenario.versions]
SHARE = 1 if DEEP else 3
"""Of the pairs every so many are tried; the seed says which."""
PAIRED = [
    (scenario, version)
    for scenario in SCENARIOS
    for version in (scenario.versions if DEEP else scenario.pairs)
]


def names(worlds: list[tuple[Scenario, Version]]) -> list[str]:
    return [f"{s.name} on {'.'.join(map(str, v))}" for s, v in worlds]


def hold(report: Report, report_count: Callable[..., None]) -> None:
    """Count what was tried, and fail with the first plans that broke something."""
    report_count({"fault plans": report.plans, "violations": len(report.violations)})
    for rule, times in sorted(report.excluded.items()):
        report_count({f"left out, since {rule}": times})
    assert [] == report.violations[:5]


@pytest.mark.promise("S1")
@pytest.mark.promise("S2")
@pytest.mark.promise("S3")
@pytest.mark.promise("S4")
@pytest.mark.promise("S5")
@pytest.mark.promise("S6")
@pytest.mark.promise("S8")
@pytest.mark.promise("L1")
@pytest.mark.promise("I1")
@pytest.mark.promise("D1")
@pytest.mark.promise("D2")
@pytest.mark.promise("D3")
@pytest.mark.parametrize(("scenario", "version"), WORLDS, ids=names(WORLDS))
def test_no_single_fault_breaks_a_promise(
    scenario: Scenario, version: Version, report_count: Callable[..., None]
) -> None:
    report = Explorer(scenario, version).explore(pairs=False)

    hold(report, report_count)


@pytest.mark.timeout(0 if DEEP else 300)
@pytest.mark.parametrize(("scenario", "version"), PAIRED, ids=names(PAIRED))
def test_no_pair_of_faults_breaks_a_promise(
    scenario: Scenario, version: Version, seed: int, report_count: Callable[..., None]
) -> None:
    explorer = Explorer(scenario, version)
    for plan in islice(explorer.pairs(), seed % SHARE, None, SHARE):
        explorer.attempt(plan)

    hold(explorer.report, report_count)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_no_sampled_triple_of_faults_breaks_a_promise(
    share: int, rng: random.Random, report_count: Callable[..., None]
) -> None:
    report = Report()
    for scenario, version in WORLDS[share::SHARES]:
        explorer = Explorer(scenario, version)
        for plan in explorer.triples(rng, TRIPLES // len(WORLDS)):
            explorer.attempt(plan)
        report.add(explorer.report)

    hold(report, report_count)


def test_every_effect_meets_every_fault_that_suits_it() -> None:
    """Computed, not claimed: each kind of effect with each kind of fault somewhere in these worlds."""
    met: dict[str, set[Fault]] = {}
    for scenario, version in WORLDS:
        for name, faults in Explorer(scenario, version).menu():
            met.setdefault(name, set()).update(faults)

    kinds = {kind.__name__ for kind in fx.Effect.__subclasses__()} - {"Write"}
    assert kinds | {f"Write {verb}" for verb in fx.Verb} == set(met)
    assert set(Fault) == set().union(*met.values())
    assert {name for name, faults in met.items() if Fault.CRASH not in faults} == set()
