"""Planted bugs of a fleet's life: each must be found, or what finds them has lost its power."""

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.fleet_life import Life
from tests.property.fleet_lives import LIVES
from tests.property.fleet_mutants import MUTANTS, Mutant

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
SEARCH = settings(
    max_examples=300,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


PLAYED = sorted(LIVES)[:: 1 if DEEP else 4]
"""The ordinary run plays some of them without a bug; lives at random find nothing there either."""


@pytest.fixture
def life(fleets: type[Life]) -> Iterator[Life]:
    made = fleets()
    yield made
    made.close()


@pytest.mark.parametrize("name", PLAYED)
def test_a_fleet_without_a_planted_bug_lives_so(life: Life, name: str) -> None:
    LIVES[name](life)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found_by_the_life_that_shows_it(
    life: Life,
    mutant: Mutant,
    monkeypatch: pytest.MonkeyPatch,
    report_count: Callable[..., None],
) -> None:
    mutant.plant(monkeypatch)

    with pytest.raises(AssertionError) as found:
        LIVES[mutant.life](life)

    print(f"{mutant.name}: {found.value}"[:200])
    report_count({"planted bugs of fleets": 1})


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_lives_at_random_find_a_planted_bug(
    fleets: type[Life], mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.plant(monkeypatch)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(fleets, settings=SEARCH)
