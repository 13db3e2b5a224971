"""Subscriptions as a list: whose they are, what is left of them, where their keys live.

Callers: entrances, `queries.subscription`, which shows one in full from the very same values. What cannot
be read raises; nothing here stands for "not known". Not here: credentials and links.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import PersonId, SubscriptionId, TariffName
from desired_state.model.person import Person
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.queries.keys import KeyFilter, KeySummary, list_keys, used_bytes
from desired_state.store.convert import subscription_from
from desired_state.store.convert_shop import person_from
from desired_state.store.tables.desired import PersonRow, SubscriptionRow

MOST = 1_000
_KEYS_MOST = 100_000
"""Keys of one answer: beyond what any thousand subscriptions have."""


@dataclass(frozen=True, slots=True)
class SubscriptionFilter:
    """Which subscriptions: every given field must fit. `in_force` None: whether or not they are."""

    person: PersonId | None = None
    tariff: TariffName | None = None
    in_force: bool | None = None
    limit: int = MOST


@dataclass(frozen=True, slots=True)
class SubscriptionSummary:
    """One line of the list.

    `days_left`: begun ones as whole, so that 0 says that no time is left; None: without end.
    `bytes_left`: None: without limit. `keys`: the wanted ones, each with where it lives and on how many
    nodes it is proved to. `since`: when it began.
    """

    subscription: Subscription
    person: Person | None
    ended: EndedBy | None
    days_left: int | None
    bytes_left: int | None
    keys: tuple[KeySummary, ...]
    since: datetime
    suspended_reason: str = ""

    @property
    def placed(self) -> int:
        """On how many nodes its keys are to live, each key counted for itself."""
        return sum(len(key.nodes) for key in self.keys)

    @property
    def live(self) -> int:
        """On how many of them they are proved to."""
        return sum(key.live for key in self.keys)


async def list_subscriptions(
    session: AsyncSession, now: datetime, chosen: SubscriptionFilter | None = None
) -> tuple[SubscriptionSummary, ...]:
    """Read subscriptions, the newest first.

    Args:
        session: any transaction.
        now: what is left of them then.
        chosen: which ones; None for all, up to the limit.

    Raises:
        StoreError: the database could not be read.
    """
    chosen = chosen or SubscriptionFilter()
    query = _choose(chosen, now).order_by(SubscriptionRow.created_at.desc(), SubscriptionRow.id)
    found: list[SubscriptionSummary] = []
    page = min(chosen.limit, MOST)
    for start in count(0, page):
        rows = [
            (row, person) for row, person in await session.execute(query.offset(start).limit(page))
        ]
        page_of = await _summarise(session, now, rows)
        # What was used decides, too, and that is a sum over nodes: no condition of the statement.
        found += [one for one in page_of if chosen.in_force in (None, one.ended is None)]
        if len(rows) < page or len(found) >= chosen.limit:
            break
    return tuple(found[: chosen.limit])


async def summarise(
    session: AsyncSession, now: datetime, subscription: SubscriptionId
) -> SubscriptionSummary | None:
    """Read one; None where there is none of that id.

    Raises:
        StoreError: the database could not be read.
    """
    query = _all().where(SubscriptionRow.id == subscription)
    rows = [(row, person) for row, person in await session.execute(query)]
    return next(iter(await _summarise(session, now, rows)), None)


async def _summarise(
    session: AsyncSession, now: datetime, rows: Sequence[tuple[SubscriptionRow, PersonRow | None]]
) -> tuple[SubscriptionSummary, ...]:
    names = [row.id for row, _ in rows]
    used = await used_bytes(session, names)
    keys = await _keys(session, now, names)
    found = []
    for row, owner in rows:
        subscription = subscription_from(row, used.get(row.id, 0))
        found.append(
            SubscriptionSummary(
                subscription=subscription,
                person=None if owner is None else person_from(owner),
                ended=subscription.ended_by(now),
                days_left=subscription.days_left(now),
                bytes_left=subscription.bytes_left(),
                keys=tuple(keys.get(row.id, ())),
                since=row.created_at,
                suspended_reason=row.suspended_reason,
            )
        )
    return tuple(found)


async def _keys(
    session: AsyncSession, now: datetime, names: list[str]
) -> dict[str, list[KeySummary]]:
    chosen = KeyFilter(
        subscriptions=tuple([SubscriptionId(name) for name in names]), wanted=True, limit=_KEYS_MOST
    )
    found: dict[str, list[KeySummary]] = {}
    for key in await list_keys(session, now, chosen):
        found.setdefault(key.subscription.id, []).append(key)
    return found


def _all() -> Select[SubscriptionRow, PersonRow]:
    return select(SubscriptionRow, PersonRow).outerjoin(
        PersonRow, PersonRow.id == SubscriptionRow.person_id
    )


def _choose(chosen: SubscriptionFilter, now: datetime) -> Select[SubscriptionRow, PersonRow]:
    query = _all()
    if chosen.person is not None:
        query = query.where(SubscriptionRow.person_id == chosen.person)
    if chosen.tariff is not None:
        query = query.where(SubscriptionRow.tariff_name == chosen.tariff)
    if chosen.in_force:
        query = query.where(
            and_(
                SubscriptionRow.suspended.is_(False),
                SubscriptionRow.banned.is_(False),
                or_(SubscriptionRow.valid_until.is_(None), SubscriptionRow.valid_until > now),
            )
        )
    return query
