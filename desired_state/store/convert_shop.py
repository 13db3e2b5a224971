"""Rows of the shop to values of the model; the only place that knows both shapes of them.

Callers: commands, queries. Not here: SQL, rows of keys and subscriptions (`store.convert`).
"""

from desired_state.model.device import Device
from desired_state.model.ids import (
    DeviceId,
    PaymentId,
    PersonId,
    PurchaseId,
    SubscriptionId,
    TariffName,
)
from desired_state.model.payment import Debt, Payment
from desired_state.model.person import Person
from desired_state.model.purchase import Purchase, PurchaseKind
from desired_state.model.quantities import Money
from desired_state.store.tables.desired import PersonRow
from desired_state.store.tables.shop import DeviceRow, PaymentRow, PurchaseRow


def person_from(row: PersonRow) -> Person:
    """A person, banned or not."""
    return Person(
        id=PersonId(row.id),
        telegram_id=row.telegram_id,
        language=row.language,
        created_at=row.created_at,
        banned_at=row.banned_at,
        ban_reason=row.ban_reason,
    )


def purchase_from(row: PurchaseRow) -> Purchase:
    """A purchase, paid or not."""
    return Purchase(
        id=PurchaseId(row.id),
        kind=PurchaseKind(row.kind),
        person=PersonId(row.person_id),
        tariff=TariffName(row.tariff_name),
        price=Money(row.currency, row.amount_minor),
        created_at=row.created_at,
        subscription=None if row.subscription_id is None else SubscriptionId(row.subscription_id),
        fulfilled_at=row.fulfilled_at,
        taken_back_at=row.taken_back_at,
        keeps=row.keeps,
    )


def payment_from(row: PaymentRow) -> Payment:
    """A payment, whatever became of it."""
    return Payment(
        id=PaymentId(row.id),
        provider=row.provider,
        charge=row.charge,
        recorded_at=row.recorded_at,
        paid=None if row.amount_minor is None else Money(row.currency, row.amount_minor),
        purchase=None if row.purchase_id is None else PurchaseId(row.purchase_id),
        credited=None if row.credited_id is None else PurchaseId(row.credited_id),
        credited_at=row.credited_at,
        debt=Debt(row.debt) if row.debt else None,
        refund_asked_at=row.refund_asked_at,
        refund_reason=row.refund_reason,
        refunded_minor=row.refunded_minor,
        refunded_at=row.refunded_at,
    )


def device_from(row: DeviceRow) -> Device:
    """A device."""
    return Device(DeviceId(row.id), row.title, row.first_seen_at, row.last_seen_at)
