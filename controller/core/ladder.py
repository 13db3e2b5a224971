"""The ladder of a delete: bulk, single, without its name, with its credential restored, switched off.

How often a panel refused to delete a client decides how the next try is made; the count stands in the
journal. Callers: slices. Not here: what a refusal is, and the proof that a client is gone.
"""

from collections.abc import Iterable
from dataclasses import replace

from controller.core.compose import (
    RESTORE_RUNG,
    Seeds,
    compose_record,
    cut_writes,
    lacks_seed,
    restore,
)
from controller.core.effects import ClientRecord, Outcome, Verb, Write
from controller.core.observed import Observation, ObservedClient
from controller.core.plan import Action
from controller.core.turn import Turn

UNNAME_RUNG = 1
"""From this failed delete on clients go singly, and one that no traffic row counts without its name."""
DISABLE_RUNG = 3
"""From this one on a client that is on is switched off: it serves nobody while it stays a debt."""


def delete_writes(turn: Turn, piece: tuple[Action, ...], seeds: Seeds) -> Iterable[Write]:
    """Cut deletes into calls, each on the rung that its client stands on."""
    features = turn.look.features
    together: list[tuple[ClientRecord, int]] = []
    alone: list[tuple[Verb, ClientRecord]] = []
    for action in piece:
        rung = action.row.delete_attempts if action.row is not None else 0
        record = compose_record(action, turn.desired, seeds, turn.look.inbounds)
        if rung < UNNAME_RUNG:
            together.append((record, turn.width))
            continue
        if _needs_no_name(record, action, turn.look):
            alone += _unnamed(record, action)
            continue
        if rung == RESTORE_RUNG and action.current is not None and not lacks_seed(action, seeds):
            restored = compose_record(restore(action), turn.desired, seeds, turn.look.inbounds)
            alone.append((Verb.UPDATE, restored))
        if rung >= DISABLE_RUNG and action.current is not None and action.current.enable:
            alone.append((Verb.DISABLE, record))
        else:
            alone.append((Verb.DELETE, record))
    yield from cut_writes(turn.target, Verb.DELETE, together, features)
    for verb, record in alone:
        yield from cut_writes(turn.target, verb, [(record, 1)], features)


def _needs_no_name(record: ClientRecord, action: Action, look: Observation) -> bool:
    """Whether a client can only be deleted without its name, or lost it before and is still there.

    A shadowsocks client has no other key than its email, so this is no way for it.
    """
    # QUIRK(row-lost-in-delete, 3x-ui 2.3.15 to 3.0.2): a delete takes the client's traffic row
    # first, in a statement of its own. Where the rest fails (a locked database, an Xray that was never
    # started) the client stays without a row, serves on, and every further delete of it is refused.
    # Only of an entry whose email is empty these panels ask for no row.
    if not look.features.email_per_inbound or record.protocol == "shadowsocks":
        return False
    if action.current is not None:
        return not action.current.traffic_row
    return any(not c.email and c.inbound_ids == record.inbound_ids for c in look.clients)


def left_unnamed(tried: Iterable[tuple[Write, Outcome]], look: Observation) -> frozenset[str]:
    """Return those that lost their name and are still there: no look shows their email any more.

    Others than those that this turn took a name from, too: the look before may have hidden them.
    """
    nameless = [client for client in look.clients if not client.email]
    return frozenset(
        member.email.lower()
        for write, _ in tried
        for member in write.members
        if any(_is_same(member, client) for client in nameless)
    )


def _is_same(member: ClientRecord, client: ObservedClient) -> bool:
    held = {client.uuid, client.password, client.auth} - {""}
    known = {member.uuid, member.password, member.auth}
    return client.inbound_ids == member.inbound_ids and not held.isdisjoint(known)


def _unnamed(record: ClientRecord, action: Action) -> Iterable[tuple[Verb, ClientRecord]]:
    """Switch a client off and take its name, then delete it by its credential.

    Should only the first of both be done, what is left serves nobody, and the next turn finds it by the
    credential in our journal.
    """
    seen = action.current
    if seen is None:
        return [(Verb.DELETE, replace(record, unnamed=True))]
    unnamed = replace(
        record, uuid=seen.uuid, password=seen.password, auth=seen.auth, enable=False, unnamed=True
    )
    return [(Verb.UPDATE, unnamed), (Verb.DELETE, unnamed)]
