"""Which one call a write is, by version; and which calls are in no dialect at all."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import controller.panels
from controller.core.effects import (
    ClientRecord,
    MemberVerdict,
    ObservedRecord,
    Verb,
    Write,
)
from controller.core.features import features_of, parse_version
from controller.panels.dialects.choose import dialect_of
from controller.panels.dialects.dialect import Call, Impossible, SharedKeys
from controller.panels.dialects.v2 import DialectV2
from controller.panels.dialects.v3 import DialectV3
from desired_state.model.ids import Email, InboundId, NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls

TARGET = NodeTarget(NodeName("n"), "http://127.0.0.1/", Credentials(), Tls(), Mode.ENFORCE)
HELD = ObservedRecord("Mine@x", "uuid-0", "pass-0", "auth-0", {"email": "Mine@x"})
MEMBER = ClientRecord(
    Email("mine@x"), (InboundId(4),), uuid="uuid-1", password="pass-1", auth="auth-1"
)


def call(
    version: str,
    verb: Verb,
    *members: ClientRecord,
    inbound: int | None = 4,
    shared: SharedKeys = frozenset(),
) -> Call | Impossible:
    number = parse_version(version)
    assert number is not None
    features = features_of(number)
    write = Write(TARGET, verb, members, None if inbound is None else InboundId(inbound))
    return dialect_of(features).call(write, features, shared)


def path(version: str, verb: Verb, *members: ClientRecord, inbound: int | None = 4) -> str:
    found = call(version, verb, *members, inbound=inbound)
    assert isinstance(found, Call), found
    return found.path


@pytest.mark.parametrize("version", ["2.3.15", "2.8.11", "3.0.2"])
@pytest.mark.parametrize(
    ("protocol", "key"),
    [
        ("vless", "uuid-0"),
        ("vmess", "uuid-0"),
        ("trojan", "pass-0"),
        ("shadowsocks", "Mine@x"),
        ("hysteria2", "auth-0"),
    ],
)
def test_up_to_3_0_2_an_update_names_the_credential_that_the_panel_holds(
    version: str, protocol: str, key: str
) -> None:
    member = replace(MEMBER, protocol=protocol, current=HELD)

    assert f"panel/api/inbounds/updateClient/{key}" == path(version, Verb.UPDATE, member)


@pytest.mark.parametrize(
    ("version", "protocol", "expected"),
    [
        ("2.3.15", "vless", "4/delClient/uuid-0"),
        ("2.7.0", "trojan", "4/delClient/pass-0"),
        ("2.7.0", "shadowsocks", "4/delClient/Mine@x"),
        ("2.8.0", "trojan", "4/delClientByEmail/Mine@x"),
        ("3.0.2", "hysteria2", "4/delClientByEmail/Mine@x"),
    ],
)
def test_up_to_3_0_2_a_delete_names_email_or_credential(
    version: str, protocol: str, expected: str
) -> None:
    member = replace(MEMBER, protocol=protocol, current=HELD)

    assert f"panel/api/inbounds/{expected}" == path(version, Verb.DELETE, member)


def test_what_stands_in_a_path_is_escaped() -> None:
    held = replace(HELD, password="a+b=c?d#e%f g")
    member = replace(MEMBER, protocol="trojan", current=held)

    found = path("2.7.0", Verb.DELETE, member)

    assert "panel/api/inbounds/4/delClient/a+b%3Dc%3Fd%23e%25f%20g" == found


def test_the_inbound_of_a_single_client_may_be_left_to_the_client() -> None:
    assert "/4/" in path("3.0.2", Verb.DELETE, MEMBER, inbound=None)


@pytest.mark.parametrize(
    ("verb", "member", "inbound"),
    [
        (Verb.UPDATE, MEMBER, 4),
        (Verb.UPDATE, replace(MEMBER, current=replace(HELD, uuid="")), 4),
        (
            Verb.UPDATE,
            replace(MEMBER, inbound_ids=(InboundId(1), InboundId(2)), current=HELD),
            None,
        ),
        (Verb.DELETE, replace(MEMBER, inbound_ids=()), None),
    ],
    ids=["never seen", "no credential", "which inbound", "no inbound"],
)
def test_what_cannot_be_addressed_is_no_call(
    verb: Verb, member: ClientRecord, inbound: int | None
) -> None:
    assert isinstance(call("2.9.4", verb, member, inbound=inbound), Impossible)


def test_a_shared_credential_is_named_in_no_call() -> None:
    shared = frozenset({(InboundId(4), "uuid-0")})
    member = replace(MEMBER, current=HELD)

    assert isinstance(call("2.7.0", Verb.DELETE, member, shared=shared), Impossible)
    assert isinstance(call("3.0.2", Verb.UPDATE, member, shared=shared), Impossible)
    assert isinstance(call("3.0.2", Verb.DELETE, member, shared=shared), Call)
    elsewhere = frozenset({(InboundId(5), "uuid-0")})
    assert isinstance(call("3.0.2", Verb.UPDATE, member, shared=elsewhere), Call)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        (Verb.CREATE, "add"),
        (Verb.DELETE, "del/Mine@x"),
        (Verb.UPDATE, "update/Mine@x"),
        (Verb.ENABLE, "update/Mine@x"),
        (Verb.DISABLE, "update/Mine@x"),
        (Verb.ATTACH, "Mine@x/attach"),
        (Verb.DETACH, "Mine@x/detach"),
    ],
)
@pytest.mark.parametrize("version", ["3.1.0", "3.6.0", "9.9.9"])
def test_from_3_1_0_one_member_has_a_path_of_its_own(
    version: str, verb: Verb, expected: str
) -> None:
    """In the panel's spelling of its email."""
    member = replace(MEMBER, current=HELD)

    assert f"panel/api/clients/{expected}" == path(version, verb, member, inbound=None)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.3.15", "server/restartXrayService"),
        ("2.6.8", "server/restartXrayService"),
        ("2.7.0", "panel/api/server/restartXrayService"),
        ("3.0.2", "panel/api/server/restartXrayService"),
        ("3.4.1", "panel/api/server/restartXrayService"),
    ],
)
def test_a_restart_of_xray_has_no_body_and_names_no_client(version: str, expected: str) -> None:
    assert Call(expected) == call(version, Verb.RESTART)


@pytest.mark.parametrize(
    ("verb", "expected", "body"),
    [
        (Verb.DELETE, "bulkDel", {"emails": ["Mine@x", "b"], "keepTraffic": False}),
        (Verb.ENABLE, "bulkEnable", {"emails": ["Mine@x", "b"]}),
        (Verb.DISABLE, "bulkDisable", {"emails": ["Mine@x", "b"]}),
        (Verb.ATTACH, "bulkAttach", {"emails": ["Mine@x", "b"], "inboundIds": [4]}),
        (Verb.DETACH, "bulkDetach", {"emails": ["Mine@x", "b"], "inboundIds": [4]}),
    ],
)
def test_many_members_share_one_call(verb: Verb, expected: str, body: dict[str, object]) -> None:
    members = replace(MEMBER, current=HELD), replace(MEMBER, email=Email("b"))

    assert Call(f"panel/api/clients/{expected}", body) == call("3.6.0", verb, *members)


def test_many_are_attached_only_at_the_same_inbounds() -> None:
    other = replace(MEMBER, email=Email("b"), inbound_ids=(InboundId(5),))

    assert isinstance(call("3.6.0", Verb.ATTACH, MEMBER, other), Impossible)


@pytest.mark.parametrize("email", ["", "a/b"])
def test_an_email_that_no_path_can_hold_is_no_call(email: str) -> None:
    member = replace(MEMBER, email=Email(email))

    assert isinstance(call("3.6.0", Verb.DELETE, MEMBER, member), Impossible)


# -- answers ---------------------------------------------------------------------------------------


def members_of(verb: Verb, body: bytes, *emails: str) -> dict[str, tuple[MemberVerdict, str]]:
    records = tuple(replace(MEMBER, email=Email(email)) for email in emails)
    found = DialectV3().members(Write(TARGET, verb, records), body)
    return {member.email: (member.verdict, member.reason) for member in found}


@pytest.mark.parametrize(
    ("verb", "obj", "expected"),
    [
        (Verb.DELETE, '{"deleted": 2}', {}),
        (Verb.DELETE, "null", {}),
        (Verb.DELETE, '{"skipped": null}', {}),
        (
            Verb.DELETE,
            '{"skipped": [{"email": "a", "reason": "Client Not Found In Inbound\\n"}]}',
            {"a": (MemberVerdict.SKIPPED, "Client Not Found In Inbound")},
        ),
        (
            Verb.CREATE,
            '{"skipped": [{"email": "A", "reason": "email already in use: A"}]}',
            {"a": (MemberVerdict.SKIPPED, "email already in use: A")},
        ),
        (
            Verb.CREATE,
            '{"skipped": [{"email": "nobody of ours", "reason": "client not found"}]}',
            {},
        ),
        (Verb.ATTACH, '{"attached": ["a", "b"], "skipped": null, "errors": null}', {}),
        (Verb.ATTACH, '{"attached": ["a"], "skipped": ["b"]}', {}),
        (
            Verb.ATTACH,
            '{"attached": ["a"], "errors": ["inbound 9: record not found"]}',
            {"b": (MemberVerdict.SKIPPED, "inbound 9: record not found")},
        ),
        (
            Verb.ATTACH,
            '{"errors": ["a: record not found", "b -> inbound 4: no key"]}',
            {
                "a": (MemberVerdict.ABSENT, "record not found"),
                "b": (MemberVerdict.SKIPPED, "no key"),
            },
        ),
    ],
)
def test_a_bulk_answer_names_those_that_it_left_out(
    verb: Verb, obj: str, expected: dict[str, tuple[MemberVerdict, str]]
) -> None:
    body = f'{{"success": true, "msg": "", "obj": {obj}}}'.encode()

    assert expected == members_of(verb, body, "a", "b")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"success": true, "obj": 5}', b"[]"])
def test_an_answer_of_another_shape_names_nobody(body: bytes) -> None:
    assert {} == members_of(Verb.DELETE, body, "a", "b")


def test_why_a_member_was_left_out_is_legible_and_without_its_secrets() -> None:
    body = rb"""{"success": true, "msg": "", "obj": {"skipped": [{"email": "mine@x",
        "reason": "\u001b[31mpass-1 and auth-1 of uuid-1\u009b"}]}}"""

    other = replace(MEMBER, email=Email("other@x"))
    (found,) = DialectV3().members(Write(TARGET, Verb.CREATE, (MEMBER, other)), body)

    assert r"\x1b[31m*** and *** of ***\x9b" == found.reason


def test_only_a_delete_is_told_that_its_client_is_absent() -> None:
    cause = "Something went wrong (record not found)"
    update = Write(TARGET, Verb.UPDATE, (MEMBER,))

    assert () == DialectV3().refused(update, cause)
    assert () == DialectV2().refused(update, "Client Not Found In Inbound For ID: x")
    assert () == DialectV2().members(update, b"{}")


# -- vocabulary ------------------------------------------------------------------------------------

FORBIDDEN = re.compile(
    r"delOrphans|delDepleted|delAllClients|resetAll|bulkReset|resetTraffic|groups/|inbounds/update/"
    r"|inbounds/del/|inbounds/add\b|bulkAdjust|copyClients|clients/import|importDB|/update/\{inbound"
)


UNRELIABLE = re.compile(
    r"getClientTraffics|clients/traffic|[rR]esetClientTraffic|inbounds/get/|[a-z]Links|clients/links"
)
"""Of one client: how panels tell that there is none changed five times, and resetting it crashes some."""


def named(paths: re.Pattern[str]) -> list[str]:
    """Say where in the files that talk to panels such a path stands."""
    home = Path(controller.panels.__file__).parent
    files = sorted(home.rglob("*.py"))
    assert {"v2.py", "v3.py"} <= {file.name for file in files}
    return [
        f"{file.name}: {match.group()}"
        for file in files
        for match in paths.finditer(file.read_text())
    ]


@pytest.mark.promise("S1")
def test_no_call_acts_on_clients_that_it_does_not_name() -> None:
    """Such endpoints are in no file that talks to panels, so no mistake can reach one."""
    assert [] == named(FORBIDDEN)


def test_nothing_is_asked_that_panels_answer_differently_by_version() -> None:
    """Absence is read from whole lists alone, and links are made from what the lists tell."""
    assert [] == named(UNRELIABLE)
    assert "v3.py: clients/list" in named(re.compile("clients/list"))


def test_every_verb_has_an_answer_in_every_family() -> None:
    for version in ("2.3.15", "3.0.0", "3.1.0", "3.6.0"):
        for verb in (v for v in Verb if not v.endswith("-inbound")):
            found = call(version, verb, replace(MEMBER, current=HELD))

            is_foreign = version < "3.1" and verb in (Verb.ATTACH, Verb.DETACH)
            assert isinstance(found, Impossible if is_foreign else Call)
