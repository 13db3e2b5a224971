"""Keys that live on more nodes than they are owed leave the worst of them, in order.

So it is after a change to a tariff of fewer nodes, and at the end of every move that first creates. Called by
`place` after moves and drains, before keys are filled up. Not here: which nodes take a key (`rooms`).

    Who stays, best first:
    1. where nobody asked the key to leave: no move, no drain
    2. where its labels match
    3. where it is proved to live
    4. where it is served now
    5. the better rank of `score`

The rest is ended only while every one of those that stay is both proved live and able to serve: a key is
never taken off the one node that its customer can use.
"""

from collections.abc import Container, Iterable, Mapping

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.placement import DeleteReason
from desired_state.scheduling.balance import end_overlap
from desired_state.scheduling.draft import Draft
from desired_state.scheduling.eligible import can_serve
from desired_state.scheduling.proofs import Proofs
from desired_state.scheduling.result import Move
from desired_state.scheduling.score import Rank

Sources = Mapping[KeyId, Container[NodeName]]
_WORST = (True,) * 4


def sources_of(moves: Iterable[Move]) -> Sources:
    """Gather which nodes persons asked keys to leave."""
    found: dict[KeyId, set[NodeName]] = {}
    for move in moves:
        if move.from_node is not None:
            found.setdefault(move.key, set()).add(move.from_node)
    return found


def is_crowded(draft: Draft, key: Key) -> bool:
    """Tell whether a key lives on more nodes than it is owed."""
    count = key.nodes.count
    if key.pinned is not None or count is None or len(draft.own(key.id)) <= count:
        return False
    return len(draft.lives(key.id)) > count


def end_surplus(draft: Draft, keys: Iterable[Key], sources: Sources, proofs: Proofs) -> None:
    """End surplus placements, each key's once all that stay are live and can serve: until then any may."""
    for key in keys:
        if is_crowded(draft, key) and not end_overlap(draft, key, proofs):
            _thin_out(draft, key, sources.get(key.id, ()), proofs)


def _thin_out(draft: Draft, key: Key, left: Container[NodeName], proofs: Proofs) -> None:
    ordered = sorted(draft.lives(key.id), key=lambda name: _rank(draft, key, name, left, proofs))
    kept, surplus = ordered[: key.nodes.count], ordered[key.nodes.count :]
    if proofs.hold(key.id, kept):
        for name in surplus:
            draft.end(draft.own(key.id)[name], _reason(draft, name, left))
    elif not any(name in left for name in surplus):
        draft.waits = True


def _serves(draft: Draft, name: NodeName) -> bool:
    room = draft.rooms.by_name.get(name)
    return room is not None and can_serve(room.state, room.policy)


def _rank(
    draft: Draft, key: Key, name: NodeName, left: Container[NodeName], proofs: Proofs
) -> tuple[tuple[bool, ...], Rank | tuple[()], NodeName]:
    room = draft.rooms.by_name.get(name)
    if room is None:
        return _WORST, (), name
    node = room.state.node
    order = (
        name in left or node.is_draining,
        not key.nodes.matches(node.spec.labels),
        (key.id, name) not in proofs.live,
        not _serves(draft, name),
    )
    return order, room.scale.rank(room.keys), name


def _reason(draft: Draft, name: NodeName, left: Container[NodeName]) -> DeleteReason:
    room = draft.rooms.by_name.get(name)
    if room is not None and room.state.node.is_draining:
        return DeleteReason.DRAINED
    return DeleteReason.MOVED if name in left else DeleteReason.SURPLUS
