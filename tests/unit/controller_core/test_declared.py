"""Declared inbounds against a look: which is which, what is asked for, what is in the way."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.binding import add_declared, choose
from controller.core.declared import RETRY_AFTER, Standing, Step, digest_of, stand
from controller.core.desired import BoundInbound, DeclaredInbound, Desired, ManagedInbound
from controller.core.features import Version, features_of
from controller.core.inbound_facts import declared_document, differing, lay_over, seen_document
from controller.core.observed import ObservedInbound
from desired_state.model.ids import Epoch, InboundId, InboundName, NodeName, Revision
from desired_state.model.inbound import InboundDeletion, InboundSpec, InboundTls, Reality
from desired_state.model.node import Match, Mode
from tests.fakes.clock import START
from tests.fakes.store import OWNERSHIP

SPEC = InboundSpec(
    name=InboundName("front"),
    protocol="vless",
    port=443,
    tag="x3f-front",
    remark="x3f-front",
    reality=Reality("www.example.org:443", ("www.example.org",)),
)


def as_seen(spec: InboundSpec = SPEC, **changes: Any) -> ObservedInbound:
    """Make what a look shows once it is as declared."""
    document = declared_document(spec)
    values: dict[str, Any] = {
        "id": InboundId(7), "protocol": spec.protocol, "port": spec.port, "tag": spec.tag,
        "remark": spec.remark, "method": spec.method, "network": spec.network,
        "security": spec.security, "stream": json.dumps(document["streamSettings"]),
        "sniffing": json.dumps(document.get("sniffing", {})),
    }  # fmt: skip
    return ObservedInbound(**(values | changes))


ROW = ManagedInbound(
    SPEC.name, inbound_id=InboundId(7), protocol="vless", port=443, tag="x3f-front",
    remark="x3f-front",
)  # fmt: skip


def desired_with(
    *rows: ManagedInbound, spec: InboundSpec = SPEC, leaving: bool = False, **changes: Any
) -> Desired:
    values: dict[str, Any] = {"matches": (), "bound": ()}
    return Desired(
        NodeName("n"), Mode.ENFORCE, Revision(1), Epoch(1), OWNERSHIP,
        inbounds=(DeclaredInbound(spec, leaving),), managed=rows, **(values | changes),
    )  # fmt: skip


def standing(desired: Desired, *seen: ObservedInbound) -> Standing:
    [only] = stand(desired, seen, START)
    return only


def test_what_is_missing_is_created_and_what_is_as_declared_is_left_alone() -> None:
    assert Step.CREATE is standing(desired_with()).step
    assert Step.NONE is standing(desired_with(), as_seen()).step
    assert as_seen() == standing(desired_with(), as_seen()).seen


def test_an_inbound_whose_tag_the_panel_made_is_known_by_its_remark() -> None:
    mine, theirs = as_seen(tag="inbound-443"), as_seen(tag="inbound-443", remark="theirs")

    assert mine == standing(desired_with(), mine).seen
    assert (None, "InboundPortTaken") == (
        standing(desired_with(), theirs).seen, standing(desired_with(), theirs).reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{"protocol": "trojan"}, {"port": 444}, {"protocol": "vmess", "port": 444}]
)
def test_a_tag_alone_makes_nobody_elses_inbound_ours(changes: dict[str, Any]) -> None:
    found = standing(desired_with(), as_seen(**changes))

    assert (None, Step.NONE, "InboundTagTaken") == (found.seen, found.step, found.reason)


def test_a_recorded_id_is_followed_to_another_port_but_not_to_another_inbound() -> None:
    moved = as_seen(port=444, tag="inbound-444")
    reused = as_seen(port=9000, tag="in-9000-tcp", remark="theirs")

    assert moved == standing(desired_with(ROW), moved).seen
    assert ("port",) == standing(desired_with(ROW), moved).changes
    assert (None, Step.CREATE) == (
        standing(desired_with(ROW), reused).seen, standing(desired_with(ROW), reused).step,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("listens", "is_taken"),
    [
        ("", True),
        ("::", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("not-an-address", False),
    ],
)
def test_a_port_is_taken_only_where_both_listen(listens: str, is_taken: bool) -> None:
    spec = replace(SPEC, listen="192.0.2.7")
    other = as_seen(id=InboundId(9), tag="in-443-tcp", remark="theirs", listen=listens)

    assert is_taken is bool(standing(desired_with(spec=spec), other).reason)


def test_an_inbound_over_udp_is_not_in_the_way_of_one_over_tcp() -> None:
    other = as_seen(id=InboundId(9), tag="in-443-udp", remark="theirs", protocol="hysteria2")

    assert Step.CREATE is standing(desired_with(), other).step


def test_a_create_without_an_answer_is_awaited_and_then_tried_again() -> None:
    early = replace(ROW, inbound_id=None, sent_at=START - timedelta(seconds=59))
    late = replace(early, sent_at=START - timedelta(seconds=60))

    assert [Step.WAIT, Step.CREATE] == [
        standing(desired_with(early)).step, standing(desired_with(late)).step,
    ]  # fmt: skip


def test_what_the_panel_did_not_do_twice_is_tried_again_later_or_when_declared_anew() -> None:
    tried = replace(
        ROW, inbound_id=None, tried_at=START - timedelta(minutes=1), tried_digest=digest_of(SPEC)
    )
    long_ago = replace(tried, tried_at=START - RETRY_AFTER)
    anew = replace(SPEC, sniffing=())

    assert [Step.WAIT, Step.CREATE, Step.CREATE] == [
        standing(desired_with(tried)).step,
        standing(desired_with(long_ago)).step,
        standing(desired_with(tried, spec=anew)).step,
    ]


def test_another_shadowsocks_method_is_told_and_never_written() -> None:
    spec = replace(SPEC, protocol="shadowsocks", reality=None, method="2022-blake3-aes-256-gcm")
    held = as_seen(spec, method="2022-blake3-aes-128-gcm")

    found = standing(desired_with(spec=spec), held)

    assert (Step.NONE, "InboundMethod") == (found.step, found.reason)


def test_another_protocol_is_told_and_never_written() -> None:
    """Its clients log in with something else: neither the protocol nor anything beside it is changed."""
    spec = replace(SPEC, protocol="trojan", port=8443)

    found = standing(desired_with(ROW, spec=spec), as_seen())

    assert (Step.NONE, "InboundProtocol") == (found.step, found.reason)
    assert "is vless instead of trojan" in found.message


def test_another_network_is_written_over_what_the_panel_holds() -> None:
    spec = replace(SPEC, network="xhttp", path="/x")

    found = standing(desired_with(ROW, spec=spec), as_seen())

    assert Step.UPDATE is found.step
    assert "streamSettings.network" in found.changes


@pytest.mark.parametrize(
    ("policy", "step"), [(InboundDeletion.KEEP, Step.NONE), (InboundDeletion.DELETE, Step.DELETE)]
)
def test_only_what_was_declared_so_is_deleted(policy: InboundDeletion, step: Step) -> None:
    spec = replace(SPEC, deletion_policy=policy)
    desired = desired_with(ROW, spec=spec, leaving=True)

    assert step is standing(desired, as_seen(remark="edited by hand")).step


# -- what is compared and what is written ----------------------------------------------------------


def test_only_what_is_declared_is_compared() -> None:
    held = seen_document(as_seen())
    stream = {**held["streamSettings"], "sockopt": {"mark": 1}}
    held = {**held, "streamSettings": stream, "total": 5}

    assert () == differing(declared_document(SPEC), held)


def test_differences_are_named_by_their_place_and_either_name_of_the_target_counts() -> None:
    other = replace(SPEC, port=444, reality=Reality("www.example.net:443", ("a.example",)))
    old_page = {"dest": "www.example.net:443", "serverNames": ["a.example"]}
    held = {
        "network": "tcp", "security": "reality",
        "realitySettings": {**old_page, "settings": {"fingerprint": "chrome"}},
    }  # fmt: skip

    assert (
        "port",
        "streamSettings.realitySettings.serverNames",
        "streamSettings.realitySettings.target",
    ) == differing(declared_document(other), seen_document(as_seen()))
    assert ("port",) == differing(
        declared_document(other), seen_document(as_seen(stream=json.dumps(held)))
    )


@pytest.mark.parametrize("broken", ["{", "\x00", "[" * 100_000, "[]", "null"])
def test_sniffing_that_is_no_json_is_written_anew_where_it_is_declared_and_left_alone_elsewhere(
    broken: str,
) -> None:
    held, spec = as_seen(sniffing=broken), replace(SPEC, sniffing=("http",))

    assert Step.NONE is standing(desired_with(), held).step
    assert Step.UPDATE is standing(desired_with(spec=spec), held).step


def test_laying_over_keeps_what_was_not_declared() -> None:
    tls = InboundTls("/etc/ssl/a.pem", "/etc/ssl/a.key", alpn=("h2",))
    spec = replace(SPEC, reality=None, certificate=tls)
    held = {
        "streamSettings": {
            "tlsSettings": {"certificates": [{"certificateFile": "/old", "ocspStapling": 60}]},
            "realitySettings": {"privateKey": "k"},
        }
    }

    laid = lay_over(declared_document(spec), held)

    [certificate] = laid["streamSettings"]["tlsSettings"]["certificates"]
    assert {
        "certificateFile": "/etc/ssl/a.pem", "keyFile": "/etc/ssl/a.key", "ocspStapling": 60,
    } == certificate  # fmt: skip
    assert {"privateKey": "k"} == laid["streamSettings"]["realitySettings"]


# -- the binding -----------------------------------------------------------------------------------


def test_a_declared_inbound_is_bound_whatever_the_node_matches() -> None:
    desired = desired_with(ROW, matches=(Match(port=8443),))
    other = as_seen(id=InboundId(1), port=8443, tag="in-8443-tcp", remark="theirs")

    bound = choose(desired, (other, as_seen()))

    assert [(1, 8443), (7, 443)] == [(b.id, b.port) for b in bound]


def test_what_is_to_go_is_matched_no_more_and_what_was_made_anew_takes_its_place() -> None:
    spec = replace(SPEC, deletion_policy=InboundDeletion.DELETE)
    old = BoundInbound(InboundId(5), "vless", 443, "x3f-front")

    assert () == choose(desired_with(ROW, spec=spec, leaving=True), (as_seen(),))
    assert [7] == [b.id for b in add_declared(desired_with(ROW), (old,), (as_seen(),))]


HYSTERIA = InboundSpec(
    InboundName("quick"), "hysteria2", 443, "x3f-quick", "x3f-quick", network="hysteria",
    certificate=InboundTls("/cert.pem", "/key.pem", alpn=("h3",)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "expected"),
    [((2, 9, 2), (Step.NONE, "InboundUnsupported")), ((2, 9, 3), (Step.CREATE, ""))],
)
def test_no_panel_is_asked_for_a_protocol_that_it_does_not_know(
    version: Version, expected: tuple[Step, str]
) -> None:
    (found,) = stand(desired_with(spec=HYSTERIA), [], START, features_of(version))

    assert expected == (found.step, found.reason)


def test_an_inbound_that_is_to_listen_over_udp_is_in_the_way_of_none_over_tcp() -> None:
    """But of shadowsocks, which takes both."""
    over_tcp = as_seen(tag="web", remark="theirs")
    over_both = replace(over_tcp, protocol="shadowsocks", method="aes-256-gcm")

    free, taken = (standing(desired_with(spec=HYSTERIA), one) for one in (over_tcp, over_both))

    assert (Step.CREATE, "InboundPortTaken") == (free.step, taken.reason)
