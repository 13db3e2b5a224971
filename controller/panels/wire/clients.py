"""The panel's client objects to `ObservedClient`, column by column.

Up to 3.0.2 a client is an entry of its inbound's settings and its traffic row stands beside the
inbound; from 3.1.0 it is a record that holds its attachments and its row. A foreign client with a
field of a wrong type must not hide its neighbours: the field reads as its zero value, as the panel
itself reads it. Callers: dialects. Not here: inbounds, writing.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import repeat
from typing import Any, NotRequired, cast

from typing_extensions import TypedDict

from controller.core.observed import ObservedClient
from desired_state.model.ids import InboundId

Object = Mapping[str, Any]


class TrafficRow(TypedDict):
    """What a panel counts and enforces for one email (`clientStats`, `traffic`)."""

    id: NotRequired[int]
    email: str
    enable: NotRequired[bool]
    up: NotRequired[int]
    down: NotRequired[int]
    total: NotRequired[int]
    expiryTime: NotRequired[int]


@dataclass(frozen=True, slots=True)
class _Column:
    """A field of ours, the panel's key of it, and what stands for anything of another type."""

    name: str
    key: str
    default: str | int | bool


_COMMON = (
    _Column("email", "email", ""),
    _Column("sub_id", "subId", ""),
    _Column("password", "password", ""),
    _Column("auth", "auth", ""),
    _Column("flow", "flow", ""),
    _Column("limit_ip", "limitIp", 0),
    _Column("tg_id", "tgId", 0),
    _Column("reset", "reset", 0),
    _Column("comment", "comment", ""),
    _Column("group", "group", ""),
)
_ENTRY = (*_COMMON, _Column("uuid", "id", ""))
_RECORD = (*_COMMON, _Column("uuid", "uuid", ""))
_ENABLE = _Column("enable", "enable", default=False)
_EXPIRY = _Column("expiry_ms", "expiryTime", 0)
_TOTAL = _Column("total_bytes", "totalGB", 0)
_ROW_ENABLE = _Column("enable", "enable", default=True)
_ROW_TOTAL = _Column("total_bytes", "total", 0)
_UP = _Column("up_bytes", "up", 0)
_DOWN = _Column("down_bytes", "down", 0)
_ROW_ID = _Column("traffic_row", "id", 0)
_YES = repeat(True)  # noqa: FBT003 - a value to be repeated


def clients_of_entries(
    entries: Sequence[object], inbound: InboundId, rows: Mapping[str, TrafficRow]
) -> tuple[list[ObservedClient], tuple[int, ...]]:
    """Make the clients of one inbound (up to 3.0.2).

    Args:
        entries: `settings.clients`, in the panel's order.
        inbound: whose entries they are.
        rows: by email, of the whole panel: a row stays with the inbound it was first made under.

    Returns:
        The clients, and the positions of entries without an email.
    """
    objects = _objects(entries)
    own = [rows.get(email) if isinstance(email := o.get("email"), str) else None for o in objects]
    nameless = tuple(at for at, o in enumerate(objects) if o.get("email") is None)
    return _make(objects, own, _ENTRY, repeat((inbound,))), nameless


def clients_of_records(records: Sequence[object]) -> list[ObservedClient]:
    """Make the clients of `clients/list` (3.1.0+)."""
    objects = _objects(records)
    rows = [row if isinstance(row := o.get("traffic"), dict) and row else None for o in objects]
    return _make(objects, rows, _RECORD, _attachments(objects))


def _make(
    objects: Sequence[Object],
    rows: Sequence[Object | None],
    columns: Iterable[_Column],
    inbound_ids: Iterable[tuple[InboundId, ...]],
) -> list[ObservedClient]:
    # QUIRK(enable-is-both, 3x-ui all versions): up to 2.8.0 the row says false only when used up or
    # expired and the entry only when switched off by hand; an upgrade across 3.1.0 turns every
    # record on and leaves the rows. A client is served only if both say true.
    enable = zip(_read(objects, _ENABLE), _read_rows(rows, _ROW_ENABLE, _YES), strict=False)
    # Expiry and quota are enforced from the row, and one that survived an earlier client of the
    # same email keeps the old ones: what the panel enforces is what it holds.
    expiry = _read_rows(rows, _EXPIRY, _read(objects, _EXPIRY))
    total = _read_rows(rows, _ROW_TOTAL, _read(objects, _TOTAL))
    clients = new_clients(len(objects))
    fill(clients, "inbound_ids", inbound_ids)
    fill(clients, "enable", [both[0] and both[1] for both in enable])
    fill(clients, "expiry_ms", expiry)
    fill(clients, "total_bytes", total)
    fill(clients, "up_bytes", _read_rows(rows, _UP, repeat(0)))
    fill(clients, "down_bytes", _read_rows(rows, _DOWN, repeat(0)))
    fill(clients, "traffic_row", _read_rows(rows, _ROW_ID, repeat(0)))
    fill(clients, "flow_known", _YES)
    fill(clients, "raw", objects)
    for column in columns:
        fill(clients, column.name, _read(objects, column))
    return clients


# Nobody has seen these values yet, so nobody sees them being filled. Their own initialiser, which
# must go around being frozen field by field, takes three times as long as decoding their JSON did.
_SLOTS: dict[str, Any] = {
    f.name: vars(ObservedClient)[f.name].__set__ for f in fields(ObservedClient)
}


def new_clients(count: int) -> list[ObservedClient]:
    """Make values whose every field is still to be filled by `fill`."""
    return [ObservedClient.__new__(ObservedClient) for _ in range(count)]


def fill(clients: Iterable[ObservedClient], name: str, values: Iterable[object]) -> None:
    """Fill one field of values that nobody has seen yet."""
    deque(map(_SLOTS[name], clients, values), maxlen=0)


def set_flow_known(clients: Sequence[ObservedClient], known: Iterable[bool]) -> None:
    """Note of clients that are being made whether their flow can be told."""
    fill(clients, "flow_known", known)


def _read(objects: Iterable[Object], column: _Column) -> list[Any]:
    key, default = column.key, column.default
    return sound([o.get(key, default) for o in objects], default)


def _read_rows(
    rows: Sequence[Object | None], column: _Column, otherwise: Iterable[object]
) -> list[Any]:
    """Read from rows; where there is none, take the value at the same place of `otherwise`."""
    key, default = column.key, column.default
    if all(rows):
        values = [row.get(key, default) for row in cast("Sequence[Object]", rows)]
    else:
        pairs = zip(rows, otherwise, strict=False)
        values = [other if row is None else row.get(key, default) for row, other in pairs]
    return sound(values, default)


def sound(values: list[Any], default: str | int | bool) -> list[Any]:  # noqa: FBT001 - a value
    """Put what stands for it where a value is of another type than the default."""
    kind = type(default)
    if {*map(type, values)} <= {kind}:
        return values
    return [value if type(value) is kind else _coerce(value, default) for value in values]


def _coerce(value: object, default: str | int | bool) -> str | int | bool:  # noqa: FBT001 - a value
    """Numbers may come as text (`tgId` once was one); anything else of a wrong type is nothing."""
    if type(default) is int and isinstance(value, str | float):
        try:
            return int(value)
        except (ValueError, OverflowError):
            return default
    return default


def _objects(values: Sequence[object]) -> Sequence[Object]:
    """Keep positions: what is no object reads as an empty one."""
    return [value if isinstance(value, dict) else {} for value in values]


def _attachments(records: Iterable[Object]) -> list[tuple[InboundId, ...]]:
    """Most clients of a node are attached to the same inbounds: they share one value."""
    known: dict[tuple[InboundId, ...], tuple[InboundId, ...]] = {}
    found = []
    for record in records:
        ids = record.get("inboundIds")
        # QUIRK(null-attachments, 3x-ui 3.1.0+): null, not an empty list, when attached nowhere.
        listed = tuple(ids) if isinstance(ids, list) else ()
        if not {*map(type, listed)} <= {int}:
            listed = ()
        if listed not in known:
            known[listed] = tuple(sorted(listed))
        found.append(known[listed])
    return found
