"""The journal of one node, for `ReadDesired`: rows of what may exist, and tombstones.

Plain tuples in, values of the model out, one statement for any number of rows. Callers: `reads`. Not here:
writing the journal (`records`).
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, and_, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.runtime.tables import JOURNAL, KEY
from desired_state.model.backups import TOMBSTONES_LEAST, tombstones_since
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName
from desired_state.model.node import NodeSpec
from desired_state.model.placement import DeleteReason
from desired_state.queries.backups import oldest_backup
from desired_state.store.forgotten import nodes_of_panel
from desired_state.store.journal_states import may_exist

_ROW = (
    JOURNAL.c.email, JOURNAL.c.key, JOURNAL.c.generation, cast(JOURNAL.c.inbound_ids, Text),
    JOURNAL.c.sub_id, JOURNAL.c.password_bytes, JOURNAL.c.state, JOURNAL.c.create_unknown_at,
    JOURNAL.c.delete_attempts, JOURNAL.c.delete_reason, JOURNAL.c.secrets_digest,
    JOURNAL.c.projection,
)  # fmt: skip


async def read_journal(connection: AsyncConnection, node: NodeName) -> tuple[JournalRow, ...]:
    """Read the rows of clients that may exist, by email."""
    query = (
        select(*_ROW)
        .where(JOURNAL.c.node == node, may_exist(JOURNAL.c.state))
        .order_by(JOURNAL.c.email)
    )
    ids = _InboundIds()
    rows = (await connection.execute(query)).all()
    return tuple([_journal_row(node, row, ids) for row in rows])


async def read_tombstones(
    connection: AsyncConnection, spec: NodeSpec, now: datetime
) -> tuple[tuple[JournalRow, ...], dict[KeyId, Generation]]:
    """Read tombstones, and the current generations of their keys.

    What was written off was never proved gone: it is known by every node that has the same panel.
    """
    node, names = spec.name, await nodes_of_panel(connection, spec)
    since = tombstones_since(now, TOMBSTONES_LEAST, await oldest_backup(connection))
    query = (
        select(*_ROW, KEY.c.generation.label("current"))
        .select_from(JOURNAL.outerjoin(KEY, KEY.c.id == JOURNAL.c.key))
        .where(
            or_(
                and_(
                    JOURNAL.c.node == node,
                    JOURNAL.c.state == JournalState.GONE.value,
                    JOURNAL.c.gone_at > since,
                ),
                and_(
                    JOURNAL.c.node.in_(names),
                    JOURNAL.c.state == JournalState.WRITTEN_OFF.value,
                ),
            )
        )
        # Its own tombstones last: of two of one email, they are the younger.
        .order_by(JOURNAL.c.email, JOURNAL.c.node == node)
    )
    rows = (await connection.execute(query)).all()
    generations = {KeyId(r[1]): Generation(r[12]) for r in rows if r[12] is not None}
    ids = _InboundIds()
    return tuple([_journal_row(node, row, ids) for row in rows]), generations


class _InboundIds(dict[str, tuple[InboundId, ...]]):
    """Lists of ids by their JSON: few differ, so each is parsed once a reading."""

    def __missing__(self, text: str) -> tuple[InboundId, ...]:
        ids = self[text] = tuple([InboundId(number) for number in json.loads(text)])
        return ids


def _journal_row(node: NodeName, row: Sequence[Any], ids: _InboundIds) -> JournalRow:
    return JournalRow(
        node,
        Email(row[0]),
        None if row[1] is None else KeyId(row[1]),
        Generation(row[2]),
        ids[row[3]],
        row[4],
        row[5],
        _STATES[row[6]],
        row[7],
        row[8],
        None if row[9] is None else DeleteReason(row[9]),
        row[10],
        row[11],
    )


_STATES = {state.value: state for state in JournalState}
