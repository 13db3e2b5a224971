"""Inbounds and clients to look at, for `--seed-inbounds demo`.

Callers: `__main__`. Not here: anything that tests rely on.
"""

from simulator import by_hand
from simulator.app import Panel
from simulator.clients import key_name


def seed_demo(panel: Panel) -> None:
    """Create four inbounds, each with a client made by hand."""
    hysteria = "hysteria" if panel.version >= (3, 2, 0) else "hysteria2"
    protocols = ["vless", "trojan", "shadowsocks"]
    if panel.version >= (2, 9, 3):
        protocols.append(hysteria)
    for number, protocol in enumerate(protocols):
        inbound_id = by_hand.add_inbound(panel, {"protocol": protocol, "port": 20443 + number})
        client = {
            "email": f"friend-{protocol}",
            "enable": True,
            "limitIp": 0,
            "totalGB": 0,
            "expiryTime": 0,
            "tgId": 0,
            "subId": panel.dice.text(16),
            "comment": "made by hand",
            "reset": 0,
        }
        if protocol == "shadowsocks":
            client["password"] = panel.dice.base64(32)
        else:
            client[key_name(protocol)] = panel.dice.uuid()
        by_hand.add_client(panel, inbound_id, client)
