"""A change that comes alone is looked at at once; a burst is a few looks, and none of it is missed."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.folding import Folding


class Watch:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def looks(times, within_s=0.2):
    """When each change is looked at, by the moments at which they come."""
    watch = Watch()
    folding = Folding(within_s, watch)
    found = []
    for watch.now_s in times:
        found.append(watch.now_s + folding.wait_s("one"))
    return found


def test_a_change_that_comes_alone_waits_for_nobody():
    assert [1.0, 2.0, 3.0] == looks([1.0, 2.0, 3.0])


def test_a_burst_is_a_look_at_its_beginning_and_one_for_each_window():
    burst = [10 + n / 100 for n in range(100)]

    found = {round(at, 6) for at in looks(burst)}

    assert {10.0, 10.2, 10.4, 10.6, 10.8, 11.0} == found


def test_names_do_not_wait_for_each_other():
    folding = Folding(0.2, Watch())

    assert [0, 0] == [folding.wait_s("one"), folding.wait_s("two")]


def test_names_of_long_ago_are_forgotten():
    watch = Watch()
    folding = Folding(0.2, watch)
    for number in range(10_000):
        watch.now_s += 1
        folding.wait_s(f"n-{number}")

    assert len(folding._begins_at) <= 1_000


@given(st.lists(st.floats(0, 3), max_size=50).map(sorted))
def test_no_change_is_missed_and_no_two_looks_are_closer_than_a_window(times):
    found = looks(times)
    distinct = sorted(set(found))

    assert all(look >= at for look, at in zip(found, times, strict=True))
    assert all(look <= at + 0.2 + 1e-9 for look, at in zip(found, times, strict=True))
    assert all(b - a >= 0.2 - 1e-9 for a, b in pairwise(distinct))
