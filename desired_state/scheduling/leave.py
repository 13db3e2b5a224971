"""Keys leave nodes that are drained, and nodes that have been out of reach for too long.

Called by `place` after persons' moves and before keys are filled up. A drain keeps the order of its
policy; a failover keeps none, by design: its keys are placed elsewhere at once, and what is left behind
is a debt of the node. Not here: rebalance, what a person asks of one key.

| the key is                | drained node                              | node given up           |
| ------------------------- | ----------------------------------------- | ----------------------- |
| `count: N`                | another node, then (or first) off this one | another node, off this one |
| `count: all`              | off this one, if another takes it         | stays: nothing to gain  |
| pinned to it              | stays, with the reason                    | stays, with the reason  |
| without a node to take it | stays, with the reason                    | stays, with the reason  |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder
from desired_state.scheduling.draft import Draft
from desired_state.scheduling.eligible import is_given_up
from desired_state.scheduling.proofs import Proofs
from desired_state.scheduling.rooms import Room


@dataclass(frozen=True, slots=True)
class _Leaving:
    """One key on one node that it is to leave. `lost`: the node is given up."""

    key: Key
    room: Room
    others: tuple[NodeName, ...]
    lost: bool

    @property
    def reason(self) -> DeleteReason:
        """Why its client here is to go."""
        return DeleteReason.FAILED_OVER if self.lost else DeleteReason.DRAINED

    @property
    def word(self) -> str:
        """What is recorded with its new placement."""
        verb = "failed over" if self.lost else "drained"
        return f"{verb} from {self.room.name}"

    @property
    def has_enough(self) -> bool:
        """Whether the key lives on as many other nodes as it is owed."""
        wanted = 1 if self.key.pinned is not None else self.key.nodes.count
        return bool(self.others) if wanted is None else len(self.others) >= wanted

    @property
    def order(self) -> MoveOrder:
        """What comes first; nothing is waited for on a node that is given up."""
        return MoveOrder.DELETE_FIRST if self.lost else self.room.policy.move_order


def leave_nodes(
    draft: Draft, keys: Mapping[KeyId, Key], proofs: Proofs, now: datetime | None
) -> frozenset[NodeName]:
    """Have keys leave nodes that are to be empty.

    Args:
        draft: what is decided so far.
        keys: all that are known; keys without a row are left alone.
        proofs: of where keys are served; a create-first drain waits for them.
        now: None gives no node up.

    Returns:
        Nodes that are given up.
    """
    rooms = draft.rooms.by_name
    lost = frozenset(
        room.name
        for room in rooms.values()
        if now is not None and is_given_up(room.state, room.policy, now)
    )
    left = lost | {room.name for room in rooms.values() if room.state.node.is_draining}
    if not left:
        return lost
    for name, key_id in draft.residents(left):
        key = keys.get(key_id)
        if key is not None and key.is_wanted:
            if name not in lost:
                draft.place_everywhere(key)
            others = tuple(other for other in draft.lives(key_id) if other != name)
            _leave(draft, _Leaving(key, rooms[name], others, name in lost), proofs)
    return lost


def _leave(draft: Draft, case: _Leaving, proofs: Proofs) -> None:
    key, name = case.key, case.room.name
    if case.lost and key.pinned is None and key.nodes.count is None:
        return
    hindrance = _hindrance(case)
    if hindrance:
        draft.say_stuck(key, name, hindrance)
    elif case.order is MoveOrder.CREATE_FIRST:
        _create_first(draft, case, proofs)
    elif case.has_enough or _place_elsewhere(draft, case, replaces=name):
        draft.end(draft.own(key.id)[name], case.reason)


def _hindrance(case: _Leaving) -> str:
    """Say what keeps a key here whatever other nodes have room; empty when nothing does."""
    key, room = case.key, case.room
    if key.pinned == room.name:
        return "the key is pinned to it: x3fleet keys move takes it elsewhere"
    if key.pinned is None and key.nodes.count is None and not case.others:
        return "the key lives nowhere else"
    mode = room.state.node.mode
    if case.order is MoveOrder.DELETE_FIRST and not case.lost and mode is not Mode.ENFORCE:
        return f"its mode {mode.value} forbids deletes: use create-first, or change the mode"
    return ""


def _create_first(draft: Draft, case: _Leaving, proofs: Proofs) -> None:
    if not case.has_enough:
        if _place_elsewhere(draft, case, replaces=None):
            draft.waits = True
    elif proofs.hold(case.key.id, case.others):
        draft.end(draft.own(case.key.id)[case.room.name], case.reason)
    else:
        draft.waits = True


def _place_elsewhere(draft: Draft, case: _Leaving, *, replaces: NodeName | None) -> bool:
    """Find another node for a key, or say that there is none."""
    key, own = case.key, draft.own(case.key.id)
    waits_for = own[case.room.name].replaces
    if waits_for is not None and waits_for in own and own[waits_for].leaving is not None:
        # Nothing exists here yet: what holds the key up is still the node before.
        replaces = waits_for
    if key.pinned is not None:
        refusal = draft.try_place(Placement(key.id, key.pinned, case.word, replaces=replaces))
        if refusal is not None:
            draft.say_stuck(key, case.room.name, f"{key.pinned} {refusal}")
        return refusal is None
    picked = draft.rooms.pick(key.nodes.labels, 1, without=own)
    if not picked:
        draft.say_stuck(key, case.room.name)
        return False
    draft.add(Placement(key.id, picked[0].name, case.word, replaces=replaces))
    return True
