"""A shop to test with: nodes that are ready, tariffs with prices, and a person who buys.

Callers: the tests beside this file. Not here: expectations.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from desired_state.commands import payments, people, purchases
from desired_state.commands.payments import Charge, PaymentChange
from desired_state.commands.purchases import Ordered
from desired_state.model.ids import NodeName, PersonId, PurchaseId, SubscriptionId, TariffName
from desired_state.model.quantities import Money
from desired_state.queries.subscription import SubscriptionDetail, show_subscription
from desired_state.store.engine import Store
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.shop import PurchaseRow
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_selector, make_tariff
from tests.data.rows import apply, bind, set_status

MONTH, YEAR, TRIAL, GERMANY = map(TariffName, ("month-nl", "year", "trial", "month-de"))
NL1, NL2, DE1 = NodeName("nl-1"), NodeName("nl-2"), NodeName("de-1")
PRICE = Money("RUB", 29900)
PRICES = (PRICE, Money("XTR", 250))


@dataclass
class Shop:
    """A shop over a store; each call is a transaction of its own."""

    store: Store
    person: PersonId
    charges: list[str] = field(default_factory=list)

    async def do(self, command: Any, *words: Any, **options: Any) -> Any:
        """Run a command."""
        async with begin(self.store, "bot") as work:
            return await command(work, *words, **options)

    async def order(
        self, tariff: TariffName = MONTH, subscription: SubscriptionId | None = None, **options: Any
    ) -> Ordered:
        """Order a tariff for roubles."""
        options = {"currency": "RUB", "subscription": subscription} | options
        ordered: Ordered = await self.do(purchases.sell, self.person, tariff, **options)
        return ordered

    async def pay(
        self, purchase: PurchaseId | None, charge: str = "", money: Money | None = None
    ) -> PaymentChange:
        """Record a payment as a provider says it; a charge of its own unless one is named."""
        charge = charge or f"charge-{len(self.charges)}"
        self.charges.append(charge)
        if money is None:
            async with self.store.reading() as session:
                row = await purchases_row(session, purchase)
                money = Money(row.currency, row.amount_minor)
        change: PaymentChange = await self.do(
            payments.record, Charge("yookassa", charge), money, purchase
        )
        return change

    async def buy(
        self, tariff: TariffName = MONTH, subscription: SubscriptionId | None = None
    ) -> tuple[SubscriptionId, PaymentChange]:
        """Order and pay; gives the subscription."""
        ordered = await self.order(tariff, subscription)
        change = await self.pay(ordered.purchase.id)
        async with self.store.reading() as session:
            row = await purchases_row(session, ordered.purchase.id)
        assert row.subscription_id is not None
        return SubscriptionId(row.subscription_id), change

    async def show(self, subscription: SubscriptionId) -> SubscriptionDetail:
        """What the shared query says now."""
        async with self.store.reading() as session:
            found = await show_subscription(session, subscription, self.store.clock.now())
        assert found is not None
        return found

    async def keys(self) -> list[KeyRow]:
        """Every key there is."""
        async with self.store.reading() as session:
            return list(await session.scalars(select(KeyRow).order_by(KeyRow.id)))

    def pass_time(self, **parts: float) -> None:
        """Move the clock."""
        self.store.clock.advance(**parts)  # type: ignore[attr-defined]  # a frozen clock


async def purchases_row(session: Any, purchase: PurchaseId | None) -> Any:
    """The row of a purchase."""
    return await session.get_one(PurchaseRow, purchase)


async def open_shop(store: Store) -> Shop:
    """Declare nodes and tariffs, and meet a person."""
    await apply(
        store,
        make_bundle(
            make_node_spec("nl-1"), make_node_spec("nl-2"), make_node_spec("de-1"),
            make_tariff(prices=PRICES),
            make_tariff("year", days=360, traffic_bytes=None, devices=5,
                        prices=(Money("RUB", 358_800),)),
            make_tariff("month-de", nodes=make_selector(country="de"), prices=PRICES),
            make_tariff("month-fr", nodes=make_selector(country="fr"), prices=PRICES),
            make_tariff("trial", days=3, traffic_bytes=GIB, devices=1, prices=(), trial=True),
        ),
    )  # fmt: skip
    for node in (NL1, NL2, DE1):
        await set_status(store, node)
        await bind(store, node)
    async with begin(store, "bot") as work:
        met = await people.meet(work, 7001, language="ru")
    return Shop(store, met.person.id)
