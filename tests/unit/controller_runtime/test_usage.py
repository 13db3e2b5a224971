"""Booking counters: no byte of a quota is lost or counted twice when a client goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.usage import Usage, book

sizes = st.integers(min_value=0, max_value=2**45)


def used(usage):
    """What a key used on a node, by the rule of its table."""
    return usage.booked_bytes + max(0, usage.counter_bytes - usage.base_bytes)


@pytest.mark.parametrize(
    ("before", "last_bytes", "after"),
    [
        (Usage(), 10, Usage(1, 0, 0, 10)),
        (Usage(1, 0, 8, 5), 10, Usage(1, 0, 0, 15)),
        (Usage(1, 4, 8, 5), 10, Usage(1, 0, 0, 11)),
        (Usage(1, 4, 8, 0), 3, Usage(1, 1, 5, 0)),
        (Usage(1, 0, 8, 5), 0, Usage(1, 0, 8, 5)),
    ],
    ids=["first", "grown since it was seen", "above its base", "one of two clients", "unused"],
)
def test_a_counter_is_booked_above_its_base(before, last_bytes, after):
    assert after == book(before, 1, last_bytes)


def test_a_new_period_forgets_what_was_booked_and_begins_at_the_counter():
    assert Usage(2, 0, 0, 4) == book(Usage(1, 0, 8, 100), 2, 12)


@given(sizes, sizes, sizes, sizes)
def test_what_was_used_grows_by_what_the_counter_grew(base, counter, booked, grown):
    before = Usage(1, min(base, counter), counter, booked)

    after = book(before, 1, counter + grown)

    assert used(before) + grown == used(after)
    assert (0, 0) == (after.base_bytes, after.counter_bytes)


@given(sizes, sizes, sizes)
def test_two_clients_of_a_key_are_booked_one_after_the_other(base, first, second):
    """Up to 3.0.2 a key has a client an inbound, and one row for all of them."""
    before = Usage(1, min(base, first + second), first + second, 0)

    after = book(book(before, 1, first), 1, second)

    assert used(before) == used(after)
