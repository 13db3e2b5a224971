"""What a look showed of rows that were stored otherwise: born, risen, switched off or on.

Callers: `records`, inside its transaction, before the rows are stored. Not here: storing them, what is to be
done (`controller.core`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.core.expect import is_on
from controller.runtime.history import EventLog, journal_lines
from controller.runtime.tables import AT_ONCE, JOURNAL
from controller.telemetry import events
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, NodeName


@dataclass(frozen=True, slots=True)
class Sightings:
    """Rows that a look showed to be another thing than what is stored.

    `born`: live for the first time. `risen`: what was gone, or never journalled. `off`, `on`: proved to be
    switched off or on, where the opposite was proved before.
    """

    born: list[JournalRow]
    risen: list[JournalRow]
    off: list[JournalRow]
    on: list[JournalRow]

    async def tell(self, log: EventLog) -> None:
        """Add them to the history."""
        for name, rows, before, after in (
            (events.GENERATION_LIVE, self.born, "intended", "live"),
            (events.GENERATION_RESURRECTED, self.risen, "gone", "live"),
            (events.GENERATION_SWITCHED_OFF, self.off, "on", "off"),
            (events.GENERATION_SWITCHED_ON, self.on, "off", "on"),
        ):
            await log.append(name, journal_lines(rows, before=before, after=after))


async def compare(
    connection: AsyncConnection, node: NodeName, rows: Sequence[JournalRow]
) -> Sightings:
    """Compare rows that a look proved with what is stored of them."""
    live = [row for row in rows if row.state is JournalState.LIVE]
    stored = await _stored(connection, node, live)
    gone = JournalState.GONE.value, ""
    states = {row.email: stored.get(row.email, gone) for row in live}
    # What was doubted, or never proved, was neither on nor off.
    turned = [
        row
        for row in live
        if row.projection
        and states[row.email][1]
        and is_on(row.projection) != is_on(states[row.email][1])
    ]
    return Sightings(
        born=[row for row in live if states[row.email][0] == JournalState.INTENDED.value],
        risen=[row for row in live if states[row.email][0] == JournalState.GONE.value],
        off=[row for row in turned if not is_on(row.projection)],
        on=[row for row in turned if is_on(row.projection)],
    )


async def _stored(
    connection: AsyncConnection, node: NodeName, rows: Sequence[JournalRow]
) -> dict[Email, tuple[str, str]]:
    """State and projection of these rows as stored; a row that is not stored is missing."""
    emails = [row.email for row in rows]
    found: dict[Email, tuple[str, str]] = {}
    for start in range(0, len(emails), AT_ONCE):
        query = select(JOURNAL.c.email, JOURNAL.c.state, JOURNAL.c.projection).where(
            JOURNAL.c.node == node, JOURNAL.c.email.in_(emails[start : start + AT_ONCE])
        )
        found |= {Email(row[0]): (row[1], row[2]) for row in await connection.execute(query)}
    return found
