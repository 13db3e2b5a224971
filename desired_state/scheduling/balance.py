"""One pass of rebalancing: which nodes and keys take part, and how many of the moves begin now.

Called by `place` at its end. A move begun is an ordinary one: another placement that replaces the old
one, or stands beside it until it is proved live. Not here: fair shares, which keys move (`rebalance`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import MoveOrder, Policy, Rebalance
from desired_state.model.tariff import Labels
from desired_state.scheduling.draft import Draft
from desired_state.scheduling.eligible import RefusedBy, refuse_node
from desired_state.scheduling.proofs import Proofs
from desired_state.scheduling.rebalance import Shift, find_shifts
from desired_state.scheduling.result import BalanceStep
from desired_state.scheduling.rooms import Room
from desired_state.scheduling.shares import Movable, fair_rooms, find_shares


@dataclass(frozen=True, slots=True)
class Wish:
    """A person's wish that nodes with these labels be evened out; `id` as it is stored."""

    id: int
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """What there is to even out.

    `wishes`: open ones, oldest first. `fleet_left`: how many keys may leave nodes of the fleet now; None:
    any number.
    """

    wishes: tuple[Wish, ...] = ()
    fleet_left: int | None = None


NOTHING = Balance()
_FROM = "rebalanced from "


def even_out(
    draft: Draft, keys: Mapping[KeyId, Key], policies: tuple[Policy, ...], balance: Balance
) -> None:
    """Begin the moves that wishes and policies ask for, as many as may begin now."""
    rooms = draft.rooms.by_name.values()
    scopes: list[tuple[int | None, list[Room]]] = [
        (wish.id, draft.rooms.covered(wish.labels)) for wish in balance.wishes
    ]
    wanting = [room for room in rooms if room.policy.rebalance is Rebalance.AUTOMATIC]
    if wanting:
        scopes.append((None, wanting))
    pace = _Pace(draft, balance.fleet_left)
    for wish, some in scopes:
        open_rooms = [room for room in some if _takes_part(room)]
        found = _find(draft, keys, policies, open_rooms)
        made = sum(pace.allows(shift) and _begin(draft, shift, pace) for shift in found)
        going = _going(draft, frozenset(room.name for room in some))
        draft.balanced.append(BalanceStep(wish, made, len(found) - made, going))
        draft.waits = draft.waits or bool(found) or bool(going)


def _going(draft: Draft, names: frozenset[NodeName]) -> int:
    """Count the moves of rebalances that are on their way to these nodes."""
    return sum(
        any(own[name].reason == reason_from(other) for other in own)
        for own in draft.several()
        for name in own.keys() & names
    )


def _overlaps(draft: Draft) -> Counter[NodeName]:
    """Count, by the node that they are to leave, keys whose new place is not proved to serve yet."""
    return Counter(
        source
        for own in draft.several()
        for source, old in own.items()
        if old.leaving is None and any(p.reason == reason_from(source) for p in own.values())
    )


class _Pace:
    """How many keys may begin to leave nodes now: what guards would let pass.

    `going`: keys that leave a node, or will once their new place serves. `_gone`: those of them that its
    room does not count any more.
    """

    def __init__(self, draft: Draft, fleet_left: int | None) -> None:
        self._draft = draft
        self._gone = draft.leaving_by(DeleteReason.MOVED)
        self.going = self._gone + _overlaps(draft)
        self._left = fleet_left
        self._touched: set[KeyId] = set()

    def allows(self, shift: Shift) -> bool:
        """Tell whether this move may begin; a key leaves one node at a time."""
        room = self._draft.rooms.by_name[shift.source]
        limit = max(1, int(room.policy.max_delete_share * (room.keys + self._gone[shift.source])))
        return (
            (self._left is None or self._left > 0)
            and self.going[shift.source] < limit
            and shift.key not in self._touched
        )

    def count(self, shift: Shift, *, stays: bool) -> None:
        """Note that a move was begun; `stays`: the old place counts until the new one serves."""
        self.going[shift.source] += 1
        self._gone[shift.source] += not stays
        self._touched.add(shift.key)
        if self._left is not None:
            self._left -= 1


def _takes_part(room: Room) -> bool:
    """Nodes that may give and take; those that are merely full, or overloaded, give."""
    refusal = room.refusal
    is_open = refusal is None or refusal.by is RefusedBy.OVERLOADED
    gives = room.state.node.mode is Mode.ENFORCE or room.policy.move_order is MoveOrder.CREATE_FIRST
    return is_open and gives and room.state.node.mode is not Mode.OBSERVE


def _find(
    draft: Draft, keys: Mapping[KeyId, Key], policies: tuple[Policy, ...], some: list[Room]
) -> tuple[Shift, ...]:
    names = frozenset(room.name for room in some)
    movable, tied = _movable(draft, keys, names)
    # A key on its way counts where it goes: else every pass before it arrives would move others too.
    going = _overlaps(draft)
    counts = {room.name: room.keys - going[room.name] for room in some}
    fixed = Counter(counts)
    fixed.subtract(Counter(one.node for one in movable))
    rooms = fair_rooms((room.state for room in some), policies, counts, fixed)
    shares = find_shares(rooms, movable, tied)
    closed = frozenset(r.name for r in some if refuse_node(r.state, r.policy, keys=0))
    homes = {key: frozenset(draft.own(key)) for key in tied}
    return find_shifts(rooms, shares, movable, counts, tied=homes, closed=closed)


def _movable(
    draft: Draft, keys: Mapping[KeyId, Key], names: frozenset[NodeName]
) -> tuple[list[Movable], dict[KeyId, frozenset[NodeName]]]:
    """Find placements that may move, and where keys with several placements stand besides."""
    movable: list[Movable] = []
    tied: dict[KeyId, frozenset[NodeName]] = {}
    for key_id in sorted(keys):
        key, own = keys[key_id], draft.own(key_id)
        if not key.is_wanted or key.pinned is not None or key.nodes.count is None:
            continue
        here = list(_resting(draft, key, own, names))
        movable += [Movable(key.id, name, key.nodes.labels, name) for name in here]
        if here and len(own) > 1:
            tied[key.id] = frozenset(own) - frozenset(here)
    return movable, tied


def _resting(
    draft: Draft, key: Key, own: Mapping[NodeName, Placement], names: frozenset[NodeName]
) -> Iterator[NodeName]:
    """Nodes of a key that is not on its way anywhere, and that its labels still choose."""
    if any(p.leaving is not None or p.replaces is not None for p in own.values()):
        return
    if len(own) != key.nodes.count:
        return
    for name in sorted(own):
        if name in names and key.nodes.matches(draft.rooms.by_name[name].state.node.spec.labels):
            yield name


def _begin(draft: Draft, shift: Shift, pace: _Pace) -> bool:
    room = draft.rooms.by_name[shift.source]
    create_first = room.policy.move_order is MoveOrder.CREATE_FIRST
    replaces = None if create_first else shift.source
    placement = Placement(shift.key, shift.target, reason_from(shift.source), replaces=replaces)
    if draft.try_place(placement) is not None:
        return False
    if not create_first:
        draft.end(draft.own(shift.key)[shift.source], DeleteReason.MOVED)
    pace.count(shift, stays=create_first)
    return True


def reason_from(source: NodeName) -> str:
    """Write what is recorded with the placement that a rebalance makes."""
    return f"{_FROM}{source}"


def is_overlap(placement: Placement) -> bool:
    """Tell whether a placement may stand beside the one that a create-first rebalance replaces."""
    return placement.replaces is None and placement.reason.startswith(_FROM)


def end_overlap(draft: Draft, key: Key, proofs: Proofs) -> bool:
    """End the old placement of a create-first rebalance once the new one is proved live.

    Returns:
        Whether the key has two placements for that.
    """
    lives = draft.lives(key.id)
    for name in lives:
        reason = draft.own(key.id)[name].reason
        source = next((other for other in lives if reason == reason_from(other)), None)
        if source is None:
            continue
        if proofs.hold(key.id, (name,)):
            draft.end(draft.own(key.id)[source], DeleteReason.MOVED)
        else:
            draft.waits = True
        return True
    return False
