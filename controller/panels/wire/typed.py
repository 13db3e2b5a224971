"""Lists of clients, decoded into typed structs without a dictionary for each client.

The way for answers that are as every panel known to us gives them, in a third of the time. What does
not fit is no error here: the answer is None, and the careful way (`clients`, `inbounds`) reads the same
bytes and says what is wrong. Callers: dialects. Not here: any rule that the careful way does not have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from controller.core.observed import ObservedClient
from controller.panels.wire.clients import fill, new_clients, sound
from controller.panels.wire.inbounds import SlimInbound
from controller.panels.wire.text import TextObject
from desired_state.model.ids import InboundId


class Row(Struct, gc=False):
    """A traffic row; one without `enable` is left to the careful way."""

    enable: bool
    id: int = 0
    email: str = ""
    up: int = 0
    down: int = 0
    total: int = 0
    expiry: int = msgspec.field(default=0, name="expiryTime")


class _Client(Struct, gc=False):
    email: str | None = None
    sub_id: str = msgspec.field(default="", name="subId")
    password: str = ""
    auth: str = ""
    flow: str = ""
    limit_ip: int = msgspec.field(default=0, name="limitIp")
    tg_id: int | str = msgspec.field(default=0, name="tgId")
    reset: int = 0
    comment: str = ""
    group: str = ""
    enable: bool = False
    expiry: int = msgspec.field(default=0, name="expiryTime")
    total: int = msgspec.field(default=0, name="totalGB")


class _Entry(_Client, gc=False):
    uuid: str = msgspec.field(default="", name="id")


class _Record(_Client, gc=False):
    uuid: str = ""
    inbound_ids: tuple[int, ...] | None = msgspec.field(default=None, name="inboundIds")
    traffic: Row | None = None


class _Records(Struct, gc=False):
    success: bool
    obj: list[Raw] | None = None


class _Inbound(Struct, gc=False):
    id: int
    protocol: str = ""
    port: int = 0
    tag: str = ""
    remark: str = ""
    listen: str = ""
    enable: bool = False
    up: int = 0
    down: int = 0


class TypedInbound(_Inbound, gc=False):
    """An inbound up to 3.0.2, as `StringInbound`."""

    settings: str = ""
    stream: str = msgspec.field(default="", name="streamSettings")
    sniffing: str = ""
    rows: list[Row] | None = msgspec.field(default=None, name="clientStats")


class _SlimInbound(_Inbound, gc=False):
    settings: dict[str, Raw] | None = None
    stream: dict[str, Any] | None = msgspec.field(default=None, name="streamSettings")
    sniffing: dict[str, Any] | None = None


class _SlimInbounds(Struct, gc=False):
    success: bool
    obj: list[_SlimInbound] | None = None


class _SlimClient(Struct, gc=False):
    email: str | UnsetType = UNSET


class _Inbounds(Struct, gc=False):
    success: bool
    obj: list[TypedInbound] | None = None


@dataclass(frozen=True, slots=True)
class SeenInbound:
    """An inbound up to 3.0.2, its settings without the clients, its clients, and who has no email."""

    inbound: TypedInbound
    settings: dict[str, Any]
    clients: list[ObservedClient]
    nameless: tuple[int, ...]


_RECORDS = msgspec.json.Decoder(_Records)
_RECORD = msgspec.json.Decoder(_Record)
_SLIM_INBOUNDS = msgspec.json.Decoder(_SlimInbounds)
_SLIM_CLIENTS = msgspec.json.Decoder(list[_SlimClient] | None)
_INBOUNDS = msgspec.json.Decoder(_Inbounds)
_ENTRIES = msgspec.json.Decoder(list[Raw] | None)
_ENTRY = msgspec.json.Decoder(_Entry)
_SETTINGS = msgspec.json.Decoder(dict[str, Raw])
_C = TypeVar("_C", bound=_Client)


def read_records(body: bytes) -> list[ObservedClient] | None:
    """Make the clients of `clients/list` (3.1.0+), in the panel's order, or None.

    Nothing of them is kept for the next look: of a fleet's 100,000 clients that would take 150 MB, and
    saves a tenth of what a look costs where nobody uses them: whoever does has another text each time.
    """
    try:
        listed = _RECORDS.decode(body)
        if not listed.success or listed.obj is None:
            return None
        return _make_records([*map(bytes, listed.obj)])
    except msgspec.DecodeError:
        return None


def _make_records(texts: list[bytes]) -> list[ObservedClient]:
    records = [*map(_RECORD.decode, texts)]
    known: dict[tuple[int, ...] | None, tuple[int, ...]] = {}
    for ids in {record.inbound_ids for record in records}:
        known[ids] = tuple(sorted(ids or ()))
    return _make(
        records,
        [record.traffic for record in records],
        [record.uuid for record in records],
        [known[record.inbound_ids] for record in records],
        texts,
    )


def read_slim_inbounds(body: bytes) -> list[SlimInbound] | None:
    """Make the inbounds of `inbounds/list/slim` (3.1.0+), or None."""
    try:
        listed = _SLIM_INBOUNDS.decode(body)
        if not listed.success or listed.obj is None:
            return None
        return [_read_slim(inbound) for inbound in listed.obj]
    except msgspec.DecodeError:
        return None


def _read_slim(inbound: _SlimInbound) -> SlimInbound:
    if inbound.settings is None:
        return SlimInbound(inbound, None, inbound.stream)
    listed = inbound.settings.pop("clients", None)
    clients = (_SLIM_CLIENTS.decode(listed) if listed is not None else None) or []
    emails = tuple(None if c.email is UNSET else c.email for c in clients)
    others = {key: msgspec.json.decode(value) for key, value in inbound.settings.items()}
    return SlimInbound(inbound, others, inbound.stream, emails)


def read_inbounds(body: bytes) -> list[SeenInbound] | None:
    """Make the inbounds of `inbounds/list` with their clients (up to 3.0.2), or None."""
    try:
        listed = _INBOUNDS.decode(body)
        if not listed.success or listed.obj is None:
            return None
        rows = {row.email: row for inbound in listed.obj for row in inbound.rows or ()}
        return [_read_inbound(inbound, rows) for inbound in listed.obj]
    except msgspec.DecodeError:
        return None


def _read_inbound(inbound: TypedInbound, rows: dict[str, Row]) -> SeenInbound:
    settings = _SETTINGS.decode(inbound.settings)
    listed = settings.pop("clients", None)
    raws = (_ENTRIES.decode(listed) if listed is not None else None) or []
    entries = [*map(_ENTRY.decode, raws)]
    clients = _make(
        entries,
        [None if entry.email is None else rows.get(entry.email) for entry in entries],
        [entry.uuid for entry in entries],
        [(InboundId(inbound.id),)] * len(entries),
        map(bytes, raws),
    )
    nameless = tuple(at for at, entry in enumerate(entries) if entry.email is None)
    others = {key: msgspec.json.decode(value) for key, value in settings.items()}
    return SeenInbound(inbound, others, clients, nameless)


def _make(
    made: Sequence[_C],
    rows: Sequence[Row | None],
    uuids: Sequence[str],
    inbound_ids: Iterable[tuple[int, ...]],
    texts: Iterable[bytes],
) -> list[ObservedClient]:
    """As `clients` makes them: both say enabled, and the row's limits are the ones enforced."""
    clients = new_clients(len(made))
    both = [*zip(made, rows, strict=True)]
    fill(clients, "inbound_ids", inbound_ids)
    fill(clients, "enable", [c.enable and (r is None or r.enable) for c, r in both])
    fill(clients, "expiry_ms", [c.expiry if r is None else r.expiry for c, r in both])
    fill(clients, "total_bytes", [c.total if r is None else r.total for c, r in both])
    fill(clients, "up_bytes", [0 if r is None else r.up for r in rows])
    fill(clients, "down_bytes", [0 if r is None else r.down for r in rows])
    fill(clients, "traffic_row", [0 if r is None else r.id for r in rows])
    fill(clients, "flow_known", [True] * len(made))
    fill(clients, "raw", [*map(TextObject, texts)])
    fill(clients, "uuid", uuids)
    fill(clients, "email", [c.email or "" for c in made])
    fill(clients, "sub_id", [c.sub_id for c in made])
    fill(clients, "password", [c.password for c in made])
    fill(clients, "auth", [c.auth for c in made])
    fill(clients, "flow", [c.flow for c in made])
    fill(clients, "limit_ip", [c.limit_ip for c in made])
    fill(clients, "tg_id", sound([c.tg_id for c in made], 0))
    fill(clients, "reset", [c.reset for c in made])
    fill(clients, "comment", [c.comment for c in made])
    fill(clients, "group", [c.group for c in made])
    return clients
