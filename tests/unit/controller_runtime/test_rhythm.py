"""When a node is looked at again, by how its turn ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.queue import Priority
from controller.runtime.rhythm import Ended, NextLook, Rhythm, next_look

CASES = {
    "in sync: five minutes": (Ended(), NextLook(300, Priority.ROUTINE)),
    "something pending or drifted: a minute": (
        Ended(settled=False),
        NextLook(60, Priority.ROUTINE),
    ),
    "cut short by time: at once, behind customers": (
        Ended(goes_on=True, settled=False),
        NextLook(0, Priority.RETRY),
    ),
    "did not answer: when its back-off is over, jitter included": (
        Ended(settled=False, backoff_s=37.5),
        NextLook(37.5, Priority.RETRY),
    ),
    "its policy's own period": (Ended(override_s=120), NextLook(120, Priority.ROUTINE)),
    "its policy's own period, also while something is pending": (
        Ended(settled=False, override_s=120),
        NextLook(120, Priority.ROUTINE),
    ),
    "never below the floor by itself": (Ended(override_s=1), NextLook(15, Priority.ROUTINE)),
    "a subscription ends before: just after that": (
        Ended(due_s=42),
        NextLook(43, Priority.ROUTINE),
    ),
    "its failover is to be quick: often enough to notice": (
        Ended(failover_s=60),
        NextLook(30, Priority.ROUTINE),
    ),
    "its failover is to be as quick as can be: not without a pause": (
        Ended(failover_s=6),
        NextLook(5, Priority.ROUTINE),
    ),
    "its failover has time": (Ended(failover_s=3_600), NextLook(300, Priority.ROUTINE)),
    "it is never given up": (Ended(failover_s=0), NextLook(300, Priority.ROUTINE)),
    "a subscription ends later: no sooner for that": (
        Ended(due_s=4_000),
        NextLook(300, Priority.ROUTINE),
    ),
}


@pytest.mark.parametrize(("ended", "expected"), CASES.values(), ids=CASES)
def test_the_next_look_follows_from_the_end_of_the_turn(ended, expected):
    assert expected == next_look(ended, Rhythm(), draw=0.5)


@given(
    draw=st.floats(0, 1, exclude_max=True),
    settled=st.booleans(),
    override=st.none() | st.floats(0, 3_600),
    due=st.none() | st.floats(-100, 10_000),
)
def test_every_period_has_its_own_tenth_of_jitter_and_no_more(draw, settled, override, due):
    look = next_look(Ended(settled=settled, override_s=override, due_s=due), Rhythm(), draw)

    period = (300 if settled else 60) if override is None else max(override, 15)
    assert look.after_s <= period * 1.1 + 1e-9
    assert due is not None or look.after_s >= period * 0.9 - 1e-9
    assert look.after_s > 0
