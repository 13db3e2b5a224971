"""Back-off of a node: how long, what ends it, and what a node that flaps has to prove."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.backoff import (
    Backoff,
    Ended,
    confirm_before_failover,
    longest_pause_s,
    next_backoff,
    probation_s,
)
from desired_state.model.policy import Policy

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
NEARLY_ONE = 1 - 2**-32


def fall(times, draw=1.0, ended=Ended.LOST, state=None, now=NOW):
    state = state or Backoff()
    for _ in range(times):
        state = next_backoff(state, ended, now, draw)
    return state


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (7, 320), (8, 640), (9, 900), (10, 900), (10_000, 900)],
)
def test_a_pause_doubles_from_five_seconds_to_a_quarter_of_an_hour(failures, pause_s):
    assert pause_s == longest_pause_s(failures)


@pytest.mark.parametrize(("draw", "pause_s"), [(0.0, 0), (0.5, 10), (1.0, 20)])
def test_jitter_is_full(draw, pause_s):
    """From nothing to the whole pause, so that nodes that fell together come back apart."""
    state = next_backoff(fall(2), Ended.LOST, NOW, draw)

    assert Backoff(failures=3, next_look_at=NOW + timedelta(seconds=pause_s)) == state


@pytest.mark.parametrize(("draw", "pause_s"), [(0.0, 810), (0.5, 900), (1.0, 990)])
@pytest.mark.parametrize("failures", [0, 3, 50])
def test_what_repeating_cannot_help_is_probed_slowly_from_the_first_time_on(
    draw, pause_s, failures
):
    state = next_backoff(fall(failures), Ended.PERMANENT, NOW, draw)

    assert (failures + 1, NOW + timedelta(seconds=pause_s)) == (state.failures, state.next_look_at)


def test_refused_credentials_are_never_tried_again_by_themselves():
    once = next_backoff(Backoff(), Ended.REFUSED, NOW, 0.5)
    twice = next_backoff(once, Ended.REFUSED, NOW + timedelta(days=1), 0.5)

    assert Backoff(failures=1) == once
    assert once is twice, "nothing is written while nothing changes"


def test_a_refusal_after_other_failures_ends_the_tries():
    assert Backoff(failures=4) == next_backoff(fall(3), Ended.REFUSED, NOW, 0.5)


@pytest.mark.parametrize(
    ("wait_s", "pause_s"), [(1, 5), (60, 60), (10_000_000, 900)], ids=["less", "more", "too much"]
)
def test_what_the_panel_asks_for_is_honoured_up_to_the_cap(wait_s, pause_s):
    state = next_backoff(Backoff(), Ended.LOST, NOW, 1.0, NOW + timedelta(seconds=wait_s))

    assert NOW + timedelta(seconds=pause_s) == state.next_look_at


def test_a_clean_cycle_ends_it():
    state = next_backoff(fall(6), Ended.CLEAN, NOW, 0.5)

    assert Backoff(recovered_at=NOW) == state


def test_an_answer_alone_ends_nothing_but_the_pause():
    """Connected is not recovered: the next failure goes on where the last one was."""
    connected = next_backoff(fall(6), Ended.CONNECTED, NOW, 0.5)
    later = next_backoff(connected, Ended.CONNECTED, NOW + timedelta(minutes=5), 0.5)
    fallen = next_backoff(later, Ended.LOST, NOW + timedelta(minutes=6), 1.0)

    assert Backoff(failures=6, connected_at=NOW) == connected
    assert connected == later
    assert (7, None) == (fallen.failures, fallen.connected_at)


@pytest.mark.parametrize("ended", [Ended.CLEAN, Ended.CONNECTED])
def test_a_node_that_never_failed_stays_the_same_value(ended):
    """A turn that finds nothing to do writes nothing."""
    state = Backoff(recovered_at=NOW - timedelta(days=1), flaps=2)

    assert state is next_backoff(state, ended, NOW, 0.5)


def test_a_node_that_falls_soon_after_it_recovered_has_to_prove_itself_for_longer_each_time():
    now, state, waits = NOW, Backoff(), []
    for _ in range(7):
        state = next_backoff(state, Ended.LOST, now, 0.5)
        since = now
        while state.is_failing:
            state = next_backoff(state, Ended.CLEAN, now, 0.5)
            now += timedelta(seconds=1)
        waits.append((state.recovered_at - since).total_seconds())

    assert [0, 60, 120, 240, 480, 600, 600] == waits


def test_a_node_that_was_well_for_long_begins_anew():
    flapping = Backoff(recovered_at=NOW, flaps=4)

    state = next_backoff(flapping, Ended.LOST, NOW + timedelta(minutes=10), 0.5)

    assert 0 == state.flaps


def test_a_clock_that_was_set_back_does_not_make_a_probation_longer():
    connected = replace(fall(1), connected_at=NOW + timedelta(days=1), flaps=1, next_look_at=None)

    state = next_backoff(connected, Ended.CLEAN, NOW, 0.5)

    assert NOW == state.connected_at
    assert not next_backoff(state, Ended.CLEAN, NOW + timedelta(minutes=1), 0.5).is_failing


@pytest.mark.parametrize(
    ("due", "left_s"),
    [(None, 0), (-5, 0), (12.5, 12.5), (1e7, 990)],
    ids=["at any time", "past", "soon", "a clock was wrong"],
)
def test_what_is_left_of_a_stored_pause(due, left_s):
    moment = None if due is None else NOW + timedelta(seconds=due)

    assert left_s == Backoff(failures=1, next_look_at=moment).left_s(NOW)


moments = st.integers(0, 10**7).map(lambda s: NOW + timedelta(seconds=s))
draws = st.floats(0, NEARLY_ONE)


@given(st.lists(st.tuples(st.sampled_from(Ended), st.integers(0, 3600), draws), max_size=30))
def test_whatever_happens_no_pause_is_longer_than_the_slow_probe(steps):
    now, state = NOW, Backoff()
    for ended, passed_s, draw in steps:
        now += timedelta(seconds=passed_s)
        before, state = state, next_backoff(state, ended, now, draw)

        fell = ended not in (Ended.CLEAN, Ended.CONNECTED)
        assert 0 <= state.left_s(now) <= 990
        assert state.flaps <= 5
        if fell:
            assert state.is_failing
            assert state.connected_at is None
            assert state.failures >= before.failures
        else:
            assert state.next_look_at is None
            assert state.failures in (0, before.failures)
        if ended is Ended.CONNECTED:
            assert state.is_failing == before.is_failing


@given(st.integers(0, 20), draws)
def test_enough_clean_cycles_always_recover(flaps, draw):
    state = replace(fall(3, draw), flaps=flaps)
    first = next_backoff(state, Ended.CLEAN, NOW, draw)
    later = NOW + timedelta(seconds=probation_s(flaps))

    assert not next_backoff(first, Ended.CLEAN, later, draw).is_failing


@pytest.mark.parametrize(
    ("next_s", "failover_s", "expected_s"),
    [(300, 600, 300), (300, 120, 90.2), (300, 0, 300), (300, 30, 300), (None, 120, None)],
    ids=["soon enough", "brought forward", "never given up", "given up", "never tried"],
)
def test_a_node_is_looked_at_once_more_before_it_is_given_up(next_s, failover_s, expected_s):
    """When it will have been seen failing for long enough: it was for 30 s by now."""

    def at(seconds):
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    state = Backoff(failures=3, next_look_at=at(next_s), watched_s=30.0)

    found = confirm_before_failover(state, Policy(failover_after_s=failover_s), NOW)

    assert replace(state, next_look_at=at(expected_s)) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Ended.LOST, Ended.LOST, Ended.LOST, Ended.CONNECTED]),
            st.floats(0, 900),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_only_time_between_failed_looks_of_one_controller_counts_as_watched(steps):
    """A stop of the controller, however long, and an answer in between add nothing."""
    state, now, watched_s, fails = Backoff(), NOW, 0.0, False
    for ended, gap_s, was_stopped in steps:
        now += timedelta(seconds=gap_s, hours=20 if was_stopped else 0)
        seen_s = 0.0 if was_stopped or not fails else gap_s
        state = next_backoff(state, ended, now, 0.5, watched_s=seen_s)
        watched_s = watched_s + seen_s if ended is Ended.LOST and fails else 0.0
        fails = ended is Ended.LOST

        assert pytest.approx(watched_s) == state.watched_s


def test_a_process_that_stood_still_adds_no_more_than_the_longest_pause():
    """Stopped by a signal it has a clock that went on, and saw nothing."""
    fallen = next_backoff(Backoff(), Ended.LOST, NOW, 0.5)

    later = next_backoff(fallen, Ended.LOST, NOW, 0.5, watched_s=20 * 3600.0)

    assert 1050.0 == later.watched_s
