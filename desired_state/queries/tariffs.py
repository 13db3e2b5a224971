"""Tariffs: what is sold, and what is withdrawn.

Callers: entrances. Not here: prices in words, orders.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.tariff import Tariff
from desired_state.store.convert import tariff_from
from desired_state.store.tables.desired import SubscriptionRow, TariffRow


@dataclass(frozen=True, slots=True)
class TariffView:
    """A tariff; `subscriptions`: how many there are of it. `withdrawn`: not sold any more."""

    tariff: Tariff
    withdrawn: bool
    subscriptions: int


async def list_tariffs(session: AsyncSession) -> tuple[TariffView, ...]:
    """Read every tariff, sorted by name."""
    counted = (
        select(SubscriptionRow.tariff_name, func.count().label("subscriptions"))
        .group_by(SubscriptionRow.tariff_name)
        .subquery()
    )
    query = (
        select(TariffRow, counted.c.subscriptions)
        .outerjoin(counted, counted.c.tariff_name == TariffRow.name)
        .order_by(TariffRow.name)
    )
    return tuple(
        [
            TariffView(tariff_from(row), row.withdrawn, int(count or 0))
            for row, count in await session.execute(query)
        ]
    )
