"""People: who they are, what they hold, whether they are banned.

Callers: entrances. Not here: what is left of a subscription (`queries.subscription`), messages.
"""

from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import PersonId
from desired_state.model.person import Person
from desired_state.store.convert_shop import person_from
from desired_state.store.tables.desired import PersonRow, SubscriptionRow

MOST = 1_000


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person; `subscriptions`: how many they ever had."""

    person: Person
    subscriptions: int


async def list_people(
    session: AsyncSession, *, banned: bool | None = None, limit: int = MOST
) -> tuple[PersonView, ...]:
    """Read people, the newest first.

    Args:
        session: any transaction.
        banned: only those who are, or are not; None: everybody.
        limit: how many at most.
    """
    query = _counted().order_by(PersonRow.id.desc()).limit(limit)
    if banned is not None:
        query = query.where(
            PersonRow.banned_at.is_not(None) if banned else PersonRow.banned_at.is_(None)
        )
    return tuple([_view(row, count) for row, count in await session.execute(query)])


async def show_person(
    session: AsyncSession, *, person: PersonId | None = None, telegram_id: int | None = None
) -> PersonView | None:
    """Read one person, by their id or by the number of their account; None where there is none."""
    wanted = PersonRow.id == person if person is not None else PersonRow.telegram_id == telegram_id
    found = (await session.execute(_counted().where(wanted))).first()
    return None if found is None else _view(found[0], found[1])


def _counted() -> Select[PersonRow, int]:
    owned = (
        select(func.count())
        .select_from(SubscriptionRow)
        .where(SubscriptionRow.person_id == PersonRow.id)
        .scalar_subquery()
    )
    return select(PersonRow, owned)


def _view(row: PersonRow, subscriptions: int) -> PersonView:
    return PersonView(person_from(row), int(subscriptions))
