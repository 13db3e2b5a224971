"""A node's load: smoothed traffic and host, and which differences are worth a write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.load import Load, Measured, is_worth_storing, measure
from controller.core.observed import HostLoad, ObservedInbound
from desired_state.model.ids import InboundId
from tests.unit.controller_core.cases import make_look

sizes = st.integers(min_value=0, max_value=2**50)


def seen(*carried, cpu=None, memory=None):
    """A look whose inbounds carried so much."""
    inbounds = tuple(
        ObservedInbound(InboundId(number), "vless", 443 + number, carried_bytes=size)
        for number, size in enumerate(carried)
    )
    return make_look(inbounds=inbounds, host=HostLoad(cpu, memory))


def test_a_first_look_tells_the_host_at_once_and_no_rate():
    stored = Load(traffic_rate_bps=5_000_000)

    first = measure(stored, seen(7_000_000_000, cpu=0.5, memory=0.25), 100.0)

    assert Load(5_000_000, 0.5, 0.25) == first.load


def test_a_steady_rate_is_approached_and_kept():
    measured = measure(Load(), seen(0), 0.0)
    for minute in range(1, 61):
        measured = measure(measured, seen(minute * 60 * 1_000_000), minute * 60.0)

    assert pytest.approx(1_000_000, rel=0.001) == measured.load.traffic_rate_bps


def test_traffic_that_stops_fades_to_nothing():
    measured = Measured(0.0, {InboundId(0): 0}, Load(traffic_rate_bps=1_000_000))
    for minute in range(1, 61):
        measured = measure(measured, seen(0), minute * 60.0)

    assert 0 == measured.load.traffic_rate_bps


@given(sizes, sizes, st.integers(0, 10**9))
def test_a_counter_that_fell_or_is_new_is_no_traffic(before, new, rate):
    """Panels are reset, restored and wiped: only growth of a known inbound counts."""
    measured = Measured(0.0, {InboundId(0): before}, Load(traffic_rate_bps=rate))

    after = measure(measured, seen(max(0, before - 1), new), 60.0)

    assert after.load.traffic_rate_bps <= rate


@given(st.lists(st.tuples(st.integers(1, 3600), sizes), max_size=20))
def test_a_rate_is_never_negative_and_never_above_the_fastest_growth(steps):
    measured, total, now, fastest = measure(Load(), seen(0), 0.0), 0, 0.0, 0.0
    for elapsed, grown in steps:
        total, now, fastest = total + grown, now + elapsed, max(fastest, grown / elapsed)
        measured = measure(measured, seen(total), now)

    assert 0 <= measured.load.traffic_rate_bps <= fastest + 1


def test_what_a_panel_does_not_say_stays_as_it_was():
    measured = Measured(0.0, {}, Load(cpu_share=0.4, memory_share=0.3))

    assert Load(0, 0.4, 0.3) == measure(measured, seen(), 60.0).load


def test_a_short_peak_moves_the_cpu_little_and_an_hour_of_it_fully():
    calm = Measured(0.0, {}, Load(cpu_share=0.1, memory_share=0.3))

    after_a_look = measure(calm, seen(cpu=0.9, memory=0.3), 15.0).load.cpu_share
    measured = calm
    for minute in range(1, 61):
        measured = measure(measured, seen(cpu=0.9, memory=0.3), minute * 60.0)

    assert 0.1 < after_a_look < 0.2
    assert pytest.approx(0.9, abs=0.01) == measured.load.cpu_share


@pytest.mark.parametrize(
    ("stored", "now", "expected"),
    [
        (Load(), Load(), False),
        (Load(1_000_000), Load(1_050_000), False),
        (Load(1_000_000), Load(1_200_000), True),
        (Load(1_000), Load(0), True),
        (Load(0, 0.30), Load(0, 0.34), False),
        (Load(0, 0.30), Load(0, 0.36), True),
        (Load(0, None), Load(0, 0.0), True),
        (Load(0, 0.3, 0.5), Load(0, 0.3, 0.56), True),
    ],
)
def test_only_a_difference_that_matters_is_stored(stored, now, expected):
    assert expected is is_worth_storing(stored, now)
