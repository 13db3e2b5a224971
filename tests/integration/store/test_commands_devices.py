"""Devices of subscriptions: admitted up to the limit, remembered, forgotten; and nobody is woken."""

import pytest
from sqlalchemy import func, select

from desired_state.commands import devices, subscriptions, tariffs
from desired_state.commands.errors import NotFound
from desired_state.model.device import FORGET_AFTER, TOUCH_AFTER, identify_device
from desired_state.model.ids import SubscriptionId
from desired_state.queries.subscription import list_devices
from desired_state.store.engine import Store
from desired_state.store.tables.desired import RevisionCounterRow
from desired_state.store.tables.shop import DeviceRow
from tests.data.rows import wakes_since
from tests.integration.store.shop import TRIAL, Shop, open_shop

PHONES = [identify_device(f"phone-{number}") for number in range(6)]


@pytest.fixture
async def shop(sqlite_store: Store) -> Shop:
    return await open_shop(sqlite_store)


@pytest.fixture
async def sold(shop: Shop) -> SubscriptionId:
    """A month for three devices."""
    return (await shop.buy())[0]


async def see(shop: Shop, sold: SubscriptionId, number: int, title: str = "Pixel"):
    return await shop.do(devices.see, sold, PHONES[number], title=title)


async def known(shop: Shop, sold: SubscriptionId) -> list[int]:
    async with shop.store.reading() as session:
        return [PHONES.index(one.id) for one in await list_devices(session, sold)]


async def revision(shop: Shop) -> int:
    async with shop.store.reading() as session:
        return (await session.get_one(RevisionCounterRow, 1)).value


async def test_a_fourth_device_of_three_is_refused_and_not_remembered(shop, sold) -> None:
    answers = [await see(shop, sold, number) for number in range(4)]

    assert [True, True, True, False] == [one.admitted for one in answers]
    assert [(1, 3), (2, 3), (3, 3), (3, 3)] == [(one.counted, one.limit) for one in answers]
    assert {0, 1, 2} == set(await known(shop, sold))


async def test_a_sight_of_a_device_wakes_nobody_and_a_known_one_writes_nothing(shop, sold) -> None:
    before = await revision(shop)

    await see(shop, sold, 0)
    first = await revision(shop)
    await see(shop, sold, 0)
    second = await revision(shop)
    shop.store.clock.advance(seconds=TOUCH_AFTER.total_seconds())
    await see(shop, sold, 0)
    third = await revision(shop)

    assert (1, 0, 1) == (first - before, second - first, third - second)
    assert set() == await wakes_since(shop.store, before + 1)


async def test_one_that_was_not_seen_for_long_is_forgotten_when_room_is_needed(shop, sold) -> None:
    for number in range(3):
        await see(shop, sold, number)
    shop.store.clock.advance(days=20)
    await shop.do(subscriptions.extend, sold, 60)
    await see(shop, sold, 2)
    shop.store.clock.advance(seconds=FORGET_AFTER.total_seconds() - 20 * 86_400)

    answer = await see(shop, sold, 3)

    assert (True, 2, {PHONES[0], PHONES[1]}) == (
        answer.admitted, answer.counted, set(answer.forgotten),
    )  # fmt: skip
    assert {2, 3} == set(await known(shop, sold))


async def test_one_that_comes_back_after_it_was_forgotten_asks_as_a_new_one(shop, sold) -> None:
    await see(shop, sold, 0)
    shop.store.clock.advance(seconds=FORGET_AFTER.total_seconds())

    answer = await see(shop, sold, 0, title="Pixel 9")

    async with shop.store.reading() as session:
        [row] = await list_devices(session, sold)
    assert (True, False, 1) == (answer.admitted, answer.known, answer.counted)
    assert ("Pixel 9", shop.store.clock.now()) == (row.title, row.last_seen_at)


async def test_devices_that_a_smaller_tariff_is_too_small_for_stay_and_no_other_joins(
    shop, sold
) -> None:
    for number in range(3):
        await see(shop, sold, number)
    await shop.do(tariffs.change, sold, TRIAL)

    answers = [await see(shop, sold, number) for number in (0, 1, 2, 3)]

    assert [True, True, True, False] == [one.admitted for one in answers]


async def test_a_person_has_a_device_forgotten_and_another_takes_its_place(shop, sold) -> None:
    for number in range(3):
        await see(shop, sold, number)

    gone = await shop.do(devices.forget, sold, PHONES[1][:8])
    answer = await see(shop, sold, 3)

    assert (PHONES[1], True) == (gone, answer.admitted)
    assert {0, 2, 3} == set(await known(shop, sold))
    with pytest.raises(NotFound, match="there is no device"):
        await shop.do(devices.forget, sold, PHONES[1][:8])
    with pytest.raises(NotFound, match="there is no device"):
        await shop.do(devices.forget, sold, "")
    with pytest.raises(NotFound, match="there is no device"):
        await shop.do(devices.forget, sold, "%")


async def test_devices_of_one_subscription_count_for_no_other(shop, sold) -> None:
    other, _ = await shop.buy()
    for number in range(3):
        await see(shop, sold, number)

    answer = await see(shop, other, 3)

    async with shop.store.reading() as session:
        rows = await session.scalar(select(func.count()).select_from(DeviceRow))
    assert (1, 4) == (answer.counted, rows)
    with pytest.raises(NotFound):
        await see(shop, SubscriptionId("nobody"), 0)
