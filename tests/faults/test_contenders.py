"""A controller that loses its lease before any effect does no harm, whatever its successor did meanwhile."""

import os
import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from controller.core import effects as fx
from controller.core.features import Version
from tests.fakes.faults import Fault
from tests.faults.contenders import ACTS, Act, Contender, Rules, duel, effects_of, judge, settle
from tests.faults.safety import Violation
from tests.faults.scenarios import SCENARIOS, Scenario

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
NAMES = (
    "create 3", "create on two inbounds", "delete 2 of 4", "rotate 2 of 3",
    "mixed with hand edits and an orphan", "no-op", "expired a week ago", "limits changed", "thawed",
    "inbound bound", "inbound unbound", "last client", "rotate the last", "twins",
    "credentials edited", "revoked and wanted again",
)  # fmt: skip
WORLDS = [(s, version) for s in SCENARIOS if s.name in NAMES for version in s.versions]
IDS = [f"{s.name} on {'.'.join(map(str, v))}" for s, v in WORLDS]
FLIGHTS = (None, Fault.DELAYED, Fault.LATE)


SHARE = 1 if DEEP else 4
"""Of the cases every so many are tried; the seed says which."""


def losses(effects: list[fx.Effect[object]]) -> Iterator[tuple[int, Act, Fault | None]]:
    """Every case: before which effect, what people do meanwhile, what becomes of the last request."""
    for at in range(len(effects) + 1):
        # Only a write may arrive later than it was sent.
        flies = at > 0 and isinstance(effects[at - 1], fx.Write)
        for act, flight in product(ACTS, FLIGHTS if flies else (None,)):
            yield at, act, flight


def test_every_named_scenario_exists() -> None:
    assert set(NAMES) == {scenario.name for scenario, _ in WORLDS}


@pytest.mark.promise("S6")
@pytest.mark.promise("S7")
@pytest.mark.promise("S2")
@pytest.mark.promise("S3")
@pytest.mark.promise("L1")
@pytest.mark.parametrize(("scenario", "version"), WORLDS, ids=IDS)
def test_a_lease_may_be_lost_before_any_effect(
    scenario: Scenario, version: Version, seed: int, report_count: Callable[..., None]
) -> None:
    base = scenario.build(version)
    broken = []
    cases = list(losses(effects_of(base)))[seed % SHARE :: SHARE]
    for at, act, flight in cases:
        try:
            judge(*duel(base, at, act, Rules(), in_flight=flight))
        except Violation as violation:
            broken.append((at, act.__name__, flight, str(violation)))

    report_count({"lost leases": len(cases), "violations": len(broken)})
    assert [] == broken[:5]


@pytest.mark.timeout(0 if DEEP else 300)
@pytest.mark.promise("S6")
@pytest.mark.promise("S7")
def test_leases_may_be_lost_again_and_again(
    rng: random.Random, report_count: Callable[..., None]
) -> None:
    """Some replicas in a row, each held up somewhere, all of them going on at the end in any order."""
    tried, broken = 0, []
    for _ in range(20_000 if DEEP else 200):
        scenario, version = rng.choice(WORLDS)
        world = scenario.build(version)
        holders = [Contender.claims(world, Rules())]
        for _ in range(rng.randint(2, 4)):
            holders[-1].begin()
            for _ in range(rng.randint(0, 12)):
                holders[-1].step()
            holders[-1].sleep_through()
            rng.choice(ACTS)(world)
            holders.append(Contender.claims(world, Rules(), over=holders[-1]))
        sleepers, last = holders[:-1], holders[-1]
        rng.shuffle(sleepers)
        tried += 1
        try:
            for sleeper in sleepers:
                sleeper.finish()
                last.run()
            world.pass_time(30)
            settle(world, last)
            for sleeper in sleepers:
                judge(world, sleeper)
        except Violation as violation:
            broken.append((scenario.name, version, str(violation)))

    report_count({"chains of lost leases": tried, "violations": len(broken)})
    assert [] == broken[:5]


WITHOUT = {
    "no deadline": (Rules(deadline=False), "S7"),
    "no fence": (Rules(fence=False), "S6"),
    "neither": (Rules(deadline=False, fence=False), "S"),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_the_oracles_tell_when_a_rule_is_missing(
    name: str, report_count: Callable[..., None]
) -> None:
    """Each rule is needed: without it some interleaving breaks its promise."""
    rules, promise = WITHOUT[name]
    (scenario,) = (s for s in SCENARIOS if s.name == "rotate 2 of 3")
    base = scenario.build(scenario.versions[-1])
    broken = []
    for at, act in product(range(len(effects_of(base)) + 1), ACTS):
        try:
            judge(*duel(base, at, act, rules))
        except Violation as violation:
            broken.append(str(violation))

    report_count({f"violations with {name}": len(broken)})
    assert [one for one in broken if one.startswith(promise)]
