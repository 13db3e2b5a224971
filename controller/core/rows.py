"""Journal rows as a look proves them.

Callers: draw. Not here: when a look proves anything, recording.
"""

from dataclasses import replace

from controller.core.expect import Wanted
from controller.core.observed import ObservedClient
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, NodeName
from desired_state.model.ownership import EmailParts


def row_of_marked(
    node: NodeName, client: ObservedClient, parts: EmailParts, tombstone: JournalRow | None
) -> JournalRow:
    """Make the row of a client that carries our mark and has none, or had one that was finalised."""
    row = tombstone or JournalRow(
        node=node,
        email=Email(client.email),
        key=parts.key,
        generation=parts.generation,
        inbound_ids=client.inbound_ids,
        sub_id=client.sub_id,
    )
    return replace(row, state=JournalState.LIVE, projection="", delete_attempts=0)


def row_as_wanted(row: JournalRow, want: Wanted, client: ObservedClient) -> JournalRow:
    """Make the row of a client that is seen and as it should be."""
    ids = {*want.shape.inbound_ids, *(set(row.inbound_ids) & set(client.inbound_ids))}
    return replace(
        row,
        state=JournalState.LIVE,
        create_unknown_at=None,
        delete_attempts=0,
        delete_reason=None,
        inbound_ids=tuple(sorted(ids)),
        projection=want.projection,
    )
