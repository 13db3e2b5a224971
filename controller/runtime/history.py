"""A node's history: lines appended inside the transaction that records what they tell of.

A line that says the same again within the hour is folded into the one that stands: a node that flaps
leaves two lines with counts. Callers: `records`. Not here: names of events (`telemetry.events`), how
long history is kept (`jobs.retention`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core import effects as fx
from controller.core.result import Sent
from controller.runtime.tables import AT_ONCE, EVENT
from controller.telemetry import events
from desired_state.model.generation import JournalRow
from desired_state.model.ids import Epoch, NodeName

LINES_APART = 100
"""Lines of one record that are told one by one."""
FOLDED_FOR = timedelta(hours=1)
"""A repetition after this is news again."""
_TOLD_BY = {
    fx.Verdict.REJECTED: events.ACTION_REJECTED,
    fx.Verdict.UNKNOWN: events.ACTION_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line; "" where a field does not apply. `before`, `after`: what changed; see the table."""

    key: str = ""
    email: str = ""
    detail: str = ""
    before: str = ""
    after: str = ""
    outcome: str = ""


class EventLog:
    """Appends to the history of one node, inside a record's transaction.

    Args:
        connection: in that transaction.
        node: whose history.
        now: the moment of every line.
        cycle: the turn's id.
        epoch: under which the turn runs.

    `after_commit`: what is to be counted once all of it is stored.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        node: NodeName,
        now: datetime,
        cycle: str,
        epoch: Epoch,
    ) -> None:
        self._connection = connection
        self._node = node
        self._now = now
        self.after_commit: list[Callable[[], None]] = []
        self._common = {"node": node, "at": now, "last_at": now, "cycle_id": cycle, "epoch": epoch}

    def count(self) -> None:
        """Count what was stored; called once the transaction is committed."""
        for count in self.after_commit:
            count()

    async def append(self, name: str, lines: Sequence[Line]) -> None:
        """Append lines, or one that counts where there are many.

        What became of each is in its journal row; a thousand lines that say the same tell no more.
        """
        if len(lines) > LINES_APART:
            lines = [Line(detail=f"{len(lines)} clients")]
        if not lines:
            return
        known = await self._standing(lines)
        folded = [
            {"row": known[_identity(name, line)], "detail": line.detail}
            for line in lines
            if _identity(name, line) in known
        ]
        if folded:
            await self._connection.execute(
                update(EVENT)
                .where(EVENT.c.id == bindparam("row"))
                .values(times=EVENT.c.times + 1, last_at=self._now, detail=bindparam("detail")),
                folded,
            )
        new = [line for line in lines if _identity(name, line) not in known]
        if new:
            await self._connection.execute(
                EVENT.insert(),
                [
                    {
                        **self._common, "name": name, "key": line.key, "email": line.email,
                        "detail": line.detail, "before": line.before, "after": line.after,
                        "outcome": line.outcome,
                    }
                    for line in new
                ],
            )  # fmt: skip

    async def _standing(self, lines: Sequence[Line]) -> dict[tuple[str, ...], int]:
        """Lines of the last hour that may be folded into, by what they say.

        Of an email only its newest line: in a client's history the order matters. Of the node itself
        any: a condition that comes and goes alternates by nature.
        """
        emails = sorted({line.email for line in lines})
        newest: dict[str, tuple[tuple[str, ...], int]] = {}
        own: dict[tuple[str, ...], int] = {}
        for start in range(0, len(emails), AT_ONCE):
            query = (
                select(
                    EVENT.c.id, EVENT.c.name, EVENT.c.key, EVENT.c.email, EVENT.c.detail,
                    EVENT.c.before, EVENT.c.after, EVENT.c.outcome,
                )
                .where(
                    EVENT.c.node == self._node,
                    EVENT.c.email.in_(emails[start : start + AT_ONCE]),
                    EVENT.c.last_at > self._now - FOLDED_FOR,
                )
                .order_by(EVENT.c.last_at, EVENT.c.id)
            )  # fmt: skip
            for number, told, *parts in await self._connection.execute(query):
                line = Line(*parts)
                newest[line.email] = _identity(told, line), number
                if not line.email:
                    own[_identity(told, line)] = number
        return own | {said: number for email, (said, number) in newest.items() if email}

    async def name_plan(self, plan_digest: str, since: datetime) -> None:
        """Write the plan into the lines of this turn, which began at `since`."""
        if not plan_digest:
            return
        await self._connection.execute(
            update(EVENT)
            .where(
                EVENT.c.node == self._node,
                EVENT.c.at >= since,
                EVENT.c.cycle_id == self._common["cycle_id"],
            )
            .values(plan_digest=plan_digest)
        )

    async def append_sent(self, sent: Iterable[Sent]) -> None:
        """Tell of calls that were refused, and of those that nobody knows the end of."""
        clients: Counter[tuple[fx.Verdict, fx.Verb, str]] = Counter()
        for one in sent:
            if one.outcome.verdict in _TOLD_BY:
                clients[one.outcome.verdict, one.verb, one.outcome.cause] += one.members
        for (verdict, verb, cause), members in clients.items():
            whom = "Xray" if verb is fx.Verb.RESTART else f"{members} clients"
            detail = f"{verb.value} of {whom}: {cause}"
            line = Line(detail=detail, after=verb.value, outcome=verdict.value)
            await self.append(_TOLD_BY[verdict], [line])


def journal_lines(rows: Iterable[JournalRow], *, before: str = "", after: str = "") -> list[Line]:
    """One line a journal row, with the states that it went from and to."""
    return [Line(row.key or "", row.email, before=before, after=after) for row in rows]


def gone_lines(rows: Iterable[JournalRow]) -> list[Line]:
    """One line for each row that was finalised: why, and from which state."""
    return [
        Line(
            row.key or "",
            row.email,
            detail="" if row.delete_reason is None else row.delete_reason.value,
            before=row.state.value,
            after="gone",
            outcome=fx.Verdict.APPLIED.value,
        )
        for row in rows
    ]


def core_line(event: fx.Event) -> Line:
    """The line of what the core tells: of a condition, what came or went."""
    condition = event.detail.partition(":")[0]
    came = condition if event.name == events.CONDITION_CAME else ""
    went = condition if event.name == events.CONDITION_WENT else ""
    return Line(email=event.email, detail=event.detail, before=went, after=came)


def _identity(name: str, line: Line) -> tuple[str, ...]:
    """What makes two lines the same; where the message may hold a number, it is left out."""
    key, email, detail, *rest = astuple(line)
    return (name, key, email, "" if line.before or line.after else detail, *rest)
