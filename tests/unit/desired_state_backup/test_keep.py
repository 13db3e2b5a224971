"""Which backups stay, and how long the journal remembers for the oldest of them."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.backups import Keep, kept, tombstones_since

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENTS = st.lists(
    st.integers(0, 400 * 24).map(lambda hours: NOON - timedelta(hours=hours)), max_size=60
)


def test_the_newest_the_days_and_the_weeks_stay() -> None:
    every_day = [NOON - number * DAY for number in range(60)]

    stay = kept(every_day, Keep(last=2, daily=3, weekly=4))

    # A Monday: its week holds it alone; of each other week its Sunday is the newest.
    expected = [NOON - number * DAY for number in (0, 1, 2, 8, 15)]
    assert expected == sorted(stay, reverse=True)


def test_several_of_one_day_leave_its_newest() -> None:
    hours = [NOON - timedelta(hours=number) for number in range(10)]

    assert {NOON} == kept(hours, Keep(last=1, daily=7, weekly=4))


@given(MOMENTS, st.integers(1, 5), st.integers(0, 9), st.integers(0, 9))
def test_the_newest_always_stays_and_choosing_again_changes_nothing(
    moments, last, daily, weekly
) -> None:
    keep = Keep(last, daily, weekly)

    stay = kept(moments, keep)

    assert stay <= frozenset(moments)
    assert len(stay) <= last + daily + weekly
    assert stay == kept(stay, keep)
    assert not moments or max(moments) in stay


def test_tombstones_are_kept_as_long_as_is_asked_for_without_backups() -> None:
    assert NOON - 30 * DAY == tombstones_since(NOON, 30 * DAY, None)
    assert NOON - 30 * DAY == tombstones_since(NOON, 30 * DAY, NOON - DAY)


@given(st.integers(0, 1000))
def test_tombstones_outlive_the_oldest_backup(days) -> None:
    oldest = NOON - days * DAY

    assert tombstones_since(NOON, 30 * DAY, oldest) < oldest
