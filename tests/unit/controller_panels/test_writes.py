"""What is written to a client: the panel's names, what is managed, what is passed on."""

import pytest

from controller.core.effects import ClientRecord
from controller.panels.wire.writes import client, entry, updated_client, updated_entry
from desired_state.model.ids import Email, InboundId

RECORD = ClientRecord(
    email=Email("x3f-aaaaaaaaaa-g1"),
    inbound_ids=(InboundId(1),),
    sub_id="mark",
    uuid="uuid-1",
    password="password-1",
    auth="auth-1",
    flow="xtls-rprx-vision",
    expiry_ms=1_900_000_000_000,
    total_bytes=5,
    limit_ip=2,
    comment="note",
    group="fleet",
    method="aes-256-gcm",
    protocol="vless",
)
MANAGED = {
    "email": "x3f-aaaaaaaaaa-g1",
    "enable": True,
    "expiryTime": 1_900_000_000_000,
    "totalGB": 5,
    "limitIp": 2,
    "tgId": 0,
    "reset": 0,
    "subId": "mark",
}


def of(protocol: str, **changes: object) -> ClientRecord:
    values = {name: getattr(RECORD, name) for name in RECORD.__slots__}
    return ClientRecord(**(values | {"protocol": protocol} | changes))


@pytest.mark.parametrize(
    ("protocol", "own"),
    [
        ("vless", {"id": "uuid-1", "flow": "xtls-rprx-vision"}),
        ("vmess", {"id": "uuid-1", "security": "auto"}),
        ("trojan", {"password": "password-1"}),
        ("shadowsocks", {"password": "password-1", "method": "aes-256-gcm"}),
        ("hysteria2", {"auth": "auth-1"}),
        ("hysteria", {"auth": "auth-1"}),
    ],
)
def test_an_entry_holds_the_credential_of_its_protocol_alone(
    protocol: str, own: dict[str, object]
) -> None:
    expected = MANAGED | own | {"comment": "note"}

    assert expected == entry(of(protocol), has_comment=True)


def test_a_note_is_left_out_where_it_is_not_known() -> None:
    assert "comment" not in entry(RECORD, has_comment=False)
    assert "comment" not in updated_entry(RECORD, {}, has_comment=False)
    assert "group" not in client(RECORD, has_group=False)


def test_a_2022_cipher_is_not_repeated_in_a_client() -> None:
    record = of("shadowsocks", method="2022-blake3-aes-128-gcm")

    assert "" == entry(record, has_comment=True)["method"]


def test_an_updated_entry_keeps_what_is_not_ours() -> None:
    raw = {"id": "old", "email": "old", "hue": "blue", "created_at": 7, "comment": "by hand"}

    body = updated_entry(of("vless", comment=""), raw, has_comment=True)

    assert (
        MANAGED
        | {
            "id": "uuid-1",
            "flow": "xtls-rprx-vision",
            "hue": "blue",
            "created_at": 7,
            "comment": "by hand",
        }
        == body
    )


def test_an_updated_entry_keeps_a_credential_that_the_caller_does_not_know() -> None:
    raw = {"password": "held", "method": "aes-256-gcm"}

    body = updated_entry(of("shadowsocks", password="", method=""), raw, has_comment=True)

    assert ("held", "aes-256-gcm") == (body["password"], body["method"])


def test_a_new_client_has_the_credentials_of_every_protocol() -> None:
    expected = MANAGED | {
        "id": "uuid-1",
        "password": "password-1",
        "auth": "auth-1",
        "flow": "xtls-rprx-vision",
        "comment": "note",
        "group": "fleet",
    }

    assert expected == client(RECORD, has_group=True)


def test_a_record_is_put_into_the_words_of_a_write() -> None:
    """Another name for the credential, a list of addresses, nothing that is the panel's own."""
    raw = {
        "id": 12,
        "uuid": "old",
        "email": "x3f-aaaaaaaaaa-g1",
        "security": "auto",
        "privateKey": "key",
        "allowedIPs": "10.0.0.2/32, 10.0.0.3/32",
        "reverse": None,
        "limitHwid": 3,
        "comment": "by hand",
        "group": "theirs",
        "createdAt": 7,
        "updatedAt": 8,
        "inboundIds": [1],
        "traffic": {"up": 1},
    }

    body = updated_client(of("vless", comment="", group=""), raw, has_group=True)

    assert (
        MANAGED
        | {
            "id": "uuid-1",
            "password": "password-1",
            "auth": "auth-1",
            "flow": "xtls-rprx-vision",
            "security": "auto",
            "privateKey": "key",
            "allowedIPs": ["10.0.0.2/32", "10.0.0.3/32"],
            "reverse": None,
            "limitHwid": 3,
            "comment": "by hand",
            "group": "theirs",
            "created_at": 7,
        }
        == body
    )


def test_an_updated_client_keeps_the_credentials_that_the_caller_does_not_know() -> None:
    raw = {"uuid": "held", "password": "held too", "subId": "theirs"}

    body = updated_client(of("vless", uuid="", password="", sub_id=""), raw, has_group=False)

    assert ("held", "held too", "theirs") == (body["id"], body["password"], body["subId"])


@pytest.mark.parametrize("write", [entry, updated_entry, client, updated_client])
def test_no_client_is_ever_written_without_an_email(write: object) -> None:
    raw: tuple[object, ...] = ({},) if write in (updated_entry, updated_client) else ()
    names = {"has_comment" if write in (entry, updated_entry) else "has_group": True}

    assert RECORD.email == write(RECORD, *raw, **names)["email"]  # type: ignore[operator]
