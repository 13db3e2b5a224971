"""Folds what was read of a node together between its turns: text by columns, compressed, and no objects.

A key that is as it should be is four small objects and ten texts, 1.2 KB; folded it is a tenth of that, and
leaves no holes in the heap. Equal, and the same objects where parts shared one, when it is unfolded.
Callers: `reads`, when a turn ends and when the next one begins. Not here: what is read, how long it holds.
"""

import operator
import pickle
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, TypeVar, cast

from controller.core.desired import Desired, KeyOnNode
from controller.core.expect import Wanted
from controller.core.memo import Wants, memo_of
from desired_state.model.generation import JournalRow
from desired_state.model.subscription import Subscription

T = TypeVar("T")
_FAST = 1
"""zlib's level: a better one saves a twentieth and takes twice as long."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A `Desired` without its many, and these as bytes. `wants`: what was derived, without its many."""

    rest: Desired
    wants: Wants | None
    many: bytes


@dataclass(frozen=True, slots=True)
class _Columns:
    """Values of one class by field, in its order: one for all of them, or a list."""

    count: int
    same: tuple[Any, ...]
    lists: tuple[list[Any] | None, ...]


class Kept:
    """A `Desired` that is kept, folded or open; of any number of readers at once."""

    def __init__(self, desired: Desired) -> None:
        self._open: Desired | None = desired
        self._folded: Folded | None = None

    def open(self) -> Desired:
        """Give it as it was kept, with whatever was derived from it since."""
        if self._open is None:
            self._open = unfold(cast("Folded", self._folded))
        return self._open

    def fold(self) -> None:
        """Keep it small from now on; whoever holds it open keeps that."""
        if self._open is None:
            return
        if self._folded is None or not _still_holds(self._folded, self._open):
            self._folded = fold(self._open)
        self._open = None


def fold(desired: Desired) -> Folded:
    """Fold what was read; it stays as it is, and may go."""
    wants = memo_of(desired).wants
    if wants is not None and not _is_of(wants, desired):
        # Derived of something else than this holds: it would not be believed again.
        wants = None
    # Keys of one subscription share it.
    owners = {id(key.subscription): key.subscription for key in desired.keys}
    places = {one: number for number, one in enumerate(owners)}
    many = (
        _columns(Subscription, owners.values()),
        _columns(KeyOnNode, desired.keys, without="subscription"),
        [places[id(key.subscription)] for key in desired.keys],
        _columns(JournalRow, desired.journal),
        _columns(JournalRow, desired.tombstones),
        dict(desired.generations),
        None if wants is None else list(wants.by_email),
        None if wants is None else _columns(Wanted, wants.by_email.values()),
    )
    # Within one pickle a text that several hold is held once, now and when it is unfolded.
    packed = zlib.compress(pickle.dumps(many, pickle.HIGHEST_PROTOCOL), _FAST)
    rest = replace(desired, keys=(), journal=(), tombstones=(), generations={}, memo={})
    bare = None if wants is None else replace(wants, inputs=wants.inputs[3:], by_email={})
    return Folded(rest, bare, packed)


def unfold(folded: Folded) -> Desired:
    """Make what was folded again, with what had been derived from it."""
    # Our own memory: it was never stored, and nobody sent it.
    many = pickle.loads(zlib.decompress(folded.many))  # noqa: S301 - see above
    owned, placed, places, journal, tombstones, generations, emails, wanted = many
    owners = _objects(Subscription, owned)
    keys = _objects(KeyOnNode, placed)
    _put(KeyOnNode, "subscription", keys, map(owners.__getitem__, places))
    desired = replace(
        folded.rest,
        keys=tuple(keys),
        journal=tuple(_objects(JournalRow, journal)),
        tombstones=tuple(_objects(JournalRow, tombstones)),
        generations=generations,
        memo={},
    )
    if folded.wants is not None:
        memo_of(desired).wants = replace(
            folded.wants,
            inputs=(*_inputs(desired), *folded.wants.inputs),
            by_email=dict(zip(emails, _objects(Wanted, wanted), strict=True)),
        )
    return desired


def _still_holds(folded: Folded, unfolded: Desired) -> bool:
    """Whether folding this again, which was unfolded from that, would give the same."""
    wants, memo = folded.wants, memo_of(unfolded)
    if wants is None or memo.wants is None:
        return wants is memo.wants
    # Whoever derives them anew begins with credentials that nobody compared yet.
    return wants.compared is memo.wants.compared


def _is_of(wants: Wants, desired: Desired) -> bool:
    return all(map(operator.is_, wants.inputs, _inputs(desired)))


def _inputs(desired: Desired) -> tuple[object, ...]:
    """What of it its wants are derived from, and recognised by as the same objects."""
    return desired.keys, desired.bound, desired.adopted


def _columns(kind: type, objects: Iterable[Any], without: str = "") -> _Columns:
    rows = list(objects)
    same: list[Any] = []
    lists: list[list[Any] | None] = []
    for one in fields(kind):
        values = [] if one.name == without else [getattr(row, one.name) for row in rows]
        first = values[0] if values else None
        is_one = all(v is first or (type(v) is type(first) and v == first) for v in values)
        same.append(first if is_one else None)
        lists.append(None if is_one else values)
    return _Columns(len(rows), tuple(same), tuple(lists))


def _objects(kind: type[T], columns: _Columns) -> list[T]:
    """Make the objects, field by field: a third of the time that their `__init__` would take."""
    made: list[T] = list(map(object.__new__, repeat(kind, columns.count)))
    for one, same, values in zip(fields(kind), columns.same, columns.lists, strict=True):  # type: ignore[arg-type]  # dataclasses, all of them
        _put(kind, one.name, made, repeat(same) if values is None else values)
    return made


def _put(kind: type, name: str, objects: Sequence[Any], values: Iterable[Any]) -> None:
    """Set one field of frozen objects that nobody else has seen yet."""
    write = vars(kind)[name].__set__
    deque(map(write, objects, values), maxlen=0)
