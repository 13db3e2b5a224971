"""The machine's clock and randomness, as the store takes them."""

from datetime import UTC, datetime

from desired_state.store.clock import SystemClock, SystemRandomness


def test_the_machines_clock_tells_aware_utc() -> None:
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert before <= now <= datetime.now(UTC)
    assert UTC == now.tzinfo


def test_the_machines_randomness_never_repeats() -> None:
    draws = {SystemRandomness().draw(16) for _ in range(100)}

    assert 100 == len(draws)
    assert {16} == {len(draw) for draw in draws}
