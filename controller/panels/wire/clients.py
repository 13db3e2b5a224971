"""The panel's client objects to `ObservedClient`: one pass of pydantic's validator over the bytes.

Up to 3.0.2 a client is an entry of its inbound's settings, from 3.1.0 a record with its attachments
and its traffic row. No dictionary is made of either: the panel's object is decoded again only when
an update passes it through (`RawClients`), so that a look at a panel in sync costs little more than
scanning its answer. A foreign client with a field of a wrong type must not hide its neighbours:
such a field reads as its zero value, as the panel itself reads it. Callers: dialects. Not here:
inbounds, writing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, NotRequired

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, from_json
from pydantic_core import core_schema as cs
from typing_extensions import TypedDict

from controller.core.observed import ObservedClient
from desired_state.model.ids import InboundId

NAMELESS = "\x00"
"""What stands for an email that is missing, until `finish_entries` takes its position down."""


class TrafficRow(TypedDict):
    """What a panel counts and enforces for one email (`clientStats`, `traffic`)."""

    email: str
    enable: NotRequired[bool]
    up: NotRequired[int]
    down: NotRequired[int]
    total: NotRequired[int]
    expiryTime: NotRequired[int]


class RawClients(Sequence[Mapping[str, object]]):
    """The client objects of one answer as the panel sent them, decoded when the first is asked for.

    Args:
        text: JSON of an object.
        key: of the list in it.
    """

    def __init__(self, text: bytes | str, key: str) -> None:
        self._text = text
        self._key = key
        self._decoded: list[Mapping[str, object]] | None = None

    def __getitem__(self, position: Any) -> Any:  # noqa: ANN401 - index or slice, as of any list
        if self._decoded is None:
            self._decoded = from_json(self._text)[self._key] or []
        return self._decoded[position]

    def __len__(self) -> int:
        return len(self[:])


class RawClient(Mapping[str, object]):
    """One of them, by its position."""

    __slots__ = ("_clients", "_position")

    def __init__(self, clients: RawClients, position: int) -> None:
        self._clients = clients
        self._position = position

    def _object(self) -> Mapping[str, object]:
        found: object = self._clients[self._position]
        return found if isinstance(found, dict) else {}

    def __getitem__(self, key: str) -> object:
        return self._object()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._object())

    def __len__(self) -> int:
        return len(self._object())


def finish_records(clients: list[ObservedClient], body: bytes) -> None:
    """Complete records (3.1.0+) in place: enabled only together with their row; raw object."""
    raw = RawClients(body, "obj")
    for position, client in enumerate(clients):
        # The schema left the row's `enable` here: there is no room for two flags in one value.
        row_enable: object = client.raw
        _set(client, "enable", client.enable and row_enable)
        _set(client, "raw", RawClient(raw, position))


def finish_entries(
    clients: list[ObservedClient], settings: str, inbound: InboundId, rows: Mapping[str, TrafficRow]
) -> tuple[int, ...]:
    """Complete entries of one inbound (up to 3.0.2) in place.

    Args:
        clients: as validated, in the panel's order.
        settings: the inbound's settings, JSON text.
        inbound: whose entries they are.
        rows: by email, of the whole panel: a row stays with the inbound it was first made under.

    Returns:
        Positions of entries without an email.
    """
    raw = RawClients(settings, "clients")
    nameless = []
    inbound_ids = (inbound,)
    for position, client in enumerate(clients):
        _set(client, "inbound_ids", inbound_ids)
        _set(client, "raw", RawClient(raw, position))
        if client.email == NAMELESS:
            _set(client, "email", "")
            nameless.append(position)
        elif (row := rows.get(client.email)) is not None:
            _apply_row(client, row)
    return tuple(nameless)


def _apply_row(client: ObservedClient, row: TrafficRow) -> None:
    # Expiry and quota are enforced from the row, and a row that survived an earlier client of this
    # email keeps the old ones: what the panel enforces is what it holds.
    # QUIRK(row-enable, 3x-ui 2.3.15 to 3.0.2): up to 2.8.0 the row says false only when used up or
    # expired and the entry only when switched off by hand; from 2.8.1 the row says both. The client
    # is served only if both say true, in every version.
    _set(client, "enable", client.enable and row.get("enable", True))
    _set(client, "up_bytes", row.get("up", 0))
    _set(client, "down_bytes", row.get("down", 0))
    _set(client, "total_bytes", row.get("total", client.total_bytes))
    _set(client, "expiry_ms", row.get("expiryTime", client.expiry_ms))


_set = object.__setattr__
"""These values are still being born: nobody has seen them, so nobody sees them change."""


def _field(
    name: str, schema: CoreSchema, *paths: str | list[str], default: object
) -> cs.DataclassField:
    alias: Any = paths[0] if len(paths) == 1 else [[p] if isinstance(p, str) else p for p in paths]
    schema = cs.with_default_schema(schema, default=default, on_error="default")
    return cs.dataclass_field(name, schema, validation_alias=alias)


_TEXT = cs.str_schema(strict=True)
_NUMBER = cs.int_schema()
_FLAG = cs.bool_schema(strict=True)
_IDS = cs.no_info_after_validator_function(
    lambda ids: tuple(sorted(ids)), cs.list_schema(cs.int_schema(strict=True))
)


def _client_schema(*varying: cs.DataclassField) -> CoreSchema:
    common = (
        _field("sub_id", _TEXT, "subId", default=""),
        _field("password", _TEXT, "password", default=""),
        _field("auth", _TEXT, "auth", default=""),
        _field("flow", _TEXT, "flow", default=""),
        _field("enable", _FLAG, "enable", default=False),
        _field("limit_ip", _NUMBER, "limitIp", default=0),
        _field("tg_id", _NUMBER, "tgId", default=0),
        _field("reset", _NUMBER, "reset", default=0),
        _field("comment", _TEXT, "comment", default=""),
        _field("group", _TEXT, "group", default=""),
    )
    own = {field["name"]: field for field in (*common, *varying)}
    rest = {
        name: cs.dataclass_field(
            name,
            cs.with_default_schema(cs.any_schema(), default=default),
            validation_alias=NAMELESS,
        )
        for name, default in _REST.items()
        if name not in own
    }
    names = [field.name for field in fields(ObservedClient)]
    arguments = [(own | rest)[name] for name in names]
    return cs.dataclass_schema(
        ObservedClient,
        cs.dataclass_args_schema(ObservedClient.__name__, arguments),
        names,
        slots=True,
    )


_REST = {"inbound_ids": (), "flow_known": True, "up_bytes": 0, "down_bytes": 0, "raw": None}
"""Fields that the panel's object does not hold: their alias is no key of any panel."""

_RECORD = _client_schema(
    _field("email", _TEXT, "email", default=""),
    _field("uuid", _TEXT, "uuid", default=""),
    # `null` when attached nowhere.
    _field("inbound_ids", _IDS, "inboundIds", default=()),
    _field("expiry_ms", _NUMBER, ["traffic", "expiryTime"], "expiryTime", default=0),
    _field("total_bytes", _NUMBER, ["traffic", "total"], "totalGB", default=0),
    _field("up_bytes", _NUMBER, ["traffic", "up"], default=0),
    _field("down_bytes", _NUMBER, ["traffic", "down"], default=0),
    _field("raw", _FLAG, ["traffic", "enable"], default=True),
)

_ENTRY = cs.with_default_schema(
    _client_schema(
        _field("email", _TEXT, "email", default=NAMELESS),
        _field("uuid", _TEXT, "id", default=""),
        _field("expiry_ms", _NUMBER, "expiryTime", default=0),
        _field("total_bytes", _NUMBER, "totalGB", default=0),
    ),
    # Something in the list that is no object: kept, so that positions stay true.
    default_factory=lambda: ObservedClient(email=NAMELESS, inbound_ids=()),
    on_error="default",
)


class _As:
    """Tells pydantic which schema to use for an annotated type."""

    def __init__(self, schema: CoreSchema) -> None:
        self._schema = schema

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return self._schema


Record = Annotated[ObservedClient, _As(_RECORD)]
"""A client as `clients/list` returns it (3.1.0+); to be completed by `finish_records`."""
Entry = Annotated[ObservedClient, _As(_ENTRY)]
"""A client as an inbound's settings hold it (up to 3.0.2); to be completed by `finish_entries`."""
