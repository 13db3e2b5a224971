"""The panel's client objects as values: missing, odd and broken fields included."""

import pytest

from controller.core.observed import ObservedClient
from controller.panels.wire.clients import (
    TrafficRow,
    clients_of_entries,
    clients_of_records,
    set_flow_known,
)
from desired_state.model.ids import InboundId

ENTRY = {
    "email": "a",
    "id": "u",
    "subId": "s",
    "flow": "f",
    "enable": True,
    "expiryTime": 9,
    "totalGB": 8,
    "limitIp": 7,
    "tgId": 6,
    "reset": 5,
    "comment": "c",
    "group": "g",
    "password": "p",
    "auth": "h",
}
CLIENT = ObservedClient(
    email="a",
    inbound_ids=(InboundId(1),),
    sub_id="s",
    uuid="u",
    password="p",
    auth="h",
    flow="f",
    expiry_ms=9,
    total_bytes=8,
    limit_ip=7,
    tg_id=6,
    reset=5,
    comment="c",
    group="g",
)


def of_entry(entry: object, row: TrafficRow | None = None) -> ObservedClient:
    rows = {} if row is None else {row["email"]: row}
    return clients_of_entries([entry], InboundId(1), rows)[0][0]


def of_record(record: object) -> ObservedClient:
    return clients_of_records([record])[0]


def test_every_field_of_an_entry_has_its_place() -> None:
    client = of_entry(ENTRY)

    assert CLIENT == client
    assert client.raw is ENTRY


def test_every_field_of_a_record_has_its_place() -> None:
    record = {k: v for k, v in ENTRY.items() if k != "id"}

    assert CLIENT == of_record(record | {"id": 12, "uuid": "u", "inboundIds": [1]})


def test_the_value_is_like_any_other() -> None:
    """It is made around its initialiser, and still equal, hashable, shown and frozen."""
    client = of_entry(ENTRY)

    assert hash(CLIENT) == hash(client)
    assert repr(CLIENT) == repr(client)
    with pytest.raises(AttributeError):
        client.email = "b"  # type: ignore[misc]


def test_missing_fields_read_as_zero() -> None:
    """As the panel reads them: a client without `enable` is switched off."""
    expected = ObservedClient(email="a", inbound_ids=(InboundId(1),), enable=False)

    assert expected == of_entry({"email": "a"})


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("tgId", "777", "tg_id", 777),
        ("tgId", "", "tg_id", 0),
        ("totalGB", 5.0, "total_bytes", 5),
        ("totalGB", float("inf"), "total_bytes", 0),
        ("limitIp", None, "limit_ip", 0),
        ("limitIp", [1], "limit_ip", 0),
        ("limitIp", True, "limit_ip", 0),
        ("subId", None, "sub_id", ""),
        ("subId", 5, "sub_id", ""),
        ("enable", "true", "enable", False),
        ("enable", 1, "enable", False),
    ],
)
def test_a_field_of_a_wrong_type_reads_as_what_it_can(
    field: str, value: object, name: str, expected: object
) -> None:
    assert expected == getattr(of_entry(ENTRY | {field: value}), name)


def test_the_row_is_what_the_panel_enforces() -> None:
    row = TrafficRow(email="a", enable=False, up=1, down=2, total=3, expiryTime=4)

    client = of_entry(ENTRY, row)

    assert (False, 1, 2, 3, 4) == (
        client.enable,
        client.up_bytes,
        client.down_bytes,
        client.total_bytes,
        client.expiry_ms,
    )


def test_rows_are_found_by_the_exact_email() -> None:
    row = TrafficRow(email="A", enable=False, up=1)

    client = of_entry(ENTRY, row)

    assert (True, 0) == (client.enable, client.up_bytes)


def test_some_have_rows_and_some_have_none() -> None:
    rows = {"a": TrafficRow(email="a", up=1, total=3)}
    both = [ENTRY, ENTRY | {"email": "b"}]

    clients, _ = clients_of_entries(both, InboundId(1), rows)

    assert [(1, 3), (0, 8)] == [(c.up_bytes, c.total_bytes) for c in clients]


@pytest.mark.parametrize("traffic", [None, "none", 5, [], {}])
def test_a_record_without_a_row_has_its_own_limits(traffic: object) -> None:
    client = of_record(ENTRY | {"uuid": "u", "inboundIds": [1], "traffic": traffic})

    assert CLIENT == client


@pytest.mark.parametrize(
    ("ids", "expected"),
    [(None, ()), ([], ()), ([2, 1], (1, 2)), (["1"], ()), ("1", ()), ([{}], ())],
)
def test_attachments_are_sorted_and_whole_numbers(ids: object, expected: tuple[int, ...]) -> None:
    assert expected == of_record({"email": "a", "inboundIds": ids}).inbound_ids


def test_positions_of_nameless_entries_are_kept() -> None:
    """Null is as bad as missing; an empty email does no harm; what is no object has no email."""
    entries = [ENTRY, {"id": "u"}, {"email": ""}, {"email": None}, "nonsense", ENTRY]

    clients, nameless = clients_of_entries(entries, InboundId(1), {})

    assert (1, 3, 4) == nameless
    assert ["a", "", "", "", "", "a"] == [client.email for client in clients]


def test_nothing_makes_nothing() -> None:
    assert ([], ()) == clients_of_entries((), InboundId(1), {})
    assert [] == clients_of_records([])


def test_doubt_about_flows_is_noted() -> None:
    clients = clients_of_records([{"email": "a"}, {"email": "b"}])

    set_flow_known(clients, [True, False])

    assert [True, False] == [client.flow_known for client in clients]
