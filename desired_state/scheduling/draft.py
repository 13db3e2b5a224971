"""One call of `place_keys` while it decides: present placements, and what is added and ended so far.

Used by `place` and `moves` within one call. Not here: which node is right.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.key import Key
from desired_state.model.placement import DeleteReason, Placement
from desired_state.scheduling.eligible import render_labels
from desired_state.scheduling.result import (
    BalanceStep,
    Move,
    PlacementResult,
    RefusedMove,
    Stuck,
    Unschedulable,
)
from desired_state.scheduling.rooms import Rooms

_NONE: Mapping[NodeName, Placement] = {}


class Draft:
    """What is decided so far. Every method keeps placements and the counts of rooms in step."""

    def __init__(self, rooms: Rooms, placements: Iterable[Placement]) -> None:
        self.rooms = rooms
        self._own: dict[KeyId, dict[NodeName, Placement]] = {}
        for placement in placements:
            self._own.setdefault(placement.key, {})[placement.node] = placement
        self._added: dict[tuple[KeyId, NodeName], Placement] = {}
        self._ended: list[Placement] = []
        self._refused: list[RefusedMove] = []
        self._short: list[tuple[Key, int, str]] = []
        self._freed: dict[tuple[KeyId, NodeName], Placement] = {}
        self._stuck: list[tuple[Key, NodeName, str]] = []
        self.balanced: list[BalanceStep] = []
        self.waits = False

    def own(self, key: KeyId) -> Mapping[NodeName, Placement]:
        """Return all placements of a key by node, those that are leaving too."""
        return self._own.get(key, _NONE)

    def residents(self, nodes: Container[NodeName]) -> list[tuple[NodeName, KeyId]]:
        """Return which keys live on some nodes and are not leaving, by node and key."""
        return sorted(
            (name, key)
            for key, own in self._own.items()
            for name, placement in own.items()
            if placement.leaving is None and name in nodes
        )

    def leaving_by(self, reason: DeleteReason) -> Counter[NodeName]:
        """Count the keys that are leaving each node for a reason."""
        return Counter(
            name
            for own in self._own.values()
            for name, placement in own.items()
            if placement.leaving is reason
        )

    def several(self) -> list[Mapping[NodeName, Placement]]:
        """Return the placements of keys that have more than one, those that are leaving counted."""
        return [own for own in self._own.values() if len(own) > 1]

    def lives(self, key: KeyId) -> list[NodeName]:
        """Return the nodes that a key lives on and is not leaving, by name."""
        own = self._own.get(key)
        # Most keys of a first pass live nowhere: 100,000 times nothing to sort.
        return sorted(name for name, p in own.items() if p.leaving is None) if own else []

    def try_place(self, placement: Placement) -> str | None:
        """Place a key on one named node, or say why not, as a clause that follows its name."""
        room = self.rooms.by_name.get(placement.node)
        if room is None:
            return "is not declared"
        present = self.own(placement.key).get(placement.node)
        if present is not None:
            return "is still losing it" if present.leaving else "holds it already"
        refusal = room.refuse()
        if refusal is not None:
            return refusal.message
        room.keys += 1
        self.add(placement)
        return None

    def place_everywhere(self, key: Key) -> None:
        """Place a key that is to live on every node on those that take it and do not hold it yet."""
        if key.pinned is not None or key.nodes.count is not None:
            return
        reason = f"all of {render_labels(key.nodes.labels)}"
        for room in self.rooms.covered(key.nodes.labels):
            if room.name not in self.own(key.id):
                self.try_place(Placement(key.id, room.name, reason))

    def add(self, placement: Placement) -> None:
        """Place a key on a node that `Rooms.pick` has counted it on."""
        self._own.setdefault(placement.key, {})[placement.node] = placement
        self._added[_by_place(placement)] = placement

    def end(self, placement: Placement, reason: DeleteReason) -> None:
        """End a placement; one that was added in this pass leaves no trace."""
        room = self.rooms.by_name.get(placement.node)
        if room is not None:
            room.keys -= 1
        if self._added.pop(_by_place(placement), None) is not None:
            del self._own[placement.key][placement.node]
            return
        ended = Placement(
            placement.key, placement.node, placement.reason, placement.replaces, leaving=reason
        )
        self._own[placement.key][placement.node] = ended
        self._ended.append(ended)

    def end_all(self, key: KeyId, reason: DeleteReason) -> None:
        """End a key's placements on every node; those that are leaving keep their own reason."""
        for placement in list(self.own(key).values()):
            if placement.leaving is None:
                self.end(placement, reason)

    def free(self, nodes: Container[NodeName]) -> None:
        """Let wait no longer what waits until its key is gone from these nodes."""
        for own in self._own.values():
            for name, placement in own.items():
                if placement.replaces is None or placement.replaces not in nodes:
                    continue
                freed = own[name] = replace(placement, replaces=None)
                place = _by_place(freed)
                if place in self._added:
                    self._added[place] = freed
                elif freed.leaving is None:
                    self._freed[place] = freed

    def say_stuck(self, key: Key, node: NodeName, reason: str = "") -> None:
        """Note that a key cannot leave a node; without a reason that of its selector is told."""
        self._stuck.append((key, node, reason))

    def refuse_move(self, move: Move, reason: str) -> None:
        """Note that a move cannot be made now."""
        self._refused.append(RefusedMove(move, reason))

    def say_short(self, key: Key, missing: int, reason: str = "") -> None:
        """Note that a key lacks nodes; without a reason that of its selector is told."""
        self._short.append((key, missing, reason))

    def result(self, looks: Iterable[NodeName] = ()) -> PlacementResult:
        """Return what was decided; `looks`: nodes whose look decides about more."""
        asked = tuple(sorted(looks))
        # Once a selector, at the end: with 100,000 keys that nobody takes, counting again and again
        # why not would take longer than placing them.
        lacking = (*self._short, *self._stuck)
        labels = {key.nodes.labels for key, _, reason in lacking if not reason}
        reasons = {pairs: self.rooms.say_why_none(pairs) for pairs in sorted(labels)}
        return PlacementResult(
            added=tuple(self._added[place] for place in sorted(self._added)),
            ended=tuple(sorted(self._ended, key=_by_place)),
            unschedulable=tuple(
                Unschedulable(key.id, missing, reason or reasons[key.nodes.labels])
                for key, missing, reason in self._short
            ),
            refused_moves=tuple(self._refused),
            freed=tuple(self._freed[place] for place in sorted(self._freed)),
            stuck=tuple(
                Stuck(key.id, node, reason or reasons[key.nodes.labels])
                for key, node, reason in self._stuck
            ),
            balanced=tuple(self.balanced),
            waits=self.waits or bool(asked),
            looks=asked,
        )


def _by_place(placement: Placement) -> tuple[KeyId, NodeName]:
    return placement.key, placement.node
