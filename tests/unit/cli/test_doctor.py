"""Endpoints are found in any text, and explained by declared nodes alone."""

import pytest

from cli.advice import advise
from cli.doctor.checks import (
    Finding,
    Level,
    NodeFacts,
    check_doubles,
    check_node,
    check_variables,
)
from cli.doctor.endpoints import (
    DeclaredNode,
    Endpoint,
    endpoints_in,
    is_local,
    proxies_in,
    unexplained,
)
from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.result import Result
from controller.runtime.report import NodeReport
from desired_state.model.ids import NodeName

NL = DeclaredNode("nl-1", Endpoint("nl1.example.net", 2053), "vpn.example.net", "/x/")


@pytest.mark.parametrize(
    ("text", "found"),
    {
        "a URL": ("https://nl1.example.net:2053/x/", ["nl1.example.net:2053"]),
        "a URL without a port": ("http://Nl1.Example.net/x", ["nl1.example.net:80"]),
        "a URL with a login": ("https://u:p@nl1.example.net:2053", ["nl1.example.net:2053"]),
        "an IPv6 address": ("https://[2001:db8::1]:2053/", ["[2001:db8::1]:2053"]),
        "a host with a port": ("panel=nl1.example.net:2053", ["nl1.example.net:2053"]),
        "two of them": ("a.example.net:1443,http://b.net", ["a.example.net:1443", "b.net:80"]),
        "another scheme": ("redis://cache.example.net", ["cache.example.net"]),
        "a path": ("/etc/x3fleet/nl1.password", []),
        "a number": ("20", []),
        "a local database": ("sqlite:///x3fleet.db", []),
        "a time": ("12:30:45", []),
        "a port that is none": ("https://nl1.example.net:99999/", []),
    }.values(),
)  # fmt: skip
def test_endpoints_are_found_in_texts(text: str, found: list[str]) -> None:
    assert found == [str(endpoint) for endpoint in endpoints_in(text)]


def test_only_a_declared_nodes_own_panel_and_address_explain_an_endpoint() -> None:
    endpoints = [
        Endpoint("nl1.example.net", 2053),
        Endpoint("vpn.example.net"),
        Endpoint("nl1.example.net", 9999),
        Endpoint("old.example.org", 2053),
    ]

    assert [
        "nl1.example.net:9999 is on the host of nl-1, but not its panel",
        "old.example.org:2053 is no declared node's",
    ] == list(unexplained(endpoints, [NL]))


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("", True), ("0.0.0.0", True),  # noqa: S104  # an inbound's, nobody binds it
        ("::", True), ("127.0.0.1", True), ("@fallback", True),
        ("/run/xray.sock", True), ("203.0.113.9", False), ("nl2.example.net", False),
    ],
)  # fmt: skip
def test_listeners_without_a_host_of_their_own_are_local(listen: str, local: bool) -> None:
    assert local == is_local(listen)


@pytest.mark.parametrize(
    ("stream", "hosts"),
    [
        ('{"externalProxy": [{"dest": "B.example"}, {"dest": "a.example"}]}', ("a.example", "b.example")),
        ('{"externalProxy": null}', ()), ("[]", ()), ("", ()), ("{broken", ()), ("null", ()),
    ],
)  # fmt: skip
def test_hosts_that_inbounds_send_customers_to(stream: str, hosts: tuple[str, ...]) -> None:
    assert hosts == proxies_in(stream)


def facts(name: str, **changes: object) -> NodeFacts:
    declared = DeclaredNode(name, Endpoint(f"{name}.example.net", 2053), f"{name}.example.net")
    values = {"declared": declared, "report": NodeReport(NodeName(name))}
    return NodeFacts(**values | changes)  # type: ignore[arg-type]


def test_variables_are_settings_or_secrets_of_nodes_or_a_mistake() -> None:
    """What a variable names is shown by host and port, never by its value."""
    variables = {
        "X3FLEET_DATABASE__URL": "postgresql://u:hidden@db.example.net/x",
        "X3FLEET_NL_TOKEN": "hidden",
        "X3FLEET_PANEL": "https://u:hidden@old.example.org:2053/x",
    }
    node = facts("nl", secrets=("X3FLEET_NL_TOKEN",))

    found = list(check_variables(variables, ("X3FLEET_DATABASE__URL",), (node,)))

    assert [("settings", "X3FLEET_PANEL"), ("endpoints", "X3FLEET_PANEL")] == [
        (finding.area, finding.subject) for finding in found
    ]
    assert "hidden" not in str(found)


def test_a_paused_node_is_said_not_to_have_been_contacted() -> None:
    paused = NodeStatus(
        conditions=(Condition(ConditionType.PAUSED, "Paused", "the node is paused"),)
    )
    result = Result(NodeName("nl"), paused)

    found = list(check_node(facts("nl", report=NodeReport(NodeName("nl"), last=result))))

    assert [(Level.OK, "is paused: not contacted")] == [(f.level, f.message) for f in found]


def test_a_refused_delete_is_explained_without_a_promise() -> None:
    """What became of the client is in the condition's own message."""
    assert "delete it by hand on the panel" == advise("DeleteRefused", "nl")


def test_one_panel_under_two_names_is_found_by_address_and_by_guid() -> None:
    one, two = facts("a", guid="11112222-3333"), facts("b", guid="11112222-3333")
    third = facts("c", declared=one.declared)

    found = list(check_doubles((one, two, third, facts("d"))))

    assert {Level.BAD} == {finding.level for finding in found}
    assert [Finding] == list({type(finding) for finding in found})
    assert ["a, a", "a, b"] == sorted(finding.subject for finding in found)
