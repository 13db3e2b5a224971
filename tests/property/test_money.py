"""Money: whatever providers tell, in any order, twice, late or never, each payment is credited once.

A machine over people, tariffs, orders and payments, on a real database, beside a ledger that knows only
what was told. What a shop owes anybody is a key or a debt that is seen, after every step.
"""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from desired_state.commands import payments, people, purchases, subscriptions
from desired_state.commands.errors import CommandError
from desired_state.commands.payments import Charge
from desired_state.model.ids import PersonId, PurchaseId, SubscriptionId, TariffName
from desired_state.model.payment import PaymentState
from desired_state.model.purchase import PurchaseState
from desired_state.model.quantities import Money
from desired_state.queries.check import find_disagreements
from desired_state.queries.disagreements import Kind
from desired_state.store.convert_shop import payment_from, purchase_from
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.unit_of_work import begin
from tests.integration.store.shop import MONTH, PRICE, TRIAL, YEAR, open_shop
from tests.stores import opened

TELEGRAM = st.sampled_from([7001, 7002])
AMOUNTS = st.sampled_from([PRICE, PRICE, PRICE, Money("RUB", 358_800), Money("RUB", 1)])
"""Mostly the price of a month: the price of a year and a coin too."""


class Shop(RuleBasedStateMachine):
    """The ledger: `told` charges with their sums, `orders`, `refunds`; everything else is asked."""

    orders: Bundle[PurchaseId] = Bundle("orders")
    messages: Bundle[tuple[str, Any]] = Bundle("messages")
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.numbers = iter(range(1_000))
        self.paid: dict[str, Money] = {}
        self.refunded: dict[str, int] = {}
        path = Path(self.folder.name) / "shop.db"
        shutil.copy(self.template, path)
        self.store = self.run(self.stack.enter_async_context(opened(f"sqlite:///{path}")))
        self.person = self.run(open_shop(self.store)).person

    def run(self, coroutine: Any) -> Any:
        """Run in the machine's own loop."""
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        """Close the database."""
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def do(self, command: Any, *words: Any, **options: Any) -> Any:
        """Run a command; None where it refused, which changes nothing."""

        async def run() -> Any:
            async with begin(self.store, "bot") as work:
                return await command(work, *words, **options)

        try:
            return self.run(run())
        except CommandError:
            return None

    # -- what people do ----------------------------------------------------------------------------

    @rule(
        target=orders,
        telegram=TELEGRAM,
        tariff=st.sampled_from([MONTH, YEAR]),
        of=st.integers(0, 5),
    )
    def order(self, telegram: int, tariff: TariffName, of: int) -> PurchaseId:
        """Order a new subscription, or more of one that they have."""
        met = self.do(people.meet, telegram)
        owned = self.owned(met.person.id)
        chosen = owned[of] if of < len(owned) else None
        ordered = self.do(
            purchases.sell, met.person.id, tariff, currency="RUB", subscription=chosen,
            token=f"order-{next(self.numbers)}",
        )  # fmt: skip
        return PurchaseId("unknown") if ordered is None else ordered.purchase.id

    @rule(telegram=TELEGRAM)
    def ask_for_a_trial(self, telegram: int) -> None:
        """A trial is given once, however often they ask."""
        met = self.do(people.meet, telegram)
        self.do(purchases.trial, met.person.id, TRIAL)

    @rule(telegram=TELEGRAM, banned=st.booleans())
    def ban(self, telegram: int, banned: bool) -> None:
        """Ban somebody, or take that back."""
        met = self.do(people.meet, telegram)
        self.do(people.ban if banned else people.unban, met.person.id)

    @rule(telegram=TELEGRAM, frozen=st.booleans())
    def freeze(self, telegram: int, frozen: bool) -> None:
        """Freeze what somebody has, or let it go on."""
        met = self.do(people.meet, telegram)
        for name in self.owned(met.person.id):
            self.do(subscriptions.freeze if frozen else subscriptions.unfreeze, name)

    @rule(days=st.integers(1, 50))
    def pass_time(self, days: int) -> None:
        """Let time pass."""
        self.store.clock.advance(days=days)

    # -- what providers tell -----------------------------------------------------------------------

    @rule(target=messages, purchase=orders, money=AMOUNTS)
    def pay(self, purchase: PurchaseId, money: Money) -> tuple[str, Any]:
        """Somebody pays: the provider has a message, which nobody has heard yet."""
        charge = f"charge-{next(self.numbers)}"
        return charge, (money, purchase)

    @rule(message=messages)
    def hear(self, message: tuple[str, Any]) -> None:
        """A message comes, for the first time or again."""
        charge, (money, purchase) = message
        if self.do(payments.record, Charge("yookassa", charge), money, purchase) is not None:
            self.paid[charge] = money

    @rule(message=consumes(messages))
    def lose(self, message: tuple[str, Any]) -> None:
        """A message is never heard, or never again."""

    @rule(message=messages, share=st.sampled_from([1, 2, 2]))
    def hear_of_a_refund(self, message: tuple[str, Any], share: int) -> None:
        """Half or all of a charge was given back, maybe before its payment is heard of."""
        charge, (money, _) = message
        back = max(1, money.amount_minor * share // 2)
        done = self.do(
            payments.record_refund, Charge("yookassa", charge), Money(money.currency, back)
        )
        if done is not None:
            self.refunded[charge] = max(back, self.refunded.get(charge, 0))

    @rule(number=st.integers(1, 6))
    def decide_a_refund(self, number: int) -> None:
        """An operator gives a payment back."""
        self.do(payments.refund, number)

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def each_payment_is_one_row_and_credits_at_most_one_purchase(self) -> None:
        """And each purchase is credited by at most one payment, of exactly its price."""
        known, bought = self.rows()
        credited = [one.credited for one in known if one.credited is not None]

        assert sorted({one.charge for one in known}) == sorted(one.charge for one in known)
        assert len(set(credited)) == len(credited)
        assert {*self.paid} | {*self.refunded} == {one.charge for one in known}
        for one in known:
            assert self.paid.get(one.charge) == one.paid
            assert self.refunded.get(one.charge, 0) == one.refunded_minor
            if one.credited is not None:
                assert bought[one.credited].price == one.paid

    @invariant()
    def what_is_paid_ends_in_a_key_or_in_a_debt_that_is_seen(self) -> None:
        """A credited purchase is fulfilled, its subscription has a key, and nothing else is."""
        known, bought = self.rows()
        credited = {one.credited for one in known if one.credited is not None}
        for purchase in bought.values():
            is_given = purchase.state is not PurchaseState.OPEN
            assert is_given == (purchase.is_free or purchase.id in credited)
        found = self.disagreements()
        owed = {one.subject for one in found if one.kind is Kind.PAYMENT_WITHOUT_CREDIT}
        assert owed == {f"payment/{p.id}" for p in known if p.state is PaymentState.DEBT}
        assert not {Kind.PAID_WITHOUT_KEY, Kind.FULFILLED_WITHOUT_PAYMENT, Kind.BAN_NOT_CARRIED} & {
            one.kind for one in found
        }

    @invariant()
    def nobody_has_two_trials_and_no_subscription_two_keys(self) -> None:
        """Whatever was asked for twice."""
        _, bought = self.rows()
        tried = [one.person for one in bought.values() if one.is_free]
        holders = self.run(self.keys())

        assert len(set(tried)) == len(tried)
        assert len(set(holders)) == len(holders)

    # -- asking ------------------------------------------------------------------------------------

    def rows(self) -> Any:
        """Every payment, and every purchase by its id."""

        async def read() -> Any:
            async with self.store.reading() as session:
                known = [payment_from(row) for row in await session.scalars(select(PaymentRow))]
                bought = [purchase_from(row) for row in await session.scalars(select(PurchaseRow))]
            return known, {one.id: one for one in bought}

        return self.run(read())

    def disagreements(self) -> Any:
        """What `check` says."""

        async def read() -> Any:
            async with self.store.reading() as session:
                return await find_disagreements(session, self.store.clock.now())

        return self.run(read())

    async def keys(self) -> list[str]:
        """Whose each wanted key is."""
        async with self.store.reading() as session:
            return list(
                await session.scalars(
                    select(KeyRow.subscription_id).where(KeyRow.deleted_at.is_(None))
                )
            )

    def owned(self, person: PersonId) -> list[SubscriptionId]:
        """What somebody bought, the first first."""
        _, bought = self.rows()
        mine = sorted(
            (one.created_at, one.id, one) for one in bought.values() if one.person == person
        )
        found = [one.subscription for _, _, one in mine if one.subscription is not None]
        return list(dict.fromkeys(found))


@pytest.mark.promise("M1")
def test_any_order_duplication_and_loss_of_messages_credits_each_payment_once(
    sqlite_template: Path,
) -> None:
    Shop.template = sqlite_template
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
