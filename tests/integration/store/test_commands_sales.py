"""Commands of the shop: trial, sell, extend, change tariff, freeze, ban, refund; payments."""

from typing import Any

import pytest
from sqlalchemy import func, select

from desired_state.commands import keys, nodes, payments, people, purchases, subscriptions, tariffs
from desired_state.commands.errors import (
    Conflict,
    KeyUnschedulable,
    NotFound,
    PaymentRejected,
    PersonBanned,
)
from desired_state.commands.payments import Charge
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import KeyId, PaymentId, PersonId, SubscriptionId, TariffName
from desired_state.model.payment import Debt, PaymentState
from desired_state.model.policy import LoadWeights
from desired_state.model.purchase import PurchaseKind, PurchaseState
from desired_state.model.quantities import Money
from desired_state.model.subscription import EndedBy
from desired_state.queries.payments import list_payments, show_payment
from desired_state.store.engine import Store
from desired_state.store.tables.desired import MoveRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_tariff
from tests.data.rows import apply, place, replace_status, wakes_since
from tests.integration.store.shop import (
    GERMANY,
    MONTH,
    NL1,
    NL2,
    PRICE,
    TRIAL,
    YEAR,
    Shop,
    open_shop,
)


@pytest.fixture
async def shop(sqlite_store: Store) -> Shop:
    return await open_shop(sqlite_store)


async def count(shop: Shop, row: type) -> int:
    async with shop.store.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(row)) or 0)


async def payment(shop: Shop, number: PaymentId):
    async with shop.store.reading() as session:
        return await show_payment(session, number)


# -- selling ---------------------------------------------------------------------------------------


async def test_an_order_is_nothing_yet_and_its_payment_makes_subscription_and_key(
    shop: Shop,
) -> None:
    ordered = await shop.order()
    before = (await count(shop, SubscriptionRow), len(await shop.keys()))

    paid = await shop.pay(ordered.purchase.id)

    detail = await shop.show(SubscriptionId((await shop.keys())[0].subscription_id))
    assert (PurchaseKind.NEW, PurchaseState.OPEN) == (ordered.purchase.kind, ordered.purchase.state)
    assert (0, 0) == before
    assert PaymentState.CREDITED is paid.payment.state
    assert (30, 200 * GIB, 3) == (
        detail.summary.days_left, detail.summary.bytes_left, detail.summary.subscription.devices,
    )  # fmt: skip
    assert [PurchaseState.FULFILLED] == [one.state for one in detail.purchases]
    assert [paid.payment] == list(detail.payments)


async def test_an_order_wakes_nobody_and_its_payment_wakes_the_scheduler(shop: Shop) -> None:
    ordered = await shop.order()
    async with shop.store.reading() as session:
        before = (await session.get_one(PurchaseRow, ordered.purchase.id)).revision

    assert set() == await wakes_since(shop.store, before)
    await shop.pay(ordered.purchase.id)
    assert {None} == await wakes_since(shop.store, before)


async def test_what_no_node_can_carry_is_refused_before_anybody_pays(shop: Shop) -> None:
    for node in (NL1, NL2):
        await shop.do(nodes.cordon, node)

    with pytest.raises(KeyUnschedulable, match="of 2 nodes for country=nl: 2 unschedulable"):
        await shop.order()

    assert 0 == await count(shop, PurchaseRow)


async def test_what_only_overloaded_nodes_could_carry_is_refused_too(shop: Shop) -> None:
    """The scheduler's own answer, by the same reading of nodes: no less is asked before a sale."""
    await apply(
        shop.store,
        make_bundle(
            make_node_spec("nl-1"), make_tariff(prices=(PRICE,)),
            make_policy(load=LoadWeights(keys=1.0, cpu=1.0)), revision="r2",
        ),
    )  # fmt: skip
    await replace_status(shop.store, NL1, cpu_share=1.0)

    with pytest.raises(KeyUnschedulable, match="1 orphaned, 1 overloaded"):
        await shop.order()


async def test_what_is_paid_while_nothing_can_carry_it_is_a_key_that_waits_and_is_shown(
    shop: Shop,
) -> None:
    ordered = await shop.order()
    for node in (NL1, NL2):
        await shop.do(nodes.cordon, node)

    paid = await shop.pay(ordered.purchase.id)

    [key] = await shop.keys()
    detail = await shop.show(SubscriptionId(key.subscription_id))
    assert PaymentState.CREDITED is paid.payment.state
    [(waiting, why)] = detail.waiting
    assert (key.id, 0) == (waiting, detail.served)
    assert "nl-1 is cordoned" in why


@pytest.mark.parametrize(
    ("tariff", "currency", "told"),
    [
        ("month-nl", "USD", "no price in USD"),
        ("trial", "RUB", "it is given, not sold"),
        ("nothing", "RUB", "no tariff nothing"),
        ("month-fr", "RUB", "no node carries country=fr"),
    ],
)
async def test_what_is_not_sold_is_refused_with_its_reason(shop, tariff, currency, told) -> None:
    with pytest.raises((Conflict, NotFound, KeyUnschedulable), match=told):
        await shop.order(TariffName(tariff), currency=currency)


async def test_an_order_under_the_same_token_is_the_same_order(shop: Shop) -> None:
    first = await shop.order(token="click")
    await shop.pay(first.purchase.id)

    again = await shop.order(token="click")

    assert (first.purchase.id, True) == (again.purchase.id, again.repeated)
    assert 1 == await count(shop, PurchaseRow)
    with pytest.raises(Conflict, match="stands for another purchase"):
        await shop.order(YEAR, token="click")


async def test_the_price_and_the_days_are_those_of_the_order(shop: Shop) -> None:
    """A manifest that changes between order and payment changes nothing for who ordered."""
    ordered = await shop.order()
    await apply(shop.store, make_bundle(make_node_spec("nl-1"), revision="r2"))

    await shop.pay(ordered.purchase.id, money=PRICE)

    [key] = await shop.keys()
    assert 30 == (await shop.show(SubscriptionId(key.subscription_id))).summary.days_left


# -- a trial ---------------------------------------------------------------------------------------


async def test_a_trial_is_given_once_in_a_life(shop: Shop) -> None:
    given = await shop.do(purchases.trial, shop.person, TRIAL, token="t")
    again = await shop.do(purchases.trial, shop.person, TRIAL, token="t")

    with pytest.raises(Conflict, match="had a trial already"):
        await shop.do(purchases.trial, shop.person, TRIAL, token="other")

    assert (PurchaseKind.TRIAL, given.purchase) == (given.purchase.kind, again.purchase)
    assert (True, 1, 1) == (again.repeated, len(await shop.keys()), await count(shop, PurchaseRow))


async def test_only_a_trial_is_given_for_nothing(shop: Shop) -> None:
    with pytest.raises(Conflict, match="is no trial"):
        await shop.do(purchases.trial, shop.person, MONTH)


# -- more of it ------------------------------------------------------------------------------------


async def test_an_extension_in_force_adds_time_and_traffic_and_keeps_the_key(shop: Shop) -> None:
    sold, _ = await shop.buy()
    before = [key.id for key in await shop.keys()]
    shop.pass_time(days=10)

    await shop.buy(MONTH, sold)

    detail = await shop.show(sold)
    assert (50, 400 * GIB, 1) == (
        detail.summary.days_left, detail.summary.bytes_left, len(await shop.keys()),
    )  # fmt: skip
    assert before == [key.id for key in await shop.keys()]


async def test_an_extension_of_what_has_expired_begins_anew(shop: Shop) -> None:
    sold, _ = await shop.buy()
    shop.pass_time(days=45)

    await shop.buy(MONTH, sold)

    detail = await shop.show(sold)
    assert (30, 200 * GIB) == (detail.summary.days_left, detail.summary.bytes_left)


async def test_an_extension_of_what_lost_its_key_gives_another_one(shop: Shop) -> None:
    """A paid order ends in a key, whatever became of the one before."""
    sold, _ = await shop.buy()
    await shop.do(keys.revoke, KeyId((await shop.keys())[0].id))

    await shop.buy(MONTH, sold)

    assert [True, False] == sorted(key.deleted_at is None for key in await shop.keys())[::-1]


async def test_nobody_extends_what_is_another_person_s(shop: Shop) -> None:
    sold, _ = await shop.buy()
    other = await shop.do(people.meet, 7002)

    with pytest.raises(Conflict, match="is not person"):
        await shop.do(purchases.sell, other.person.id, MONTH, currency="RUB", subscription=sold)


# -- another tariff --------------------------------------------------------------------------------


async def test_another_tariff_takes_over_what_is_left_by_the_price_of_a_day(shop: Shop) -> None:
    """20 days of a month at 299 are 20 days of a year at 3588 for 360 days."""
    sold, _ = await shop.buy()
    shop.pass_time(days=10)

    await shop.buy(YEAR, sold)

    detail = await shop.show(sold)
    assert (YEAR, 380, None, 5) == (
        detail.summary.subscription.tariff, detail.summary.days_left, detail.summary.bytes_left,
        detail.summary.subscription.devices,
    )  # fmt: skip


async def test_a_key_goes_where_its_new_tariff_says(shop: Shop) -> None:
    sold, _ = await shop.buy()
    [key] = await shop.keys()
    await place(shop.store, KeyId(key.id), NL1)

    changed = await shop.do(tariffs.change, sold, GERMANY, token="c")
    again = await shop.do(tariffs.change, sold, GERMANY, token="c")

    [after] = await shop.keys()
    async with shop.store.reading() as session:
        moves = (await session.scalars(select(MoveRow))).all()
    assert (True, False, GERMANY) == (changed.changed, again.changed, changed.subscription.tariff)
    assert ({"country": "de"}, key.generation) == (after.selector_labels, after.generation)
    assert [(NL1, None)] == [(move.from_node, move.to_node) for move in moves]


async def test_a_change_for_nothing_keeps_the_end(shop: Shop) -> None:
    sold, _ = await shop.buy()
    shop.pass_time(days=10)

    changed = await shop.do(tariffs.change, sold, YEAR)

    assert (20, None) == (
        changed.subscription.days_left(shop.store.clock.now()), changed.subscription.quota_bytes,
    )  # fmt: skip


# -- freeze, ban -----------------------------------------------------------------------------------


async def test_a_frozen_subscription_keeps_its_time_however_long(shop: Shop) -> None:
    sold, _ = await shop.buy()
    shop.pass_time(days=10)
    await shop.do(subscriptions.freeze, sold)
    shop.pass_time(days=100)
    frozen = (await shop.show(sold)).summary

    await shop.do(subscriptions.unfreeze, sold)

    assert (EndedBy.PERSON, 20) == (frozen.ended, frozen.days_left)
    assert (None, 20) == ((await shop.show(sold)).summary.ended, frozen.days_left)


async def test_a_late_repetition_undoes_nothing_that_was_done_since(shop: Shop) -> None:
    sold, _ = await shop.buy()
    await shop.do(subscriptions.freeze, sold, token="one")
    await shop.do(subscriptions.unfreeze, sold, token="two")

    late = await shop.do(subscriptions.freeze, sold, token="one")

    assert (False, None) == (late.changed, (await shop.show(sold)).summary.ended)
    with pytest.raises(Conflict, match="stands for another command"):
        await shop.do(subscriptions.extend, sold, 1, token="one")


@pytest.mark.parametrize("other", [{"days": 11}, {"days": 10, "new_period": True}])
async def test_other_days_under_the_same_token_are_refused_and_not_called_done(
    shop: Shop, other: dict[str, Any]
) -> None:
    sold, _ = await shop.buy()
    extended = await shop.do(subscriptions.extend, sold, 10, token="gift")

    again = await shop.do(subscriptions.extend, sold, 10, token="gift")
    with pytest.raises(Conflict, match="stands for another command"):
        await shop.do(subscriptions.extend, sold, token="gift", **other)

    assert (True, False) == (extended.changed, again.changed)
    assert 40 == (await shop.show(sold)).summary.days_left


async def test_days_are_added_once_under_a_token(shop: Shop) -> None:
    sold, _ = await shop.buy()

    done = [await shop.do(subscriptions.extend, sold, 5, token="gift") for _ in range(3)]

    assert [True, False, False] == [one.changed for one in done]
    assert 35 == (await shop.show(sold)).summary.days_left


async def test_what_has_expired_cannot_be_frozen(shop: Shop) -> None:
    sold, _ = await shop.buy()
    shop.pass_time(days=31)

    with pytest.raises(Conflict, match="no time to keep"):
        await shop.do(subscriptions.freeze, sold)


async def test_a_ban_ends_all_that_a_person_holds_and_sells_them_nothing(shop: Shop) -> None:
    first, _ = await shop.buy()
    second, _ = await shop.buy(YEAR)
    [key, _] = await shop.keys()
    await place(shop.store, KeyId(key.id), NL1)
    async with shop.store.reading() as session:
        before = await session.scalar(select(func.max(SubscriptionRow.revision)))

    banned = await shop.do(people.ban, shop.person, reason="abuse", token="b")
    ended = [(await shop.show(one)).summary.ended for one in (first, second)]
    with pytest.raises(PersonBanned):
        await shop.order()
    with pytest.raises(PersonBanned):
        await shop.do(purchases.trial, shop.person, TRIAL)
    again = await shop.do(people.ban, shop.person, token="b")
    await shop.do(people.unban, shop.person)
    late = await shop.do(people.ban, shop.person, token="b")

    assert (True, False, False) == (banned.changed, again.changed, late.changed)
    assert [EndedBy.PERSON] * 2 == ended
    assert [None, None] == [(await shop.show(one)).summary.ended for one in (first, second)]
    assert NL1 in await wakes_since(shop.store, int(before or 0) + 1)


async def test_a_subscription_that_a_banned_person_is_given_is_not_in_force(shop: Shop) -> None:
    await shop.do(people.ban, shop.person)

    given = await shop.do(subscriptions.create, MONTH, person=shop.person)

    assert EndedBy.PERSON == given.ended_by(shop.store.clock.now())


# -- payments --------------------------------------------------------------------------------------


@pytest.mark.promise("M1")
async def test_a_message_that_comes_again_credits_nothing_again(shop: Shop) -> None:
    ordered = await shop.order()

    told = [await shop.pay(ordered.purchase.id, "ch-1") for _ in range(3)]

    assert [True, False, False] == [one.changed for one in told]
    assert (1, 1) == (await count(shop, PaymentRow), len(await shop.keys()))


@pytest.mark.promise("M1")
@pytest.mark.parametrize("case", ["orphan", "wrong", "second", "banned"])
async def test_what_cannot_be_credited_is_a_debt_that_is_seen(shop: Shop, case: str) -> None:
    """No key, no silence: the payment stands in the list of debts with its reason."""
    ordered = await shop.order()
    debt = {
        "orphan": Debt.NO_PURCHASE, "wrong": Debt.WRONG_AMOUNT, "second": Debt.PAID_ALREADY,
        "banned": Debt.BANNED,
    }[case]  # fmt: skip
    if case == "second":
        await shop.pay(ordered.purchase.id)
    if case == "banned":
        await shop.do(people.ban, shop.person)
    before = len(await shop.keys())

    paid = await shop.pay(
        None if case == "orphan" else ordered.purchase.id,
        "odd",
        Money("RUB", 100) if case == "wrong" else PRICE,
    )

    async with shop.store.reading() as session:
        owed = await list_payments(session, state=PaymentState.DEBT)
    assert (PaymentState.DEBT, debt, before) == (
        paid.payment.state, paid.payment.debt, len(await shop.keys()),
    )  # fmt: skip
    assert [paid.payment] == [one.payment for one in owed]


async def test_a_debt_is_credited_when_what_hindered_it_is_gone(shop: Shop) -> None:
    ordered, other = await shop.order(), await shop.order()
    await shop.do(people.ban, shop.person)
    owed = await shop.pay(ordered.purchase.id, "a")
    orphan = await shop.pay(None, "b", PRICE)
    await shop.do(people.unban, shop.person)

    told_again = await shop.pay(ordered.purchase.id, "a")
    named = await shop.pay(other.purchase.id, "b")

    assert [Debt.BANNED, Debt.NO_PURCHASE] == [owed.payment.debt, orphan.payment.debt]
    assert [PaymentState.CREDITED] * 2 == [told_again.payment.state, named.payment.state]
    assert 2 == len(await shop.keys())


async def test_what_contradicts_a_recorded_charge_is_refused(shop: Shop) -> None:
    ordered, other = await shop.order(), await shop.order()
    await shop.pay(ordered.purchase.id, "a")

    for purchase, money in (
        (ordered.purchase.id, Money("RUB", 1)),
        (ordered.purchase.id, Money("XTR", 29900)),
        (other.purchase.id, PRICE),
    ):
        with pytest.raises(PaymentRejected):
            await shop.pay(purchase, "a", money)

    assert 1 == len(await shop.keys())


@pytest.mark.parametrize(
    ("provider", "charge", "money"),
    [
        ("yookassa", "a", Money("RUB", 0)), ("yookassa", "a", Money("RUB", -5)),
        ("yookassa", "a", Money("rub", 5)), ("YooKassa", "a", PRICE), ("yookassa", "", PRICE),
        ("yookassa", "a b", PRICE),
    ],
)  # fmt: skip
async def test_what_is_no_payment_is_refused(shop: Shop, provider, charge, money) -> None:
    with pytest.raises(InvalidValue):
        await shop.do(payments.record, Charge(provider, charge), money, None)


# -- refunds ---------------------------------------------------------------------------------------


async def test_a_refund_ends_what_it_bought_and_a_new_sale_brings_the_same_key_back(
    shop: Shop,
) -> None:
    sold, paid = await shop.buy()
    shop.pass_time(days=10)
    [key] = await shop.keys()

    asked = await shop.do(payments.refund, paid.payment.id, reason="asked", token="r")
    again = await shop.do(payments.refund, paid.payment.id, token="r")
    after = await shop.show(sold)
    shop.pass_time(days=1)
    await shop.buy(MONTH, sold)

    assert (PaymentState.REFUNDING, True, False) == (
        asked.payment.state, asked.changed, again.changed,
    )  # fmt: skip
    assert (EndedBy.EXPIRY, 0) == (after.summary.ended, after.summary.days_left)
    [back] = await shop.keys()
    detail = (await shop.show(sold)).summary
    assert (key.id, key.generation, None, 30, 200 * GIB) == (
        back.id, back.generation, detail.ended, detail.days_left, detail.bytes_left,
    )  # fmt: skip


async def test_a_refund_of_the_first_of_two_months_leaves_the_second(shop: Shop) -> None:
    sold, first = await shop.buy()
    shop.pass_time(days=10)
    await shop.buy(MONTH, sold)

    await shop.do(payments.refund, first.payment.id)

    detail = (await shop.show(sold)).summary
    assert (30, 200 * GIB) == (detail.days_left, detail.bytes_left)


async def test_of_two_months_given_back_one_after_the_other_only_unused_days_are_taken(
    shop: Shop,
) -> None:
    """What the second one gave begins earlier once the first is gone: days that were used stay used."""
    sold, first = await shop.buy()
    _, second = await shop.buy(subscription=sold)
    await shop.do(subscriptions.extend, sold, 30)
    shop.pass_time(days=10)
    await shop.do(payments.refund, first.payment.id)
    shop.pass_time(days=15)

    await shop.do(payments.refund, second.payment.id)

    assert 30 == (await shop.show(sold)).summary.days_left


async def test_a_refund_of_what_is_over_takes_nothing_from_what_came_after(shop: Shop) -> None:
    sold, first = await shop.buy()
    shop.pass_time(days=45)
    await shop.buy(MONTH, sold)

    await shop.do(payments.refund, first.payment.id)

    detail = (await shop.show(sold)).summary
    assert (30, 200 * GIB) == (detail.days_left, detail.bytes_left)


async def test_time_that_stood_still_is_taken_back_too(shop: Shop) -> None:
    sold, first = await shop.buy()
    shop.pass_time(days=10)
    await shop.do(subscriptions.freeze, sold)
    shop.pass_time(days=100)
    await shop.do(subscriptions.unfreeze, sold)

    await shop.do(payments.refund, first.payment.id)

    assert 0 == (await shop.show(sold)).summary.days_left


async def test_a_refunded_change_of_tariff_gives_the_old_one_back(shop: Shop) -> None:
    sold, _ = await shop.buy()
    shop.pass_time(days=10)
    _, changed = await shop.buy(YEAR, sold)
    shop.pass_time(days=5)

    await shop.do(payments.refund, changed.payment.id)

    detail = (await shop.show(sold)).summary
    assert (MONTH, 15, 200 * GIB, 3) == (
        detail.subscription.tariff, detail.days_left, detail.bytes_left,
        detail.subscription.devices,
    )  # fmt: skip


async def test_what_later_purchases_stand_on_is_not_taken_back_and_that_is_said(shop: Shop) -> None:
    sold, first = await shop.buy()
    await shop.buy(YEAR, sold)
    before = (await shop.show(sold)).summary.days_left

    await shop.do(payments.refund, first.payment.id)

    detail = await shop.show(sold)
    assert before == detail.summary.days_left
    assert ["", "something was bought since that stands on it"] == [
        one.keeps for one in detail.purchases
    ]


@pytest.mark.promise("M1")
async def test_a_refund_that_is_heard_of_before_the_payment_leaves_nothing_credited(
    shop: Shop,
) -> None:
    ordered = await shop.order()
    charge = Charge("yookassa", "late")
    await shop.do(payments.record_refund, charge, PRICE)

    paid = await shop.do(payments.record, charge, PRICE, ordered.purchase.id)

    assert (PaymentState.REFUNDED, []) == (paid.payment.state, await shop.keys())


async def test_a_part_that_is_given_back_takes_nothing_and_the_last_part_all(shop: Shop) -> None:
    sold, paid = await shop.buy()
    charge = Charge("yookassa", paid.payment.charge)

    part = await shop.do(payments.record_refund, charge, Money("RUB", 10000))
    left = (await shop.show(sold)).summary.days_left
    rest = await shop.do(payments.record_refund, charge, PRICE)
    late = await shop.do(payments.record_refund, charge, Money("RUB", 10000))

    assert [PaymentState.CREDITED, PaymentState.REFUNDED] == [p.payment.state for p in (part, rest)]
    assert (30, 0, False) == (left, (await shop.show(sold)).summary.days_left, late.changed)
    assert 29900 == late.payment.refunded_minor
    with pytest.raises(PaymentRejected, match="more was given back"):
        await shop.do(payments.record_refund, charge, Money("RUB", 29901))


async def test_what_is_not_there_is_said(shop: Shop) -> None:
    with pytest.raises(NotFound, match="no payment 99"):
        await shop.do(payments.refund, PaymentId(99))
    with pytest.raises(NotFound, match="no person 99"):
        await shop.do(people.ban, PersonId(99))
    with pytest.raises(NotFound, match="no person 99"):
        await shop.do(subscriptions.create, MONTH, person=99)
