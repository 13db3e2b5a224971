"""The table of `x3fleet check` shows some of every kind, so that many of one hide none of another."""

import pytest

from cli.check import SHOWN, some_of_each
from desired_state.queries.disagreements import Disagreement, Kind


@pytest.mark.parametrize("owed", [0, 1, SHOWN, 500])
def test_the_debts_of_a_dead_node_hide_no_payment(owed: int) -> None:
    debts = [Disagreement(Kind.DELETE_OWED, f"key/{n}@nl-1", "owed") for n in range(owed)]
    payment = Disagreement(Kind.PAYMENT_WITHOUT_CREDIT, "payment/1", "credited nothing")

    shown = some_of_each((*debts, payment))

    assert [*debts[:SHOWN], payment] == shown
