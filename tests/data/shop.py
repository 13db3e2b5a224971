"""What the shop of the data sets does: somebody buys, pays, is paid back.

Each is commands alone. Callers: `datasets`. Not here: keys on nodes (`rows`).
"""

from itertools import count

from sqlalchemy import select

from desired_state.commands import payments, people, purchases
from desired_state.commands.keys import Issued
from desired_state.commands.payments import Charge
from desired_state.model.ids import PaymentId, PurchaseId, TariffName
from desired_state.model.quantities import Money
from desired_state.store.convert import key_from, subscription_from
from desired_state.store.engine import Store
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.unit_of_work import begin

PROVIDER = "yookassa"
PRICE = Money("RUB", 29900)
_ACCOUNTS = count(8001)


async def buy(store: Store, tariff: TariffName, *, charge: str = "charge") -> Issued:
    """Have a new person buy a tariff for roubles; gives what they got."""
    async with begin(store, "bot") as work:
        met = await people.meet(work, next(_ACCOUNTS))
        ordered = await purchases.sell(work, met.person.id, tariff, currency=PRICE.currency)
    await pay(store, ordered.purchase.id, charge)
    async with store.reading() as session:
        bought = await session.get_one(PurchaseRow, ordered.purchase.id)
        owner = await session.get_one(SubscriptionRow, bought.subscription_id)
        key = (
            await session.scalars(select(KeyRow).where(KeyRow.subscription_id == owner.id))
        ).one()
        return Issued(key_from(key), subscription_from(owner))


async def pay(store: Store, purchase: PurchaseId | None, charge: str) -> None:
    """Record a payment as the provider tells it."""
    async with begin(store, "bot") as work:
        await payments.record(work, Charge(PROVIDER, charge), PRICE, purchase)


async def refund(store: Store, charge: str, *, by_provider: bool = False) -> None:
    """Decide a refund; `by_provider`: and hear that it was made."""
    async with store.reading() as session:
        number = await session.scalar(select(PaymentRow.id).where(PaymentRow.charge == charge))
    assert number is not None
    async with begin(store, "admin:ann") as work:
        await payments.refund(work, PaymentId(number), reason="asked for")
    if by_provider:
        await refund_unknown(store, charge)


async def refund_unknown(store: Store, charge: str) -> None:
    """Hear of a refund of a charge, known or not."""
    async with begin(store, "bot") as work:
        await payments.record_refund(work, Charge(PROVIDER, charge), PRICE)


async def purchase_of(store: Store, issued: Issued) -> PurchaseId:
    """What a subscription was bought with."""
    async with store.reading() as session:
        found = await session.scalar(
            select(PurchaseRow.id).where(PurchaseRow.subscription_id == issued.subscription.id)
        )
    assert found is not None
    return PurchaseId(found)
