"""Pure rules of the shop: what is left, what is credited, what is carried over, which device may."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.device import FORGET_AFTER, Admission, Device, admit, identify_device
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import DeviceId, PersonId, PurchaseId, SubscriptionId, TariffName
from desired_state.model.payment import Debt, judge
from desired_state.model.purchase import (
    MOST_CARRIED,
    Purchase,
    PurchaseKind,
    PurchaseState,
    carry_over,
)
from desired_state.model.quantities import Money
from desired_state.model.subscription import EndedBy, Subscription
from tests.fakes.clock import START

PRICE = Money("RUB", 29900)
DAY = timedelta(days=1)


def subscription(**changes):
    return Subscription(SubscriptionId("s"), TariffName("month"), **changes)


def purchase(**changes):
    values = {
        "id": PurchaseId("p"), "kind": PurchaseKind.NEW, "person": PersonId(1),
        "tariff": TariffName("month"), "price": PRICE, "created_at": START,
    } | changes  # fmt: skip
    return Purchase(**values)


# -- what is left ----------------------------------------------------------------------------------


@pytest.mark.story("zero-days-after-an-error")
@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(0), 0), (-DAY, 0), (timedelta(seconds=1), 1), (timedelta(hours=23), 1),
        (DAY, 1), (DAY + timedelta(microseconds=1), 2), (30 * DAY, 30), (365 * DAY, 365),
    ],
)  # fmt: skip
def test_zero_days_are_left_only_where_no_time_is(left: timedelta, days: int) -> None:
    assert days == subscription(valid_until=START + left).days_left(START)


def test_what_has_no_end_and_no_limit_has_no_number() -> None:
    endless = subscription()

    assert (None, None, None) == (
        endless.days_left(START), endless.time_left(START), endless.bytes_left(),
    )  # fmt: skip


def test_the_time_of_a_frozen_one_stands_still() -> None:
    frozen = subscription(valid_until=START + 10 * DAY, suspended=True, frozen_at=START + 2 * DAY)

    assert [8, 8] == [frozen.days_left(START + n * DAY) for n in (3, 300)]
    assert EndedBy.PERSON == frozen.ended_by(START + 300 * DAY)


@pytest.mark.parametrize("off", [{"suspended": True}, {"banned": True}])
def test_a_person_s_act_outweighs_what_else_ended_it(off: dict[str, bool]) -> None:
    """Nobody's client is deleted for its age while somebody keeps it switched off."""
    ended = subscription(valid_until=START - DAY, quota_bytes=1, used_bytes=2, **off)

    assert EndedBy.PERSON == ended.ended_by(START)


@pytest.mark.parametrize(("used", "left"), [(0, 100), (99, 1), (100, 0), (250, 0)])
def test_a_quota_is_never_less_than_used_up(used: int, left: int) -> None:
    assert left == subscription(quota_bytes=100, used_bytes=used).bytes_left()


# -- what is credited ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paid", "named", "banned", "debt"),
    [
        (PRICE, purchase(), False, None),
        (PRICE, None, False, Debt.NO_PURCHASE),
        (Money("RUB", 29899), purchase(), False, Debt.WRONG_AMOUNT),
        (Money("RUB", 29901), purchase(), False, Debt.WRONG_AMOUNT),
        (Money("XTR", 29900), purchase(), False, Debt.WRONG_AMOUNT),
        (PRICE, purchase(fulfilled_at=START), False, Debt.PAID_ALREADY),
        (PRICE, purchase(fulfilled_at=START, taken_back_at=START), False, Debt.PAID_ALREADY),
        (PRICE, purchase(), True, Debt.BANNED),
    ],
    ids=["exactly", "no order", "less", "more", "other currency", "twice", "refunded", "banned"],
)
def test_a_payment_credits_an_open_purchase_of_exactly_its_price(paid, named, banned, debt) -> None:
    assert debt == judge(paid, named, banned=banned)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, PurchaseState.OPEN),
        ({"fulfilled_at": START}, PurchaseState.FULFILLED),
        ({"fulfilled_at": START, "taken_back_at": START}, PurchaseState.TAKEN_BACK),
    ],
)
def test_a_purchase_is_in_one_state(changes, state) -> None:
    assert state == purchase(**changes).state


# -- what is carried over --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "old", "new", "carried"),
    [
        (30 * DAY, (300, 30), (600, 30), 15 * DAY),
        (10 * DAY, (600, 30), (300, 30), 20 * DAY),
        (30 * DAY, (300, 30), (2400, 365), timedelta(days=45, hours=15)),
        (30 * DAY, (0, 3), (300, 30), timedelta(0)),
        (30 * DAY, (300, 30), (0, 30), timedelta(0)),
        (timedelta(0), (300, 30), (300, 30), timedelta(0)),
        (58 * DAY, (3_444_471, 1), (161, 3_650), MOST_CARRIED),
    ],
    ids=[
        "dearer",
        "cheaper",
        "longer",
        "was for nothing",
        "is for nothing",
        "nothing left",
        "more than dates can say",
    ],
)
def test_time_is_carried_over_by_the_price_of_a_day(left, old, new, carried) -> None:
    assert carried == carry_over(left, old, new)


@given(
    left=st.timedeltas(timedelta(0), timedelta(days=3_650)),
    old=st.tuples(st.integers(0, 10**7), st.integers(1, 3_650)),
    new=st.tuples(st.integers(0, 10**7), st.integers(1, 3_650)),
)
def test_carried_time_is_never_worth_more_than_what_was_left(left, old, new) -> None:
    carried = carry_over(left, old, new)

    assert timedelta(0) <= carried
    assert (carried // timedelta(seconds=1)) * new[0] * old[1] <= (
        (left // timedelta(seconds=1)) * old[0] * new[1]
    )


# -- devices ---------------------------------------------------------------------------------------


def device(name: str, *, unseen: timedelta = timedelta(0)) -> Device:
    return Device(DeviceId(name), "phone", START - 400 * DAY, START - unseen)


def test_a_device_is_admitted_until_the_limit_and_known_ones_always() -> None:
    seen = [device("a"), device("b")]

    assert Admission(admitted=True, known=False, counted=3, limit=3) == admit(
        seen, DeviceId("c"), 3, START
    )
    assert Admission(admitted=False, known=False, counted=2, limit=2) == admit(
        seen, DeviceId("c"), 2, START
    )
    assert Admission(admitted=True, known=True, counted=2, limit=1) == admit(
        seen, DeviceId("a"), 1, START
    )
    assert Admission(admitted=True, known=False, counted=3, limit=None) == admit(
        seen, DeviceId("c"), None, START
    )


def test_a_device_that_was_not_seen_for_long_makes_room() -> None:
    seen = [device("old", unseen=FORGET_AFTER), device("new", unseen=FORGET_AFTER - DAY)]

    answer = admit(seen, DeviceId("c"), 2, START)

    assert (
        Admission(admitted=True, known=False, counted=2, limit=2, forgotten=(DeviceId("old"),))
        == answer
    )


@given(
    seen=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), max_size=6),
    asks=st.lists(st.sampled_from("abcdefgh"), max_size=12),
    limit=st.none() | st.integers(0, 5),
)
def test_never_more_devices_count_than_the_limit_lets_in(seen, asks, limit) -> None:
    """Whoever asks in whatever order: beyond those that counted before, no more than the limit."""
    devices = {name: device(name, unseen=days * DAY) for name, days in seen.items()}
    before = {n for n, one in devices.items() if START - one.last_seen_at < FORGET_AFTER}

    for name in asks:
        answer = admit(devices.values(), DeviceId(name), limit, START)
        assert answer.admitted or not answer.known
        if answer.admitted:
            devices[name] = device(name)
            counting = {n for n, one in devices.items() if START - one.last_seen_at < FORGET_AFTER}
            assert answer.counted == len(counting)

    counting = {n for n, one in devices.items() if START - one.last_seen_at < FORGET_AFTER}
    if limit is not None:
        assert len(counting) <= max(limit, len(before))


def test_what_an_app_says_of_its_device_is_not_kept() -> None:
    assert identify_device(" AB-12 ") == identify_device("ab-12")
    assert identify_device("ab-12") != identify_device("ab-13")
    assert "ab-12" not in identify_device("ab-12")
    assert 64 == len(identify_device("ab-12"))


@pytest.mark.parametrize("said", ["", "  ", "x" * 257])
def test_a_device_that_says_nothing_or_too_much_is_refused(said: str) -> None:
    with pytest.raises(InvalidValue):
        identify_device(said)
