"""Tables of the shop: purchases, payments, devices, and the tokens of what callers asked for.

Callers: `commands` write, `queries` read, both through `store.convert_shop`. Not here: subscriptions and
keys (`tables.desired`), rules. Money is an integer in minor units beside its currency.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from desired_state.store.tables.desired import PersonRow, SubscriptionRow
from desired_state.store.tables.types import DESIRED, DesiredRow, Serial


class PurchaseRow(DesiredRow):
    """What a person ordered. `sold`: the tariff as it was when the price was told.

    `subscription_id` None: a new one that is not paid. `gave_s`, `gave_bytes`: seconds and bytes of quota
    that it added, None before; `gave_until`: the end of its seconds: of what is over by then, nothing is
    taken back. `before`: of a change of tariff, what the subscription was: {tariff, quota_bytes,
    devices}. `keeps`: why nothing was taken back though it was paid back. `revision`: of the order, then of
    what it gave: purchases of one subscription are in this order.
    """

    __tablename__ = "purchase"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    person_id: Mapped[int] = mapped_column(
        BigInteger(), ForeignKey(f"{DESIRED}.person.id"), index=True
    )
    tariff_name: Mapped[str] = mapped_column(ForeignKey(f"{DESIRED}.tariff.name"))
    sold: Mapped[dict[str, Any]]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    subscription_id: Mapped[str | None] = mapped_column(
        ForeignKey(f"{DESIRED}.subscription.id"), index=True
    )
    token: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    fulfilled_at: Mapped[datetime | None]
    gave_s: Mapped[int | None]
    gave_until: Mapped[datetime | None]
    gave_bytes: Mapped[int | None]
    before: Mapped[dict[str, Any] | None]
    taken_back_at: Mapped[datetime | None]
    keeps: Mapped[str] = mapped_column(default="")
    revision: Mapped[int]

    person: Mapped[PersonRow] = relationship(lazy="raise")
    subscription: Mapped[SubscriptionRow | None] = relationship(lazy="raise")


class PaymentRow(DesiredRow):
    """One charge of one provider, however often it is heard of.

    `amount_minor` None: only a refund of it was heard of. `purchase_id`: what it is meant for.
    `credited_id`: the purchase that it paid; unique, so that none is paid twice. `debt`: why it paid for
    nothing, "" otherwise. `refunded_minor`: given back in all, as the provider says.
    """

    __tablename__ = "payment"
    __table_args__ = (UniqueConstraint("provider", "charge"), {"schema": DESIRED})

    id: Mapped[Serial]
    provider: Mapped[str]
    charge: Mapped[str]
    purchase_id: Mapped[str | None] = mapped_column(
        ForeignKey(f"{DESIRED}.purchase.id"), index=True
    )
    credited_id: Mapped[str | None] = mapped_column(
        ForeignKey(f"{DESIRED}.purchase.id"), unique=True
    )
    amount_minor: Mapped[int | None]
    currency: Mapped[str] = mapped_column(default="")
    recorded_at: Mapped[datetime]
    credited_at: Mapped[datetime | None]
    debt: Mapped[str] = mapped_column(default="")
    refund_asked_at: Mapped[datetime | None]
    refund_reason: Mapped[str] = mapped_column(default="")
    refunded_minor: Mapped[int] = mapped_column(default=0)
    refunded_at: Mapped[datetime | None]
    revision: Mapped[int]

    purchase: Mapped[PurchaseRow | None] = relationship(foreign_keys=[purchase_id], lazy="raise")


class DeviceRow(DesiredRow):
    """A device that a subscription was fetched with. `id`: a digest of what it said of itself."""

    __tablename__ = "device"

    subscription_id: Mapped[str] = mapped_column(
        ForeignKey(f"{DESIRED}.subscription.id"), primary_key=True
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="")
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    revision: Mapped[int]


class CommandTokenRow(DesiredRow):
    """A caller's token and what was done under it: whatever comes again under it does nothing.

    `subject` reads `kind/name`.
    """

    __tablename__ = "command_token"

    token: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str]
    subject: Mapped[str]
    at: Mapped[datetime]
    revision: Mapped[int]
