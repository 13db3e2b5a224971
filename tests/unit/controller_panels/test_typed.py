"""Two ways of reading a list of clients: the quick one says what the careful one says, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.observed import ObservedClient
from controller.panels.wire.clients import clients_of_records
from controller.panels.wire.inbounds import NestedInbound
from controller.panels.wire.typed import read_inbounds, read_records, read_slim_inbounds

texts = st.text(max_size=6)
numbers = st.integers(-(2**40), 2**40)
rows = st.fixed_dictionaries(
    {"enable": st.booleans()},
    optional={
        "id": numbers,
        "email": texts,
        "up": numbers,
        "down": numbers,
        "total": numbers,
        "expiryTime": numbers,
    },
)
odd = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.floats(allow_nan=False, allow_infinity=False),
    st.just({}),
)
records = st.fixed_dictionaries(
    {"email": texts},
    optional={
        "uuid": texts,
        "subId": texts,
        "password": texts,
        "auth": texts,
        "flow": texts,
        "limitIp": numbers,
        "tgId": st.one_of(numbers, texts),
        "reset": numbers,
        "comment": texts,
        "group": texts,
        "enable": st.booleans(),
        "expiryTime": numbers,
        "totalGB": numbers,
        "inboundIds": st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=4)),
        "traffic": st.one_of(st.none(), rows),
        "later": odd,
    },
)
fields = st.sampled_from(
    ["email", "uuid", "limitIp", "tgId", "enable", "inboundIds", "traffic", "up"]
)


def body_of(listed: object) -> bytes:
    return json.dumps({"success": True, "msg": "", "obj": listed}).encode()


@given(st.lists(records, max_size=4))
def test_records_are_read_alike(listed: list[dict[str, Any]]) -> None:
    read = read_records(body_of(listed))

    assert read is not None
    careful = clients_of_records(listed)
    assert careful == read
    assert [c.traffic_row for c in careful] == [c.traffic_row for c in read]
    assert [dict(c.raw) for c in careful] == [dict(c.raw) for c in read]


@given(records, fields, odd)
def test_an_odd_record_is_read_alike_or_left_to_the_careful_way(
    record: dict[str, Any], field: str, value: object
) -> None:
    listed = [{**record, field: value}]

    read = read_records(body_of(listed))

    assert read is None or clients_of_records(listed) == read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"success": true, "obj": nu',
        b'{"success": true, "obj": null}',
        b'{"success": true, "obj": [1]}',
        b'{"success": false, "obj": []}',
        b'{"success": true, "obj": [{"email": "a", "traffic": {}}]}',
    ],
)
def test_what_is_no_list_of_clients_is_left_to_the_careful_way(body: bytes) -> None:
    assert read_records(body) is None


def test_twins_with_one_text_are_both_seen() -> None:
    read = read_records(body_of([{"email": "a"}, {"email": "a"}]))

    assert read is not None
    assert ["a", "a"] == [client.email for client in read]


@given(
    settings=st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {"clients": st.one_of(st.none(), st.lists(st.dictionaries(st.just("email"), texts)))},
            optional={"method": texts, "version": numbers},
        ),
    ),
    stream=st.one_of(st.none(), st.just({"network": "tcp", "security": "reality"})),
    protocol=st.sampled_from(["vless", "shadowsocks", "hysteria", "wireguard"]),
)
def test_slim_inbounds_are_read_alike(settings: object, stream: object, protocol: str) -> None:
    listed = {"id": 3, "protocol": protocol, "port": 1, "tag": "t", "enable": True,
              "settings": settings, "streamSettings": stream}  # fmt: skip

    read = read_slim_inbounds(body_of([listed]))

    careful = NestedInbound.model_validate(listed).slim()
    assert read is not None
    assert (careful.observe(), careful.emails, careful.can_carry_flow()) == (
        read[0].observe(), read[0].emails, read[0].can_carry_flow(),
    )  # fmt: skip


@pytest.mark.parametrize("settings", ['""', '"{}"', "7", '{"clients": [{"email": null}]}'])
def test_odd_settings_of_an_inbound_are_left_to_the_careful_way(settings: str) -> None:
    body = f'{{"success": true, "obj": [{{"id": 1, "settings": {settings}}}]}}'.encode()

    assert read_slim_inbounds(body) is None


def test_entries_take_the_row_of_their_email_wherever_it_is_listed() -> None:
    entries = [{"email": "a", "id": "u", "enable": True}, {"id": "v", "enable": True}]
    listed = [
        {"id": 1, "settings": json.dumps({"clients": entries, "method": "m"}), "clientStats": None},
        {"id": 2, "settings": '{"clients": null}',
         "clientStats": [{"email": "a", "enable": False, "up": 5, "total": 7, "expiryTime": 9}]},
    ]  # fmt: skip

    read = read_inbounds(body_of(listed))

    assert read is not None
    assert {"method": "m"} == read[0].settings
    assert (1,) == read[0].nameless
    assert read[0].clients[0] == ObservedClient(
        email="a", inbound_ids=(1,), uuid="u", enable=False, up_bytes=5, total_bytes=7, expiry_ms=9,
    )  # type: ignore[arg-type]  # fmt: skip
    assert entries[0] == dict(read[0].clients[0].raw)
    assert [] == read[1].clients


@pytest.mark.parametrize("settings", ["", "broken", "[]", '{"clients": {}}', '{"clients": [1]}'])
def test_settings_that_cannot_be_read_are_left_to_the_careful_way(settings: str) -> None:
    assert read_inbounds(body_of([{"id": 1, "settings": settings}])) is None
