"""People, tariffs, nodes and panels in any order: whoever is entitled is served, and nobody else is.

A machine over the real commands, database, scheduler and controller; panels are in memory. Beside it stands a
ledger that knows only what was done. What must hold holds whenever the fleet was left alone for a while.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.fleet_life import Life

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))


@pytest.mark.long
@pytest.mark.promise("L1")
@pytest.mark.timeout(0 if DEEP else 300)
def test_whoever_is_entitled_is_served_and_nobody_else_whatever_happens(
    fleets: type[Life],
) -> None:
    run_state_machine_as_test(
        fleets,
        settings=settings(
            max_examples=150 if DEEP else 2,
            stateful_step_count=40 if DEEP else 12,
            deadline=None,
            derandomize=not DEEP,
            database=None,
            phases=tuple(Phase) if DEEP else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
