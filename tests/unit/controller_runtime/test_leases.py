"""What a lease allows at a moment: decided by its own clock alone, without asking anybody."""

from dataclasses import dataclass, field

import pytest

from controller.runtime.lease import NOT_HELD, since_boot
from controller.runtime.lease_rows import LEADER
from controller.runtime.lease_sql import Claimed
from controller.runtime.leases import ReplicaLease, Terms
from controller.settings import ReplicaSettings
from desired_state.model.ids import Epoch, NodeName

NL, DE = NodeName("nl-1"), NodeName("de-1")


@dataclass
class Draws:
    """What a lease takes of its store here: bytes for its jitter, always the same."""

    byte: int = 0x80
    randomness: "Draws" = field(init=False)

    def __post_init__(self) -> None:
        self.randomness = self

    def draw(self, size: int) -> bytes:
        return bytes([self.byte] * size)


class Time:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_lease(*claimed: Claimed, byte: int = 0x80) -> tuple[ReplicaLease, Time]:
    """Make a lease that was renewed at 0 and has claimed these."""
    time = Time()
    lease = ReplicaLease(Draws(byte), Terms(ttl_s=15, renew_s=5), elapsed=time)
    lease._live_until(0.0)
    lease._settle([], list(claimed))
    return lease, time


@pytest.mark.promise("S7")
@pytest.mark.parametrize(
    ("at_s", "allowed"),
    [(0, True), (13.4, True), (13.5, False), (15, False), (600, False)],
)
def test_a_write_may_start_until_a_tenth_before_the_end(at_s: float, allowed: bool) -> None:
    lease, time = make_lease(Claimed(NL, Epoch(3), 0.0), Claimed(LEADER, Epoch(1), 0.0))

    time.now_s = at_s

    assert (allowed, allowed, False) == (lease.may_write(NL), lease.leads, lease.may_write(DE))


def test_a_deadline_does_not_change_what_is_held() -> None:
    """Only the database tells whether somebody took it: a late renewal may still find it ours."""
    lease, time = make_lease(Claimed(NL, Epoch(3), 0.0))

    time.now_s = 600

    assert (frozenset({NL}), Epoch(3), NOT_HELD) == (
        lease.nodes(),
        lease.epoch(NL),
        lease.epoch(DE),
    )


@pytest.mark.parametrize(("at_s", "allowed"), [(0, False), (29.9, False), (30, True)])
def test_nothing_is_removed_until_the_requests_of_the_dead_have_ended(
    at_s: float, allowed: bool
) -> None:
    lease, time = make_lease(Claimed(NL, Epoch(3), 30.0, taken_over=True))

    time.now_s = at_s

    assert (allowed, False) == (lease.may_remove(NL), lease.may_remove(DE))


def test_what_had_to_wait_is_looked_at_again_when_it_may_be_done() -> None:
    lease, time = make_lease(Claimed(NL, Epoch(3), 30.0, taken_over=True))
    lease.take_woken()
    seen = []
    for at_s in (29, 31, 32):
        time.now_s = at_s
        lease._wake_ready()
        seen.append(lease.take_woken())

    assert [frozenset(), {NL}, frozenset()] == seen


def test_a_death_takes_everything_at_once() -> None:
    lease, _ = make_lease(Claimed(NL, Epoch(3), 0.0), Claimed(LEADER, Epoch(1), 0.0))
    lease.changed.clear()

    lease._lose()

    assert (frozenset(), NOT_HELD, False, False, True) == (
        lease.nodes(), lease.epoch(NL), lease.may_write(NL), lease.leads, lease.changed.is_set(),
    )  # fmt: skip


def test_what_is_being_given_away_is_not_written_to() -> None:
    """First here, then in the database: its next holder may be quicker than the answer."""
    lease, _ = make_lease(Claimed(NL, Epoch(3), 0.0), Claimed(DE, Epoch(1), 0.0))

    lease._giving = {NL}

    assert (False, True, {DE}) == (lease.may_write(NL), lease.may_write(DE), lease.nodes())


def test_a_lease_that_the_database_has_under_another_epoch_is_another_one() -> None:
    lease, time = make_lease(Claimed(NL, Epoch(3), 0.0), Claimed(DE, Epoch(1), 0.0))
    lease.take_woken()
    time.now_s = 5

    lease._hold({NL: Claimed(NL, Epoch(5), 20.0)})

    assert (frozenset({NL}), Epoch(5), False) == (
        lease.nodes(),
        lease.epoch(NL),
        lease.may_remove(NL),
    )


@pytest.mark.parametrize(("byte", "expected"), [(0x00, 4.5), (0xFF, 5.5)])
def test_renewals_vary_by_a_tenth(byte: int, expected: float) -> None:
    lease, _ = make_lease(byte=byte)

    assert expected == pytest.approx(lease._renew_at_s)


async def test_nothing_may_be_written_from_the_moment_of_leaving() -> None:
    lease, _ = make_lease(Claimed(NL, Epoch(3), 0.0))

    await lease.release_all()

    assert (frozenset(), False, 0.0) == (lease.nodes(), lease.may_write(NL), lease.seconds_left)


def test_the_clock_of_leases_only_grows() -> None:
    first, second = since_boot(), since_boot()

    assert first <= second


def test_a_lease_outlives_a_failed_renewal() -> None:
    with pytest.raises(ValueError, match="one renewal may fail"):
        ReplicaSettings(ttl_s=10, renew_s=5)

    assert (15.0, 5.0) == (ReplicaSettings().ttl_s, ReplicaSettings().renew_s)
