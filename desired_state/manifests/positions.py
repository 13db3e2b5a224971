"""YAML text to data that remembers where it stood: `Item` trees with line and column.

Called by the loader. Built from libyaml's events in one pass, because its node composer recurses in
C and overflows the stack on deep nesting. Plain scalars are read as YAML 1.2 reads them: `no` and
`010` are text. Not here: what a document may say (`kinds`).
"""

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from desired_state.manifests.errors import Fault, FaultKind

MAX_DEPTH = 32
"""Our deepest document has 7 levels."""
MAX_ALIASES = 100
MAX_ITEMS = 200_000
"""A file's values, aliases expanded: some 5,000 nodes, and no bomb of aliases."""
MAX_BYTES = 4 * 1024 * 1024

Path = tuple[str | int, ...]


class _Mark(Protocol):
    """What libyaml says of a place: counted from 0."""

    line: int
    column: int


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})", re.ASCII)
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", re.ASCII)
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_PLAIN_TAGS = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True, slots=True)
class Spot:
    """A line and a column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Item:
    """A value, its spot, and for a mapping or a list its parts.

    `data` is plain Python; nulls of a mapping are in `children` only. `keys` says where a mapping's
    names stand. `size` counts all values below, `height` the levels.
    """

    data: object
    spot: Spot
    children: dict[str | int, "Item"] = field(default_factory=dict)
    keys: dict[str | int, Spot] = field(default_factory=dict)
    size: int = 1
    height: int = 1

    def get(self, path: Path) -> "Item | None":
        """Follow a path to its end."""
        item: Item | None = self
        for name in path:
            item = item.children.get(name) if item else None
        return item

    def spot_of(self, path: Path, *, of_name: bool = False) -> Spot:
        """Say where the value of a path stands, or its name; the nearest parent if it is absent."""
        spot = self.spot
        item = self
        for depth, name in enumerate(path, start=1):
            if name not in item.children:
                return spot
            if of_name and depth == len(path) and name in item.keys:
                return item.keys[name]
            item = item.children[name]
            spot = item.spot
        return spot


class YamlFault(Exception):
    """A file cannot be read on from here; never leaves this package."""

    def __init__(self, spot: Spot, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.spot = spot
        self.message = message
        self.hint = hint


def parse_yaml(file: str, content: bytes) -> tuple[tuple[Item, ...], tuple[Fault, ...]]:
    """Read all documents of a file that are not empty.

    Returns:
        The documents up to the first fault of syntax, and that fault if there is one; doubled names
        are faults too, and reading goes on after them.
    """
    documents: list[Item] = []
    faults: list[Fault] = []
    try:
        reader = _Reader(_decode(content))
        while (item := reader.next_document()) is not None:
            if item.data is not None:
                documents.append(item)
            faults += [_fault(file, error, FaultKind.SCHEMA) for error in reader.take_doubled()]
    except YamlFault as error:
        faults.append(_fault(file, error, FaultKind.SYNTAX))
    return tuple(documents), tuple(faults)


def _fault(file: str, error: YamlFault, kind: FaultKind) -> Fault:
    return Fault(file, error.spot.line, error.spot.column, "", error.message, error.hint, kind)


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise YamlFault(Spot(1, 1), f"is larger than {MAX_BYTES} bytes", "split the file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        spot = _spot_at(content[: error.start].decode("utf-8-sig", errors="ignore"))
        raise YamlFault(spot, "is not UTF-8", "save the file as UTF-8") from error
    # libyaml stops here too, but says a byte and no line.
    refused = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if refused is not None:
        code = ord(refused.group())
        spot = _spot_at(text[: refused.start()])
        raise YamlFault(spot, f"holds the control character U+{code:04X}", "take it out")
    return text


def _spot(mark: _Mark | None) -> Spot:
    return Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)


def _spot_at(before: str) -> Spot:
    line_start = before.rfind("\n") + 1
    return Spot(before.count("\n") + 1, len(before) - line_start + 1)


class _Reader:
    """One file's events, and what must be remembered between them."""

    def __init__(self, text: str) -> None:
        self._loader = yaml.CSafeLoader(text)
        self._anchors: dict[str, Item] = {}
        self._aliases = 0
        self._items = 0
        self._doubled: list[YamlFault] = []

    def next_document(self) -> Item | None:
        while True:
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                return None
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                return self._build(self._next(), depth=1)

    def take_doubled(self) -> list[YamlFault]:
        doubled, self._doubled = self._doubled, []
        return doubled

    def _next(self) -> yaml.Event:
        try:
            event = self._loader.get_event()
        except yaml.YAMLError as error:
            spot = _spot(getattr(error, "problem_mark", None))
            problem = getattr(error, "problem", None) or "cannot be read"
            raise YamlFault(spot, f"is no YAML: {problem}", _syntax_hint(problem)) from error
        if event is None:  # past the end of the stream, where nobody reads
            raise YamlFault(Spot(1, 1), "ends too early")
        return event

    def _build(self, event: yaml.Event, depth: int) -> Item:
        spot = _spot(event.start_mark)
        self._count(spot, 1, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, spot, depth)
        started: Any = event  # the stubs do not say that all others have a tag and an anchor
        if isinstance(event, yaml.ScalarEvent):
            item = Item(_scalar(event, spot), spot)
        elif started.tag not in _PLAIN_TAGS:
            raise YamlFault(spot, "has a tag that manifests do not know", "take the tag away")
        elif isinstance(event, yaml.MappingStartEvent):
            item = self._mapping(spot, depth)
        else:
            item = self._sequence(spot, depth)
        if started.anchor is not None:
            self._anchors[started.anchor] = item
        return item

    def _mapping(self, spot: Spot, depth: int) -> Item:
        children: dict[str | int, Item] = {}
        keys: dict[str | int, Spot] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            name = self._build(event, depth + 1)
            value = self._build(self._next(), depth + 1)
            if not isinstance(name.data, str) or name.data == "<<":
                raise YamlFault(name.spot, "is no name that manifests know", _name_hint(name))
            if name.data in keys:
                first = keys[name.data]
                self._doubled.append(_doubled(name.spot, first))
                continue
            keys[name.data], children[name.data] = name.spot, value
        data = {name: child.data for name, child in children.items() if child.data is not None}
        return _collection(data, spot, children, keys)

    def _sequence(self, spot: Spot, depth: int) -> Item:
        children: dict[str | int, Item] = {}
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            children[len(children)] = self._build(event, depth + 1)
        return _collection([child.data for child in children.values()], spot, children, {})

    def _alias(self, event: yaml.AliasEvent, spot: Spot, depth: int) -> Item:
        item = self._anchors.get(event.anchor or "")
        if item is None:
            raise YamlFault(spot, "is an alias of an anchor that does not stand before it")
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise YamlFault(spot, f"is one alias more than {MAX_ALIASES}", "write values out")
        self._count(spot, item.size, depth + item.height - 1)
        return item

    def _count(self, spot: Spot, size: int, depth: int) -> None:
        self._items += size
        if depth > MAX_DEPTH:
            raise YamlFault(spot, f"is nested deeper than {MAX_DEPTH} levels", "flatten it")
        if self._items > MAX_ITEMS:
            raise YamlFault(spot, f"is one value more than {MAX_ITEMS}", "split the file")


def _collection(
    data: object, spot: Spot, children: dict[str | int, Item], keys: dict[str | int, Spot]
) -> Item:
    size = 1 + sum(child.size for child in children.values())
    height = 1 + max((child.height for child in children.values()), default=0)
    return Item(data, spot, children, keys, size, height)


def _scalar(event: yaml.ScalarEvent, spot: Spot) -> object:
    text: str = event.value
    if event.tag is not None:
        if event.tag not in _TEXT_TAGS:
            raise YamlFault(spot, "has a tag that manifests do not know", "take the tag away")
        return text
    if not event.implicit[0]:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _doubled(spot: Spot, first: Spot) -> YamlFault:
    # Without the name itself: in a mapping that holds a secret it may be the secret.
    return YamlFault(
        spot,
        f"this name stands in the same mapping already, on line {first.line}",
        "keep one of the two",
    )


def _name_hint(name: Item) -> str:
    if name.data == "<<":
        return "merge keys are not supported: write the lines out"
    return "a name is text: put it in quotes"


def _syntax_hint(problem: str) -> str:
    if "token" in problem and "start" in problem:
        return "put the value in quotes; tabs cannot indent"
    return "check the indentation and the colons around this line"
