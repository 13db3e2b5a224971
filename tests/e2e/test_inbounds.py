"""Declared inbounds as an operator uses them: created, filled, changed under their clients, deleted."""

import json
from typing import Any

import pytest

from simulator import by_hand
from simulator.app import Panel
from tests.e2e.operator import BY_PASSWORD, BY_TOKEN, Operator, Site, node

REALITY = """\
apiVersion: x3fleet/v1
kind: Inbound
metadata: {name: front}
spec:
  protocol: vless
  port: %(port)s
  stream:
    reality: {target: "www.example.org:443", serverNames: [www.example.org], shortIds: 2}
  deletionPolicy: Delete
"""


HYSTERIA = """\
apiVersion: x3fleet/v1
kind: Inbound
metadata: {name: quick}
spec:
  protocol: hysteria2
  port: %(port)s
  stream: {tls: {certificateFile: /etc/ssl/vpn.pem, keyFile: /etc/ssl/vpn.key}}
  deletionPolicy: Delete
"""


def declared(panel: Panel, port: int) -> dict[str, Any]:
    """Return an inbound of a panel as its JSON, by port; empty when there is none."""
    for inbound in panel.state.inbounds.values():
        if inbound.port == port:
            return {
                "id": inbound.id,
                "tag": inbound.tag,
                "remark": inbound.remark,
                "stream": json.loads(inbound.stream or "{}"),
                "emails": sorted(entry.email for entry in inbound.settings.clients),
            }
    return {}


def reality_of(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what an inbound holds of Reality, keys included."""
    found: dict[str, Any] = shown["stream"]["realitySettings"]
    return found


@pytest.mark.parametrize(("version", "auth"), [("2.9.4", BY_PASSWORD), ("3.6.0", BY_TOKEN)])
async def test_an_inbound_is_created_filled_changed_and_deleted(
    operator: Operator, start_panel, version: str, auth: str
) -> None:
    """Its foreign client and its keys outlive a change of its port, and it goes once it is empty."""
    panel: Site = await start_panel(version)
    here = node("a", panel.url, auth=auth)
    [key] = await operator.set_up(here, REALITY % {"port": 20443}, keys=1)

    done = await operator.ask("reconcile", "now")
    made = declared(panel.panel, 20443)
    again = await operator.ask("reconcile", "now")
    by_hand.add_client(panel.panel, made["id"], {"email": "guest", "id": "7", "enable": True})

    fleet = operator.declare(here, REALITY % {"port": 20444})
    await operator.ask("manifests", "apply", str(fleet))
    await operator.ask("reconcile", "now")
    moved = declared(panel.panel, 20444)
    shown = await operator.ask("nodes", "show", "a")

    by_hand.delete_client(panel.panel, "guest")
    operator.declare(here)
    await operator.ask("manifests", "apply", str(fleet))
    await operator.ask("reconcile", "now")
    gone = await operator.ask("inbounds", "list")

    mine = [email for email in made["emails"] if f"x3f-{key}-g1" in email]
    assert (True, 1) == (done["in_sync"], len(mine))
    assert (True, 0) == (again["in_sync"], again["totals"]["writes"])
    assert (made["id"], ["guest", *mine]) == (moved["id"], moved["emails"])
    assert reality_of(made) == reality_of(moved)
    assert 43 == len(reality_of(made)["privateKey"])
    [fares] = shown["declared_inbounds"]
    assert ("live", made["id"], 20444) == (fares["state"], fares["inbound"], fares["port"])
    assert ({}, {}) == (declared(panel.panel, 20443), declared(panel.panel, 20444))
    assert (True, []) == (gone["inbounds"][0]["orphaned"], gone["inbounds"][0]["nodes"])


@pytest.mark.parametrize(("version", "auth"), [("2.9.4", BY_PASSWORD), ("3.6.0", BY_TOKEN)])
async def test_another_protocol_is_refused_with_what_to_do_and_another_network_is_written(
    operator: Operator, start_panel, version: str, auth: str
) -> None:
    """Never in silence: customers of the inbound stay served by the one that they have."""
    panel: Site = await start_panel(version)
    here = node("a", panel.url, auth=auth)
    document = REALITY % {"port": 20443}
    await operator.set_up(here, document, keys=1)
    await operator.ask("reconcile", "now")
    made = declared(panel.panel, 20443)

    fleet = operator.declare(here, document.replace("protocol: vless", "protocol: trojan"))
    await operator.ask("manifests", "apply", str(fleet))
    refused = await operator.run("reconcile", "now", "--output", "json")
    kept = declared(panel.panel, 20443)
    shown = await operator.ask("nodes", "show", "a")

    with_network = document.replace("stream:", "stream:\n    network: xhttp\n    path: /x")
    operator.declare(here, with_network)
    await operator.ask("manifests", "apply", str(fleet))
    after = await operator.ask("reconcile", "now")
    changed = declared(panel.panel, 20443)

    assert 2 == refused.code
    assert made == kept
    [fares] = shown["declared_inbounds"]
    assert ("refused", "InboundProtocol") == (fares["state"], fares["reason"])
    assert "under another name and port" in fares["message"]
    assert (True, "xhttp") == (after["in_sync"], changed["stream"]["network"])
    assert (made["id"], made["emails"]) == (changed["id"], changed["emails"])
    assert reality_of(made) == reality_of(changed)


@pytest.mark.parametrize(
    ("version", "auth", "called"),
    [("2.9.4", BY_PASSWORD, "hysteria2"), ("3.6.0", BY_TOKEN, "hysteria")],
)
async def test_hysteria_2_is_created_under_the_name_of_its_panel_and_filled(
    operator: Operator, start_panel, version: str, auth: str, called: str
) -> None:
    """Over UDP, inside TLS; it stays in sync, and its port is changed with its client on it."""
    panel: Site = await start_panel(version)
    here = node("a", panel.url, auth=auth)
    [key] = await operator.set_up(here, HYSTERIA % {"port": 20443}, keys=1)

    await operator.ask("reconcile", "now")
    made = declared(panel.panel, 20443)
    again = await operator.ask("reconcile", "now")
    fleet = operator.declare(here, HYSTERIA % {"port": 20444})
    await operator.ask("manifests", "apply", str(fleet))
    await operator.ask("reconcile", "now")
    moved = declared(panel.panel, 20444)

    inbound = panel.panel.state.inbounds[made["id"]]
    assert (called, 2) == (inbound.protocol, inbound.settings.get("version"))
    assert ("hysteria", ["h3"]) == (
        made["stream"]["network"],
        made["stream"]["tlsSettings"]["alpn"],
    )
    assert {"version": 2, "auth": "", "udpIdleTimeout": 60} == made["stream"]["hysteriaSettings"]
    assert any(f"x3f-{key}-g1" in email for email in made["emails"])
    assert (True, 0) == (again["in_sync"], again["totals"]["writes"])
    assert (made["id"], made["emails"]) == (moved["id"], moved["emails"])


async def test_a_panel_that_does_not_know_hysteria_2_is_not_asked_for_it(
    operator: Operator, start_panel
) -> None:
    panel: Site = await start_panel("2.8.11")
    await operator.set_up(node("a", panel.url), HYSTERIA % {"port": 20443}, keys=0)

    done = await operator.run("reconcile", "now", "--output", "json")
    shown = await operator.ask("nodes", "show", "a")

    [fares] = shown["declared_inbounds"]
    assert ({}, "refused", "InboundUnsupported") == (
        declared(panel.panel, 20443), fares["state"], fares["reason"],
    )  # fmt: skip
    assert "from 2.9.3 on" in fares["message"]
    assert 2 == done.code
