"""Nothing is lost by playing each turn once: what is kept says what playing anew says."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.features import Version
from tests.fakes import people
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.explorer import Explorer, Plan, Report
from tests.faults.mutants import MUTANTS
from tests.faults.scenarios import SCENARIOS, V29, V36, email_of, settled
from tests.faults.stage import Names, Scene

SAMPLE = 30
"""Plans of three faults in a world that are tried both ways, beside as many of one; the seed says which."""
WORLDS = [(scenario, version) for scenario in SCENARIOS for version in scenario.versions]


def both_ways(explorer: Explorer, plans: list[Plan]) -> tuple[Report, Report]:
    anew = Explorer(explorer.scenario, explorer.version, keeps=False)
    for plan in plans:
        explorer.attempt(plan)
        anew.attempt(plan)
    return explorer.report, anew.report


def test_sampled_plans_end_alike_kept_and_played_anew(rng: random.Random) -> None:
    for scenario, version in rng.sample(WORLDS, 4):
        explorer = Explorer(scenario, version)
        singles = list(explorer.singles())
        plans = rng.sample(singles, min(SAMPLE, len(singles)))

        kept, anew = both_ways(explorer, [*plans, *explorer.triples(rng, SAMPLE)])

        assert anew == kept, (scenario.name, version)


@pytest.mark.parametrize(
    ("bug", "version"),
    [
        ("finalise before verify", V36),
        ("no verify at all", V29),
        ("absence trusted", V36),
        ("no intent journal", V29),
        ("inbound missed once", V36),
    ],
)
def test_a_planted_bug_shows_under_the_same_plans(
    bug: str, version: Version, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is one that a world without faults does not show."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == bug)
    mutant.plant(monkeypatch)
    explorer = Explorer(next(one for one in SCENARIOS if one.name == mutant.world), version)

    kept, anew = both_ways(explorer, [*explorer.singles(), *explorer.triples(rng, SAMPLE)])

    assert anew == kept
    assert [] != kept.violations


def scene(names: Names, world: World) -> Scene:
    return Scene(world.copy(), names)


def test_worlds_are_one_scene_only_while_nothing_differs() -> None:
    """Counters of the panel, records as it returned them and moments are differences too."""
    world, names = settled(V36, "ab"), Names()
    base = scene(names, world)
    email = email_of(V36, "a")
    used, recorded, later, wider = (world.copy() for _ in range(4))
    used.panel.use(email, 1, 0)
    recorded.panel.edit_by_hand(email, raw={"extra": 1})
    later.clock.advance(seconds=1)
    wider.panel.set_inbound(replace(wider.panel.inbounds[1], stream="{}"))  # type: ignore[index]

    others = [scene(names, one).state for one in (used, recorded, later, wider)]

    assert base.state is scene(names, world).state
    assert 5 == len({base.state, *others})


def test_looks_of_the_past_tell_scenes_apart_while_faults_may_come() -> None:
    world, names = settled(V36, "ab"), Names()
    base, email = scene(names, world), email_of(V36, "a")
    world.panel.edit_by_hand(email, limit_ip=9)
    world.panel.edit_by_hand(email, limit_ip=base.world.panel.look().clients[0].limit_ip)

    now = scene(names, world)

    assert base.state is now.state
    assert base.memory is not now.memory


def test_a_reading_kept_from_before_tells_scenes_apart_once_its_age_counts() -> None:
    """Tombstones are read for 30 days: a reading says which there were when it was taken."""
    world, names = settled(V36, "ab"), Names()
    people.unwant(world.store, "a")
    world.round()
    read, unread = world.copy(), world.copy()
    read.turn(NL)
    unread.clock.advance(seconds=(read.clock.now - unread.clock.now) / timedelta(seconds=1))

    assert scene(names, read).state is not scene(names, unread).state
