"""Worlds between turns, and what a turn made of each: the very same turn is not played twice.

Many plans of faults lead to worlds that are equal in everything that a turn or an oracle can read; a turn
is a function of its world and of the faults that hit it, so from there on they are one. Equal means each
field of each value, those that `==` leaves out too; what is left out here says why. Callers: the explorer.
Not here: which turns are played, what must hold.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import fields
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from desired_state.model.ids import NodeName
from tests.fakes.clock import FakeClock
from tests.fakes.faults import Fault
from tests.fakes.panel import FakePanel
from tests.fakes.store import FakeStore, NodeRow
from tests.fakes.world import Turn, World

Hits = tuple[tuple[int, Fault], ...]
"""Faults by the number of the effect, counted from the start of a turn, in order."""

LEFT_OUT: dict[type, frozenset[str]] = {
    # Told of everything and asked for nothing; it forgets when a turn begins.
    World: frozenset({"watch", "story"}),
    # Counts that are only compared with what they were a turn before (see `Played.wrote`); a history
    # that nothing reads; readings, of which `FakeStore.read_at` tells what counts.
    FakeStore: frozenset({"writes", "changes", "events", "_readings"}),
    # The same; a look that can be taken again; older looks, which only a fault shows (see `Scene`).
    FakePanel: frozenset({"calls", "restarts", "_look", "_older"}),
}
PLAIN = frozenset({str, int, bool, float, bytes, type(None), datetime, timedelta})
CHANGING = frozenset({dict, Counter, set, World, FakeStore, FakePanel, FakeClock, NodeRow})
"""Kinds whose values may be others by the next time; all else is frozen."""
KEPT_TURNS = 5000
"""With as many, everything is forgotten: some hundred megabytes."""


class Names:
    """Gives equal values one name: a frozen value of ours is read field by field once."""

    def __init__(self) -> None:
        self._of_shapes: dict[Hashable, object] = {}
        # By identity, beside the value itself, so that no other one can get its identity.
        self._of_values: dict[int, tuple[object, Hashable]] = {}
        self._fields: dict[type, tuple[str, ...]] = {}

    def of(self, value: object) -> Hashable:
        """Return what equals the name of another value only where the two are equal in every field."""
        kind = type(value)
        if kind in PLAIN:
            return value
        known = self._of_values.get(id(value))
        if known is not None:
            return known[1]
        if kind in CHANGING:
            return self._shape(value, kind)
        name = value if isinstance(value, Enum | str | int) else self.name(self._shape(value, kind))
        self._of_values[id(value)] = value, name
        return name

    def name(self, shape: Hashable) -> object:
        """Return the name of what is made of names and plain values."""
        return self._of_shapes.setdefault(shape, object())

    def _shape(self, value: Any, kind: type) -> Hashable:
        """Make a tuple of a value's parts, and of its type."""
        of = self.of
        if kind is dict or kind is MappingProxyType:
            return (
                kind,
                *[
                    (key if type(key) in PLAIN else of(key), one if type(one) in PLAIN else of(one))
                    for key, one in value.items()
                ],
            )
        if kind is Counter:
            return (kind, frozenset(value.items()))
        if kind is tuple:
            return (kind, *[of(one) for one in value])
        if kind in (set, frozenset):
            return (kind, frozenset(map(of, value)))
        names = self._fields.get(kind)
        if names is None:
            left_out = LEFT_OUT.get(kind, frozenset())
            names = tuple(field.name for field in fields(kind) if field.name not in left_out)
            self._fields[kind] = names
        parts = [getattr(value, name) for name in names]
        return (kind, *[part if type(part) in PLAIN else of(part) for part in parts])

    def forget(self) -> None:
        """Drop everything: names given before equal none that are given from now on."""
        self._of_shapes.clear()
        self._of_values.clear()


class Scene:
    """A world that is not touched any more. Two with one `state` go on alike while no fault comes.

    A fault may show looks of the past, so with faults to come two go on alike with one `memory` too.
    """

    def __init__(self, world: World, names: Names) -> None:
        self.world = world
        self.state = names.name((names.of(world), world.store.read_at()))
        self._names = names
        self._memory: Hashable = None

    @property
    def memory(self) -> Hashable:
        """What tells it from others as long as faults may come."""
        if self._memory is None:
            panels = self.world.panels.values()
            older = [
                self._names.of(look) for panel in panels for look in (None, *panel.older_looks)
            ]
            self._memory = self._names.name((self.state, *older))
        return self._memory


class Played(NamedTuple):
    """A turn that was played. `wrote`: writes of it, on panels and in the database."""

    scene: Scene
    turn: Turn
    wrote: int


class Stage:
    """Plays turns, each once.

    Args:
        keeps: False plays every turn anew, for comparing both ways.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self._names = Names()
        self._played: dict[tuple[Hashable, NodeName, Hits], Played] = {}

    def enter(self, world: World) -> Scene:
        """Take a world as it stands; nobody may change it from now on."""
        return Scene(world, self._names)

    def play(self, scene: Scene, node: NodeName, coming: Hits, turns: list[Turn]) -> Played:
        """Play one turn of a node, or return what it came to before.

        `coming`: every fault that is still to come, those of later turns too. `turns`: gets the turn,
        also when something breaks while it is played.
        """
        # Which faults could come is told by what a stale look would show.
        before = scene.memory if coming or scene.world.recording else scene.state
        kept = self._recall(before, node, coming)
        if kept is not None:
            turns.append(kept.turn)
            return kept
        turn = Turn()
        turns.append(turn)
        world = scene.world.copy()
        written = world.writes()
        world.turn(node, dict(coming), 0, turn)
        played = Played(self.enter(world), turn, world.writes() - written)
        if self.keeps:
            if len(self._played) >= KEPT_TURNS:
                self._played.clear()
                self._names.forget()
            hits = tuple(hit for hit in coming if hit[0] < len(turn.effects))
            self._played[before, node, hits] = played
        return played

    def _recall(self, before: Hashable, node: NodeName, coming: Hits) -> Played | None:
        """Find the turn that these faults lead to: those that came after its end did not touch it."""
        for number in range(len(coming) + 1):
            kept = self._played.get((before, node, coming[:number]))
            if kept is None:
                continue
            if number == len(coming) or coming[number][0] >= len(kept.turn.effects):
                return kept
        return None

    def wait(self, scene: Scene, seconds: float) -> Scene:
        """Let time pass."""
        world = scene.world.copy()
        world.pass_time(seconds)
        return self.enter(world)
