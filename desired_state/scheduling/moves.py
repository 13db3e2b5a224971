"""A person's moves: a key leaves one node for another.

Called by `place` before keys are filled up. Delete-first: the new placement names the one it
replaces and waits until that is finalised. Create-first: both stand until the new one is proved live.
Not here: drain, failover, rebalance.
"""

from desired_state.model.ids import NodeName
from desired_state.model.key import Key
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder
from desired_state.scheduling.draft import Draft
from desired_state.scheduling.proofs import Proofs
from desired_state.scheduling.result import Move
from desired_state.scheduling.surplus import is_crowded


def order_of_moves(move: Move) -> tuple[int, str, str, str]:
    """Sort moves as they were asked for."""
    return (move.revision, move.key, move.from_node or "", move.to_node or "")


def make_move(draft: Draft, key: Key, move: Move, proofs: Proofs) -> None:
    """Make one move of a wanted key, refuse it with a reason, or see that it is done."""
    lives = draft.lives(key.id)
    if not lives:
        if move.to_node is not None:
            _go_to(draft, move, Placement(key.id, move.to_node, "placed by a person"))
        return
    source = move.from_node
    if source is None and move.to_node is not None and move.to_node not in lives:
        if len(lives) > 1:
            draft.refuse_move(move, "the key lives on several nodes: say which one it leaves")
            return
        source = lives[0]
    if source is None or source not in lives or source == move.to_node:
        return
    if move.to_node is None and is_crowded(draft, key):
        return  # It has more nodes than it is owed: this one is the first that goes.
    if _must_stay(draft, key, source):
        reason = f"the key is to live on every node, and {source} is one: cordon or drain the node"
        draft.refuse_move(move, reason)
    elif _order(draft, move, source) is MoveOrder.CREATE_FIRST:
        _create_first(draft, key, move, source, proofs)
    else:
        _delete_first(draft, key, move, source)


def _order(draft: Draft, move: Move, source: NodeName) -> MoveOrder:
    room = draft.rooms.by_name.get(source)
    if move.order is not None or room is None:
        return move.order or MoveOrder.DELETE_FIRST
    return room.policy.move_order


def _must_stay(draft: Draft, key: Key, source: NodeName) -> bool:
    if key.pinned is not None or key.nodes.count is not None:
        return False
    return any(room.name == source for room in draft.rooms.covered(key.nodes.labels))


def _delete_first(draft: Draft, key: Key, move: Move, source: NodeName) -> None:
    room = draft.rooms.by_name.get(source)
    present = draft.own(key.id)
    before = present[source].replaces
    if before is not None and before in present and present[before].leaving is not None:
        # Nothing exists on `source` yet, so waiting for it would not keep two nodes apart.
        reason = f"the key is still moving from {before} to {source}: wait until it is gone there"
        draft.refuse_move(move, reason)
    elif room is not None and room.state.node.mode is not Mode.ENFORCE:
        mode = room.state.node.mode
        reason = f"{source} is {mode} and deletes nothing: ask for create-first, or change its mode"
        draft.refuse_move(move, reason)
    elif _choose(draft, key, move, source, replaces=source):
        draft.end(draft.own(key.id)[source], DeleteReason.MOVED)


def _create_first(draft: Draft, key: Key, move: Move, source: NodeName, proofs: Proofs) -> None:
    others = [name for name in draft.lives(key.id) if name != source]
    target = move.to_node or key.pinned
    if target is not None:
        successors = [name for name in others if name == target]
    else:
        successors = others if len(others) >= (key.nodes.count or 1) else []
    if not successors:
        _choose(draft, key, move, source, replaces=None)
    elif proofs.hold(key.id, successors):
        draft.end(draft.own(key.id)[source], DeleteReason.MOVED)


def _choose(
    draft: Draft, key: Key, move: Move, source: NodeName, *, replaces: NodeName | None
) -> bool:
    reason = f"moved from {source}"
    target = move.to_node or key.pinned
    if target is not None:
        return _go_to(draft, move, Placement(key.id, target, reason, replaces=replaces))
    picked = draft.rooms.pick(key.nodes.labels, 1, without=draft.own(key.id))
    if not picked and key.nodes.count is None and len(draft.lives(key.id)) > 1:
        return True  # it is to live on every node that may take it, and does: nothing to replace
    if not picked:
        draft.refuse_move(move, draft.rooms.say_why_none(key.nodes.labels))
        return False
    draft.add(Placement(key.id, picked[0].name, reason, replaces=replaces))
    return True


def _go_to(draft: Draft, move: Move, placement: Placement) -> bool:
    refusal = draft.try_place(placement)
    if refusal is not None:
        draft.refuse_move(move, f"{placement.node} {refusal}")
    return refusal is None
