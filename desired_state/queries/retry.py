"""When a node is tried again, and by which replica: in words, the same for nodes and for keys.

Pure but for the reading of leases. Callers: `queries.fleet`, `queries.key`, `queries.explain`, and
whoever renders them. Not here: the rule of the back-off (the controller's), what to do about a condition.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import NodeName
from desired_state.model.node import Mode
from desired_state.queries.views import ConditionView, find_condition
from desired_state.store.tables.status import NodeLeaseRow, ReplicaRow

_REPLICA, _LIVE = "replica", "live"
AFTER_A_PERSON = "after a person acts"
WITH_THE_NEXT = "at the next reconcile"


@dataclass(frozen=True, slots=True)
class Retry:
    """The stored back-off: failed looks in a row, and when the next one is due."""

    failures: int = 0
    next_look_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LeaseView:
    """Which of several replicas may write to a node; `holder` "": none holds it now."""

    holder: str = ""
    host: str = ""
    is_live: bool = False

    @property
    def hinders(self) -> bool:
        """Whether nobody works on the node until another replica takes it."""
        return not self.is_live

    def tell(self, node: NodeName) -> str:
        """Say who holds a node, in one clause."""
        if not self.holder:
            return f"no replica holds {node} now"
        name = f"replica {self.holder} on {self.host}"
        return f"{name} holds {node}" if self.is_live else f"{name} held {node} and died"


def tell_next_try(
    conditions: tuple[ConditionView, ...], mode: Mode, retry: Retry, now: datetime
) -> str:
    """Say when a node is looked at again: `in 3 min 10 s, after 4 failures`."""
    if mode in (Mode.PAUSED, Mode.OBSERVE):
        return AFTER_A_PERSON
    if retry.failures and retry.next_look_at is not None:
        left_s = int((retry.next_look_at - now).total_seconds())
        when = f"in {tell_duration(left_s)}" if left_s > 0 else "now"
        failures = "1 failure" if retry.failures == 1 else f"{retry.failures} failures"
        return f"{when}, after {failures}"
    if find_condition(conditions, "Stalled", "Blocked") is not None:
        return AFTER_A_PERSON
    return WITH_THE_NEXT


def tell_duration(seconds: int) -> str:
    """Write a duration in its two largest units: `3 min 10 s`, `2 h 5 min`, `40 s`."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        parts = (f"{hours} h", f"{minutes} min" if minutes else "")
    else:
        parts = (f"{minutes} min" if minutes else "", f"{left} s" if left or not minutes else "")
    return " ".join(part for part in parts if part)


async def read_leases(session: AsyncSession, now: datetime) -> dict[NodeName, LeaseView]:
    """Read who holds each node, where several replicas share a database; empty where one is alone.

    Args:
        session: any transaction.
        now: a lease that was not renewed by then is over, whoever has noticed.
    """
    replicas = {
        row.id: row
        for row in await session.scalars(select(ReplicaRow).where(ReplicaRow.kind == _REPLICA))
    }
    if not any(row.state == _LIVE for row in replicas.values()):
        return {}
    found: dict[NodeName, LeaseView] = {}
    for lease in await session.scalars(select(NodeLeaseRow)):
        row = replicas.get(lease.holder or "")
        if row is None:
            found[NodeName(lease.node)] = LeaseView()
            continue
        ends = row.expires_at
        is_live = row.state == _LIVE and (ends is None or ends >= now)
        found[NodeName(lease.node)] = LeaseView(row.id, row.host, is_live)
    return found
