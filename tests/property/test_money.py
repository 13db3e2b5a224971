"""Money: whatever providers tell, in any order, twice, late or never, each payment is credited once.

A machine over people, tariffs, orders and payments, on a real database, beside a ledger that knows only
what was told. What a shop owes anybody is a key or a debt that is seen, after every step.
"""

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
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

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
TELEGRAM = st.sampled_from([7001, 7002])


@dataclass(frozen=True)
class Message:
    """What a provider has to tell of one charge."""

    charge: str
    money: Money
    purchase: PurchaseId


class Shop(RuleBasedStateMachine):
    """The ledger holds what was told: sums paid and given back by charge, and what each credited first."""

    orders: Bundle[PurchaseId] = Bundle("orders")
    messages: Bundle[Message] = Bundle("messages")
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.numbers = iter(range(1_000))
        self.paid: dict[str, Money] = {}
        self.refunded: dict[str, int] = {}
        self.credited: dict[str, PurchaseId] = {}
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

    @rule(
        telegram=TELEGRAM,
        what=st.sampled_from(["trial", "ban", "unban", "freeze", "unfreeze", "wait"]),
        days=st.integers(1, 50),
    )
    def live(self, telegram: int, what: str, days: int) -> None:
        """Ask for a trial, be banned, freeze what one has; or time passes."""
        person = self.do(people.meet, telegram).person.id
        if what == "wait":
            self.store.clock.advance(days=days)
        elif what == "trial":
            self.do(purchases.trial, person, TRIAL)
        elif what in ("ban", "unban"):
            self.do(people.ban if what == "ban" else people.unban, person)
        else:
            for name in self.owned(person):
                self.do(subscriptions.freeze if what == "freeze" else subscriptions.unfreeze, name)

    # -- what providers tell -----------------------------------------------------------------------

    @rule(
        target=messages,
        purchase=orders,
        sums=st.sampled_from([None, None, None, Money("RUB", 1), Money("XTR", 29900)]),
        heard=st.integers(0, 2),
        refunded=st.sampled_from([False, False, True]),
    )
    def pay(self, purchase: PurchaseId, sums: Money | None, heard: int, refunded: bool) -> Message:
        """Somebody pays, mostly the price: the message is heard twice, once, later or never.

        Of some, it is heard first that all of it was given back.
        """
        _, bought = self.rows()
        price = bought[purchase].price if purchase in bought else PRICE
        message = Message(f"charge-{next(self.numbers)}", sums or price, purchase)
        if refunded:
            self.give_back(message, message.money.amount_minor)
        for _ in range(heard):
            self.hear(message)
        return message

    @rule(message=messages)
    def hear_later(self, message: Message) -> None:
        """A message comes, for the first time or again."""
        self.hear(message)

    @rule(message=consumes(messages))
    def lose(self, message: Message) -> None:
        """A message is never heard, or never again."""

    @rule(message=messages, all_of_it=st.booleans())
    def hear_of_a_refund(self, message: Message, all_of_it: bool) -> None:
        """Half or all of a charge was given back, maybe before its payment is heard of."""
        whole = message.money.amount_minor
        self.give_back(message, whole if all_of_it else max(1, whole // 2))

    @rule(number=st.integers(1, 6))
    def decide_a_refund(self, number: int) -> None:
        """An operator gives a payment back."""
        self.do(payments.refund, number)

    def give_back(self, message: Message, back: int) -> None:
        """Record what a provider gave back of a charge, in all so far."""
        charge = Charge("yookassa", message.charge)
        if self.do(payments.record_refund, charge, Money(message.money.currency, back)):
            self.refunded[message.charge] = max(back, self.refunded.get(message.charge, 0))

    def hear(self, message: Message) -> None:
        """Record what a provider tells."""
        charge = Charge("yookassa", message.charge)
        gone = self.refunded.get(message.charge, 0) >= message.money.amount_minor
        if self.do(payments.record, charge, message.money, message.purchase) is None:
            return
        self.paid[message.charge] = message.money
        [known] = [one for one in self.rows()[0] if one.charge == message.charge]
        if gone and message.charge not in self.credited:
            assert known.credited is None
        if known.credited is not None:
            self.credited.setdefault(message.charge, known.credited)

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def each_payment_is_one_row_and_credits_at_most_one_purchase(self) -> None:
        """And each purchase is credited by at most one payment, of exactly its price."""
        known, bought = self.rows()
        credited = [one.credited for one in known if one.credited is not None]

        assert sorted({one.charge for one in known}) == sorted(one.charge for one in known)
        assert len(set(credited)) == len(credited)
        assert self.credited == {
            one.charge: one.credited for one in known if one.credited is not None
        }
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


@pytest.mark.long
@pytest.mark.promise("M1")
def test_any_order_duplication_and_loss_of_messages_credits_each_payment_once(
    sqlite_template: Path,
) -> None:
    Shop.template = sqlite_template
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=200 if DEEP else 10,
            stateful_step_count=25,
            deadline=None,
            # Each step is a few transactions: to find the shortest story takes longer than a test may.
            phases=tuple(Phase) if DEEP else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
