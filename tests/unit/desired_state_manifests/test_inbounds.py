"""The kind Inbound: what a document may say, what several may not say together, and what it becomes."""

import pytest

from desired_state.model.inbound import InboundDeletion, InboundSpec, InboundTls, Reality
from tests.unit.desired_state_manifests.test_references import node

NODE = node("nl-1", url="https://nl-1.example.net:2053/")
TLS = "tls: {certificateFile: /c.pem, keyFile: /k.pem}"
REALITY = "{reality: {target: 'www.example.org:443', serverNames: [www.example.org]}}"


def inbound(
    name: str = "front",
    *,
    protocol: str = "vless",
    port: object = 443,
    stream: str = REALITY,
    more: str = "",
) -> str:
    return (
        f"apiVersion: x3fleet/v1\nkind: Inbound\nmetadata: {{name: {name}}}\nspec:\n"
        f"  protocol: {protocol}\n  port: {port}\n  stream: {stream}\n{more}---\n"
    )


def test_a_document_becomes_what_it_says_and_defaults(load) -> None:
    tls = "{network: ws, path: /in, tls: {certificateFile: /c.pem, keyFile: /k.pem, alpn: [h2]}}"
    more = (
        "  listen: 192.0.2.7\n  tag: my-tag\n  sniffing: {enabled: false}\n"
        "  deletionPolicy: Delete\n"
    )
    bundle = load(
        NODE + inbound() + inbound("ws", protocol="trojan", port=8443, stream=tls, more=more)
    )

    assert (
        InboundSpec(
            "front", "vless", 443, "x3f-front", "x3f-front",
            reality=Reality("www.example.org:443", ("www.example.org",)),
        ),
        InboundSpec(
            "ws", "trojan", 8443, "my-tag", "my-tag", listen="192.0.2.7", network="ws", path="/in",
            certificate=InboundTls("/c.pem", "/k.pem", alpn=("h2",)), sniffing=(),
            deletion_policy=InboundDeletion.DELETE,
        ),
    ) == bundle.inbounds  # fmt: skip


def test_hysteria_2_needs_nothing_but_a_certificate(load) -> None:
    bundle = load(NODE + inbound(protocol="hysteria2", stream=f"{{{TLS}}}"))

    assert (
        InboundSpec(
            "front", "hysteria2", 443, "x3f-front", "x3f-front", network="hysteria",
            certificate=InboundTls("/c.pem", "/k.pem", alpn=("h3",)),
        ),
    ) == bundle.inbounds  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (inbound(port=0), "f.yaml:6:9: spec.port", "1"),
        (inbound(protocol="wireguard"), "f.yaml:5:13: spec.protocol", "vless"),
        (inbound(protocol="vmess"), "f.yaml:5:3: spec", "reality goes with vless and trojan"),
        (inbound(protocol="trojan", stream="{}"), "f.yaml:5:3: spec", "without tls or reality"),
        (inbound(protocol="shadowsocks", stream="{}"), "f.yaml:5:3: spec", "needs a method"),
        (inbound(stream="{network: tcp, path: /x}"), "f.yaml:7:11: spec.stream", "over tcp"),
        (
            inbound(stream="{reality: {target: example.org, serverNames: [a.example]}}"),
            "f.yaml:7:30: spec.stream.reality.target",
            "has no port",
        ),
        (
            inbound(stream="{network: ws}", more="  flow: xtls-rprx-vision\n"),
            "f.yaml:5:3: spec",
            "only vless over tcp carries",
        ),
        (inbound(more="  privateKey: secret\n"), "f.yaml:8:3: spec.privateKey", ""),
        (inbound(protocol="hysteria2"), "f.yaml:5:3: spec", "without tls"),
        (
            inbound(protocol="hysteria2", stream=f"{{network: ws, {TLS}}}"),
            "f.yaml:5:3: spec",
            "transport",
        ),
        (
            inbound(protocol="hysteria2", stream=f"{{{TLS[:-1]}, alpn: [h2]}}}}"),
            "f.yaml:5:3: spec",
            "h3",
        ),
    ],
)
def test_what_no_panel_takes_is_refused_with_its_place(faults, text, place, words) -> None:
    [found] = faults(text + NODE)

    assert found.startswith(place)
    assert words in found


@pytest.mark.parametrize(
    ("second", "place", "words"),
    [
        (
            inbound("two", port=443),
            "spec.port",
            "is the port of inbound front on node nl-1 already",
        ),
        (inbound("two", port=444, more="  tag: x3f-front\n"), "spec.tag", "has the tag of inbound"),
        (
            inbound("two", port=444, more="  remark: x3f-front\n"),
            "spec.remark",
            "has the remark of inbound front too",
        ),
        (inbound("two", port=2053), "spec.port", "is the port of the panel of node nl-1"),
        (
            inbound("two", port=444, more="  selector: {contry: nl}\n"),
            "spec.selector.contry",
            "no node has a label contry",
        ),
    ],
)
def test_inbounds_that_are_in_each_others_way_are_refused(faults, second, place, words) -> None:
    found = faults(NODE + inbound() + second)

    assert any(f": {place}: " in one and words in one for one in found)


def test_one_port_on_two_nodes_or_on_two_addresses_is_nobodys_fault(load) -> None:
    nodes = node("nl-1", "{country: nl}") + node("de-1", "{country: de}")
    here = inbound("nl", more="  selector: {country: nl}\n  listen: 192.0.2.7\n")
    beside = inbound("nl-b", more="  selector: {country: nl}\n  listen: 192.0.2.8\n")
    there = inbound("de", more="  selector: {country: de}\n")

    # A panel of these nodes listens on 443, by the default port of its scheme.
    texts = nodes + here + beside + there
    bundle = load(texts.replace("  port: 443", "  port: 8443"))

    assert ["de", "nl", "nl-b"] == [one.name for one in bundle.inbounds]
