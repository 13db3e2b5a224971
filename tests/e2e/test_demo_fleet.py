"""The fleet's demo as its reader starts it, with few panels: every chapter of it holds."""

import pytest

from tests.e2e.operator import Operator


@pytest.mark.long
async def test_a_small_fleet_survives_everything_that_the_demo_does_to_it(
    operator: Operator,
) -> None:
    """Death, return, wipe, drain, an uneven fleet, a node more, a quota: panels vouch for each."""
    run = await operator.run(
        "demo-fleet", "--nodes", "4", "--keys", "12", "--everywhere", "2", "--output", "json"
    )

    # How fast a machine chooses is measured, and no test's business.
    yes = {name for name, value in run.document.items() if value is True}
    assert {
        "filled", "failed_over", "rebuilt", "drained", "rebalanced", "new_node_filled",
        "dark_over_quota", "visible",
    } == yes - {"held", "chosen_in_time"}, run.err  # fmt: skip
    assert 5 == run.document["nodes"]
