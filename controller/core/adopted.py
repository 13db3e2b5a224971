"""Which adopted clients the journal is to begin with: those that a look shows as they were adopted.

Step: first of drawing. Callers: draw. Not here: recording it (`takeover`), what is wanted (`expect`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.core.desired import Desired, KeyOnNode
from controller.core.effects import Taken
from controller.core.memo import index_tombstones
from controller.core.observed import ObservedClient
from controller.core.ownership import is_ours_by_row
from desired_state.model.adoption import AdoptedClient
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import InboundId, KeyId


def taken_over(
    desired: Desired,
    keys: Mapping[KeyId, KeyOnNode],
    rows: Mapping[str, JournalRow],
    seen: Mapping[str, Sequence[ObservedClient]],
) -> tuple[Taken, ...]:
    """Return adopted clients that are seen and that the journal does not hold yet.

    Under its email exactly one client must stand, with what was adopted: anything else is foreign. Also
    what is adopted and to go by now is taken up: otherwise nobody would ever delete it.
    """
    tombstones = index_tombstones(desired)
    taken = []
    for adopted in desired.adopted:
        email = adopted.email.lower()
        clients = seen.get(email, ())
        if email in rows or len(clients) != 1:
            continue
        row = replace(_row(adopted, desired), inbound_ids=_held(adopted, clients[0]))
        key, buried = keys.get(adopted.key), tombstones.get(email)
        if buried is not None and buried.key == adopted.key:
            row = replace(row, delete_reason=buried.delete_reason)
        elif key is None or (_is_present(adopted, key) and not key.placed and key.leaving is None):
            continue  # Nobody placed it here yet, or it has moved on.
        if is_ours_by_row(clients[0], row):
            client = clients[0]
            taken.append(Taken(row, client.up_bytes + client.down_bytes))
    return tuple(taken)


def _row(adopted: AdoptedClient, desired: Desired) -> JournalRow:
    return JournalRow(
        node=desired.node,
        email=adopted.email,
        key=adopted.key,
        generation=adopted.generation,
        inbound_ids=adopted.inbound_ids,
        sub_id=adopted.sub_id,
        state=JournalState.LIVE,
        secrets_digest=adopted.secrets_digest,
    )


def _held(adopted: AdoptedClient, client: ObservedClient) -> tuple[InboundId, ...]:
    held = tuple(i for i in adopted.inbound_ids if i in client.inbound_ids)
    return held or adopted.inbound_ids


def _is_present(adopted: AdoptedClient, key: KeyOnNode) -> bool:
    return adopted.generation == key.generation
