"""Everything in which the shop, desired keys and panels contradict each other, found in one snapshot.

What a controller is about to do counts too: it is a disagreement until a look has proved that it is none.
Panels are not asked: what is said of them is what the last look recorded. Callers: `x3fleet check`, later
the admin. Not here: who wins (`queries.disagreements`).
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.queries.check_keys import check_keys
from desired_state.queries.check_panels import check_panels
from desired_state.queries.check_shop import check_shop
from desired_state.queries.disagreements import Disagreement, Kind

_ORDER = {kind: number for number, kind in enumerate(Kind)}


async def find_disagreements(session: AsyncSession, now: datetime) -> tuple[Disagreement, ...]:
    """Find every disagreement, sorted by kind and subject.

    Args:
        session: any transaction.
        now: decides what is in force.

    Raises:
        StoreError: the database could not be read.
    """
    found = [
        *await check_shop(session, now),
        *await check_keys(session, now),
        *await check_panels(session),
    ]
    return tuple(sorted(found, key=lambda one: (_ORDER[one.kind], one.subject)))
