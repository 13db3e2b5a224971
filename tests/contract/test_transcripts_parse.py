"""What real panels answered is read as what it says: the recorded lists, status and bulk answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from controller.core.effects import ClientRecord, MemberVerdict, Verb, Write
from controller.core.features import features_of, parse_version
from controller.core.observed import ObservedClient, XrayState
from controller.panels.api.envelope import Answer
from controller.panels.dialects import v2, v3
from controller.panels.dialects.dialect import Sight
from desired_state.model.ids import Email, InboundId, NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls

TRANSCRIPTS = Path(__file__).parent / "transcripts"
OLD = ("2.3.15", "2.8.11", "2.9.4", "3.0.2")
NEW = ("3.1.0", "3.2.8", "3.6.0")
LIST, SLIM, CLIENTS = (
    "/panel/api/inbounds/list",
    "/panel/api/inbounds/list/slim",
    "/panel/api/clients/list",
)
TARGET = NodeTarget(NodeName("n"), "http://127.0.0.1/", Credentials(), Tls(), Mode.ENFORCE)


def exchanges(version: str, scenario: str) -> list[dict[str, Any]]:
    found = json.loads((TRANSCRIPTS / version / f"{scenario}.json").read_text())["exchanges"]
    return [one for one in found if "response" in one]


def answers(version: str, scenario: str, path: str) -> list[Answer]:
    """The JSON answers that a GET of this path got, in the recorded order."""
    return [
        answer(path, one["response"]["body"]["json"])
        for one in exchanges(version, scenario)
        if one["request"]["path"] == path
        and one["request"]["method"] == "GET"
        and "json" in (one["response"]["body"] or {})
    ]


def answer(path: str, body: object) -> Answer:
    return Answer(NodeName("n"), "GET", path, 200, json.dumps(body).encode())


def see(version: str, scenario: str) -> Sight:
    """The last lists of a scenario. Full inbounds stand in for slim ones, which they contain."""
    number = parse_version(version)
    assert number is not None
    inbounds = answers(version, scenario, LIST)[-1]
    if version in OLD:
        return v2._see(inbounds)
    status = answers(version, "session", "/panel/api/server/status")[-1]
    nobody = answer(CLIENTS, {"success": True, "msg": "", "obj": []})
    clients = (answers(version, scenario, CLIENTS) or [nobody])[-1]
    return v3._see(features_of(number), (status, inbounds, clients))


def raw_clients(version: str, scenario: str) -> list[dict[str, Any]]:
    """The same clients as the recording has them."""
    if version in NEW:
        listed: list[dict[str, Any]] = json.loads(answers(version, scenario, CLIENTS)[-1].body)[
            "obj"
        ]
        return listed
    inbounds = json.loads(answers(version, scenario, LIST)[-1].body)["obj"]
    return [c for i in inbounds for c in json.loads(i["settings"]).get("clients") or []]


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_every_recorded_client_is_seen_with_its_own_object(version: str) -> None:
    recorded = raw_clients(version, "clients")

    seen = [dict(client.raw) for client in see(version, "clients").clients]

    def by_text(one: dict[str, Any]) -> str:
        return json.dumps(one, sort_keys=True)

    assert sorted(recorded, key=by_text) == sorted(seen, key=by_text)
    assert recorded


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_the_fields_of_a_recorded_client_are_told_apart(version: str) -> None:
    """One on VLESS over HTTP upgrade, without limits, that lives to the end of the recording."""
    client = _one(see(version, "clients"), "l31")

    expected = ObservedClient(
        email="l31",
        inbound_ids=(InboundId(9),),
        sub_id="sub0000000000031",
        uuid="00000000-0000-4000-8000-000000000031",
        enable=True,
    )
    assert expected == client


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_limits_of_a_recorded_client_are_told_apart(version: str) -> None:
    seen = [client for sight in every_look(version) for client in sight.clients]
    limited = next(client for client in seen if client.email == "a1" and client.total_bytes)

    assert (10_737_418_240, 4_102_444_800_000, 2) == (
        limited.total_bytes,
        limited.expiry_ms,
        limited.limit_ip,
    )
    assert "xtls-rprx-vision" == limited.flow


@pytest.mark.parametrize(
    ("version", "served"),
    [("2.3.15", False), ("2.8.11", False), ("2.9.4", False), ("3.0.2", True), ("3.1.0", True),
     ("3.2.8", True), ("3.6.0", False)],
)  # fmt: skip
def test_an_expired_client_is_seen_as_the_panel_serves_it(version: str, *, served: bool) -> None:
    """Up to 2.8.11 only its row says that it is cut; some versions cut nobody without Xray."""
    expired = [_one(sight, "past") for sight in every_look(version)[1:2]]

    assert [served] == [client.enable for client in expired]
    assert [1_600_000_000_000] == [client.expiry_ms for client in expired]


def every_look(version: str) -> list[Sight]:
    if version in OLD:
        return [v2._see(listed) for listed in answers(version, "clients", LIST)]
    number = parse_version(version)
    assert number is not None
    status = answers(version, "session", "/panel/api/server/status")[-1]
    nothing = answer(LIST, {"success": True, "msg": "", "obj": []})
    listed = answers(version, "clients", CLIENTS)
    return [v3._see(features_of(number), (status, nothing, one)) for one in listed]


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_recorded_inbounds_are_told_apart(version: str) -> None:
    seen = {inbound.remark: inbound for inbound in see(version, "inbounds").inbounds}

    kinds = {
        name: (one.protocol, one.network, one.security, one.method, one.password_bytes)
        for name, one in seen.items()
    }
    expected = {
        "vless-reality": ("vless", "tcp", "reality", "", None),
        "vless-ws-tls": ("vless", "ws", "tls", "", None),
        "vmess-tcp": ("vmess", "tcp", "none", "", None),
        "trojan-grpc": ("trojan", "grpc", "tls", "", None),
        "ss-legacy": ("shadowsocks", "tcp", "none", "aes-256-gcm", None),
        "ss-2022-128": ("shadowsocks", "tcp", "none", "2022-blake3-aes-128-gcm", 16),
        "ss-2022-256": ("shadowsocks", "tcp", "none", "2022-blake3-aes-256-gcm", 32),
        "trojan-tcp": ("trojan", "tcp", "tls", "", None),
    }
    if version not in ("2.3.15", "2.8.11"):
        expected["hysteria2"] = ("hysteria2", "hysteria", "tls", "", None)
    assert expected == {name: kinds[name] for name in expected}
    assert all(seen[name].carries_clients for name in expected)
    assert not any("00000000-0000-4000" in one.settings for one in seen.values())


@pytest.mark.parametrize("version", ["2.3.15", "2.8.11", "2.9.4", "3.0.2"])
def test_the_client_without_an_email_is_found(version: str) -> None:
    """As the panel listed it while it refused every create."""
    places = [
        (inbound.id, at)
        for listed in answers(version, "client-without-email", LIST)
        for inbound in v2._see(listed).inbounds
        for at in inbound.nameless_clients
    ]

    assert bool(places) is (version != "3.0.2")


@pytest.mark.parametrize("version", NEW)
def test_the_slim_list_is_enough(version: str) -> None:
    full = see(version, "inbounds")
    status = answers(version, "session", "/panel/api/server/status")[-1]
    slim = answers(version, "inbounds", SLIM)[-1]
    nobody = answer(CLIENTS, {"success": True, "msg": "", "obj": []})
    number = parse_version(version)
    assert number is not None

    sight = v3._see(features_of(number), (status, slim, nobody))

    assert full.inbounds == sight.inbounds
    assert (version, XrayState.ERROR) == (sight.version, sight.xray)
    assert (sight.guid is not None) is (version == "3.6.0")
    assert 12 <= len(sight.inbounds)


def _one(sight: Sight, email: str) -> ObservedClient:
    return next(client for client in sight.clients if client.email == email)


# -- bulk answers ----------------------------------------------------------------------------------


def write_of(verb: Verb, *emails: str) -> Write:
    members = tuple(ClientRecord(Email(email), (InboundId(1),)) for email in emails)
    return Write(TARGET, verb, members)


@pytest.mark.parametrize("version", ["3.2.8", "3.6.0"])
@pytest.mark.parametrize(
    ("step", "verb", "emails", "expected"),
    [
        (
            "bulkCreate: three, one taken, one without inbound, one doubled",
            Verb.CREATE,
            ("b1", "b2", "b3", "a1"),
            {
                "b2": (MemberVerdict.SKIPPED, "at least one inbound is required"),
                "b3": (MemberVerdict.SKIPPED, "email already in use: b3"),
                "a1": (MemberVerdict.SKIPPED, "email already in use: a1"),
            },
        ),
        (
            "bulkCreate: one differs only in case from a present one",
            Verb.CREATE,
            ("b5", "b6"),
            {"b5": (MemberVerdict.SKIPPED, "Duplicate email: B1")},
        ),
        ("bulkCreate: the same again", Verb.CREATE, ("b1", "b4"), {}),
        (
            "bulkDel",
            Verb.DELETE,
            ("b1", "b3", "nobody"),
            {"nobody": (MemberVerdict.ABSENT, "client not found")},
        ),
        (
            "bulkAttach",
            Verb.ATTACH,
            ("b1", "nobody"),
            {"nobody": (MemberVerdict.ABSENT, "record not found")},
        ),
        ("bulkDetach", Verb.DETACH, ("b1", "b3"), {}),
    ],
)
def test_recorded_bulk_answers_are_told_member_by_member(
    version: str,
    step: str,
    verb: Verb,
    emails: tuple[str, ...],
    expected: dict[str, tuple[MemberVerdict, str]],
) -> None:
    body = next(
        e["response"]["body"]["json"] for e in exchanges(version, "clients") if e["step"] == step
    )

    members = v3.DialectV3().members(write_of(verb, *emails), json.dumps(body).encode())

    assert expected == {m.email: (m.verdict, m.reason) for m in members}


def test_switching_off_who_is_not_there_is_told() -> None:
    step = "bulkDisable"
    body = next(
        e["response"]["body"]["json"] for e in exchanges("3.6.0", "clients") if e["step"] == step
    )

    members = v3.DialectV3().members(
        write_of(Verb.DISABLE, "b1", "b3", "nobody"), json.dumps(body).encode()
    )

    assert [("nobody", MemberVerdict.ABSENT)] == [(m.email, m.verdict) for m in members]


@pytest.mark.parametrize(
    ("version", "step", "expected"),
    [
        ("2.8.11", "delete by email again", MemberVerdict.ABSENT),
        ("2.9.4", "delete by email again", MemberVerdict.ABSENT),
        ("2.9.4", "delete the last by email", None),
        ("2.9.4", "delete from an unknown inbound", None),
        ("3.1.0", "delete again", MemberVerdict.ABSENT),
        ("3.6.0", "delete again", MemberVerdict.ABSENT),
        ("3.6.0", "delete in another case", MemberVerdict.ABSENT),
    ],
)
def test_a_recorded_refusal_of_a_delete_hints_at_absence(
    version: str, step: str, expected: MemberVerdict | None
) -> None:
    cause = next(
        e["response"]["body"]["json"]["msg"]
        for e in exchanges(version, "clients")
        if e["step"] == step
    )
    dialect = v2.DialectV2() if version in OLD else v3.DialectV3()

    members = dialect.refused(write_of(Verb.DELETE, "a"), " ".join(cause.split()))

    assert ([] if expected is None else [expected]) == [member.verdict for member in members]
