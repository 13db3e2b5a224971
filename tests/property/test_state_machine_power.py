"""The state machine alone finds the planted bugs: measured by `make deep`, since it takes minutes."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.mutants import MUTANTS, Mutant
from tests.property.test_state_machine import Fleet

SEARCH = settings(
    max_examples=1_000,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_state_machine_alone_finds_a_planted_bug(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.plant(monkeypatch)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Fleet, settings=SEARCH)
