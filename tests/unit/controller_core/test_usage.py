"""A key's use follows counters that restart, repeat, jump and go: nothing is counted twice."""

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.core.usage import Counter, Mark, Usage, bury, follow, most_bytes

A, B = "x3f-a-g1-i1", "x3f-a-g1-i2"
sizes = st.integers(min_value=0, max_value=2**45)


def count(up, down=0, row=7):
    return Counter(up, down, row)


def after(*looks, usage=None, email=A):
    """Follow one client through looks."""
    usage = usage or Usage()
    for seen in looks:
        usage = follow(usage, {email: seen})
    return usage


# -- one counter -----------------------------------------------------------------------------------


def test_growth_is_used_by_direction():
    usage = after(count(0), count(10, 30), count(15, 40))

    assert (55, 15, 40) == (usage.used_bytes, usage.up_bytes, usage.down_bytes)


def test_the_same_answer_twice_counts_once():
    assert after(count(10)) == after(count(10), count(10))


def test_a_lost_sample_is_caught_up_by_the_next():
    assert (
        after(count(10), count(50)).used_bytes == after(count(10), count(30), count(50)).used_bytes
    )


def test_a_counter_that_restarts_is_a_new_base_and_no_credit():
    """Somebody reset the client's traffic: what was used stays used, what comes is added."""
    usage = after(count(100), count(5), count(20))

    assert 115 == usage.used_bytes


def test_a_counter_set_back_to_a_backup_is_not_counted_again():
    usage = after(count(100), count(40), count(40), count(110))

    assert 170 == usage.used_bytes


def test_an_old_answer_between_two_new_ones_changes_nothing():
    """Panels were seen to serve a list that was true a while ago."""
    usage = after(count(100), count(90), count(120))

    assert 120 == usage.used_bytes


def test_a_counter_of_another_row_is_believed_at_once():
    usage = after(count(100, row=7), count(4, row=8), count(9, row=8))

    assert 105 == usage.used_bytes


def test_a_client_of_our_own_making_begins_with_nothing_used():
    """A panel that kept the row of an earlier client of this email shows its history."""
    usage = follow(Usage(), {A: count(50_000)}, born=[A])

    assert (0, 50_000) == (usage.used_bytes, usage.base_bytes)
    assert 7 == after(count(50_007), usage=usage).used_bytes


def test_a_client_created_again_by_us_goes_on_from_what_was_used():
    used = after(count(100))

    again = follow(used, {A: count(0, row=9)}, born=[A])

    assert 103 == after(count(3, row=9), usage=again).used_bytes


def test_a_jump_that_no_network_carries_is_a_new_base():
    """One reboot added a whole history to every client at once."""
    used = after(count(100))

    usage = follow(used, {A: count(51_000_000_000)}, believed=False)

    assert 100 == usage.used_bytes
    assert 108 == after(count(51_000_000_008), usage=usage).used_bytes


def test_what_is_believed_of_a_node_grows_with_the_time_since_the_last_sample():
    assert most_bytes(60) < most_bytes(3600)
    assert most_bytes(300) < 2_560_000_000_000


# -- periods ---------------------------------------------------------------------------------------


def test_a_new_period_begins_at_the_counter_and_forgets_what_was_used():
    usage = after(count(100)).in_period(2)

    assert (0, 100) == (usage.used_bytes, usage.base_bytes)
    assert (20, 100) == (after(count(120), usage=usage).used_bytes, usage.base_bytes)


def test_the_base_of_a_period_does_not_move_with_the_counter():
    """It is what the panel's own limit is reckoned from, and each move would be a write."""
    usage = after(count(100)).in_period(2)

    assert 100 == after(count(120), count(500), usage=usage).base_bytes


# -- the end of a client ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "last", "expected"),
    [
        (Usage(), 10, (0, 0, 10)),
        (Usage(1, 0, 8, 5), 10, (0, 0, 15)),
        (Usage(1, 4, 8, 5), 10, (0, 0, 11)),
        (Usage(1, 4, 8, 0), 3, (1, 5, 0)),
        (Usage(1, 0, 8, 5), 0, (0, 8, 5)),
    ],
    ids=["first", "grown since it was seen", "above its base", "one of two clients", "unused"],
)
def test_a_client_without_a_mark_is_booked_above_the_base(before, last, expected):
    """Rows of earlier releases have no marks."""
    usage = bury(before, A, Counter(last, 0))

    assert expected == (usage.base_bytes, usage.counter_bytes, usage.booked_bytes)


@given(sizes, sizes, sizes, sizes)
def test_what_was_used_grows_by_what_the_last_counter_grew(base, counter, booked, grown):
    before = Usage(1, min(base, counter), counter, booked)

    gone = bury(before, A, Counter(counter + grown, 0))

    assert before.used_bytes + grown == gone.used_bytes
    assert (0, 0, {}) == (gone.base_bytes, gone.counter_bytes, dict(gone.marks))


@given(sizes, sizes, sizes)
def test_two_clients_of_a_key_are_booked_one_after_the_other(base, first, second):
    """Up to 3.0.2 a key has a client an inbound, and one row for all of them."""
    seen = follow(Usage(), {A: Counter(first, 0), B: Counter(0, second)}).in_period(2)
    before = follow(seen, {A: Counter(first + base, 0)})

    gone = bury(bury(before, A, Counter(first + base, 0)), B, Counter(0, second))

    assert before.used_bytes == gone.used_bytes == base
    assert 0 == gone.counter_bytes


def test_a_client_that_falls_as_it_goes_takes_nothing_back():
    used = after(count(100))

    assert 100 == bury(used, A, count(5)).used_bytes


# -- everything at once ----------------------------------------------------------------------------


@dataclass
class PanelClient:
    """What a panel may do to the counter of one client, and what was really used."""

    used: int = 0
    counter: int = 0
    row: int = 1
    created: int = 1
    backups: list = field(default_factory=lambda: [(0, 1)])

    def do(self, step):
        kind, size = step
        match kind:
            case "use":
                self.used += size
                self.counter += size
            case "reset":
                # A backup that is restored over a reset looks like traffic, and nothing tells them
                # apart.
                self.counter, self.backups = 0, [(0, self.row)]
            case "recreate":
                self.created += 1
                self.counter, self.row = 0, self.created
            case "back up":
                self.backups.append((self.counter, self.row))
            case "restore":
                self.counter, self.row = self.backups[size % len(self.backups)]
                # So does a later backup over an earlier one.
                self.backups = [b for b in self.backups if b[1] != self.row or b[0] <= self.counter]

    @property
    def shown(self):
        return Counter(self.counter // 3, self.counter - self.counter // 3, self.row)


kinds = st.sampled_from(["use", "use", "use", "reset", "recreate", "back up", "restore"])
steps = st.lists(st.tuples(kinds, st.integers(0, 1000)), max_size=4)


@given(st.lists(steps, max_size=12))
@example([[("use", 100)], [("reset", 0)], [("use", 30)], [("use", 30)]])
def test_nothing_is_ever_counted_that_was_not_used(looks):
    """Resets, new rows and restored backups, in any order, between any two looks."""
    panel, usage, before = PanelClient(), Usage(), 0
    for between in looks:
        for step in between:
            panel.do(step)
        usage = follow(usage, {A: panel.shown})

        assert before <= usage.used_bytes <= panel.used
        assert usage.used_bytes == usage.up_bytes + usage.down_bytes
        before = usage.used_bytes


@given(st.lists(st.integers(0, 1000), max_size=12), st.sets(st.integers(0, 11)))
def test_without_resets_every_byte_is_counted_whatever_looks_are_lost_or_old(uses, old):
    """An old answer stands between two that are true."""
    panel, usage, shown = PanelClient(), Usage(), [Counter(0, 0, 1)]
    for number, size in enumerate(uses):
        panel.do(("use", size))
        shown.append(panel.shown)
        if number in old and number + 1 not in old:
            usage = follow(usage, {A: shown[len(shown) // 2]})
        usage = follow(usage, {A: panel.shown})

    assert panel.used == usage.used_bytes


@given(st.lists(st.tuples(st.sampled_from([A, B]), sizes), max_size=10), st.booleans())
def test_what_was_used_never_shrinks_and_the_base_stays_within_the_counter(seen, old):
    usage = Usage(1, 0, 0, 5) if old else Usage()
    for email, size in seen:
        followed = follow(usage, {email: Counter(size, 0)})

        assert usage.used_bytes <= followed.used_bytes
        assert followed.base_bytes <= followed.counter_bytes
        usage = followed


def test_clients_of_a_key_may_come_in_any_order():
    one = follow(Usage(), {A: count(5), B: count(7)})

    assert one == follow(follow(Usage(), {B: count(7)}), {A: count(5)})
    assert {A: Mark(count(5)), B: Mark(count(7))} == dict(one.marks)
