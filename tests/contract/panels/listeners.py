"""Inbounds for the contract tests: one of each protocol, as the panel's form would make them.

They hold real keys, so that Xray starts with them. Callers: `stage` and tests. Not here: panels.
"""

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from controller.core.features import Version

Doc = dict[str, Any]
LEGACY, SS16, SS32 = "aes-256-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm"
_HOST = "tls.example.com"


@dataclass(frozen=True)
class Listener:
    """An inbound to be made: `oldest` is the first version that has its protocol."""

    name: str
    protocol: str
    settings: Doc = field(default_factory=dict)
    network: str = "tcp"
    security: str = "none"
    password_bytes: int = 32
    oldest: Version = (2, 3, 15)
    method: str = ""

    def protocol_on(self, version: Version) -> str:
        """The panel's own name of the protocol."""
        is_new = self.protocol == "hysteria2" and version >= (3, 2, 0)
        return "hysteria" if is_new else self.protocol

    def body(self, version: Version, port: int, remark: str) -> Doc:
        """What the panel is sent, but for what every inbound has."""
        return {
            "protocol": self.protocol_on(version),
            "port": port,
            "remark": remark,
            "settings": {"clients": [], **self.settings},
            "streamSettings": self.stream,
        }

    @property
    def stream(self) -> Doc:
        """Transport and its security."""
        securities = {"none": dict, "tls": _tls, "reality": _reality}
        transports: Doc = {
            "tcp": {"acceptProxyProtocol": False, "header": {"type": "none"}},
            "ws": {"acceptProxyProtocol": False, "path": "/ws", "host": "", "headers": {}},
            "hysteria": {"version": 2, "auth": "", "udpIdleTimeout": 60},
        }
        return {
            "network": self.network,
            "security": self.security,
            "externalProxy": [],
            f"{self.network}Settings": transports[self.network],
            **securities[self.security](),
        }


@cache
def _reality() -> Doc:
    private = X25519PrivateKey.generate()
    pair = private.private_bytes_raw(), private.public_key().public_bytes_raw()
    private_key, public_key = (urlsafe_b64encode(key).decode().rstrip("=") for key in pair)
    return {
        "realitySettings": {
            "show": False,
            "xver": 0,
            "dest": "example.com:443",
            "target": "example.com:443",
            "serverNames": ["example.com", "www.example.com"],
            "privateKey": private_key,
            "shortIds": ["a1b2c3d4", "ffee0011"],
            "settings": {
                "publicKey": public_key,
                "fingerprint": "chrome",
                "serverName": "",
                "spiderX": "/",
            },
        }
    }


@cache
def _tls() -> Doc:
    made = trustme.CA().issue_cert(_HOST)
    certificate = {
        "certificate": made.cert_chain_pems[0].bytes().decode().splitlines(),
        "key": made.private_key_pem.bytes().decode().splitlines(),
    }
    return {
        "tlsSettings": {
            "serverName": _HOST,
            "alpn": ["h3"],
            "certificates": [certificate],
            "settings": {"fingerprint": "chrome"},
        }
    }


_VLESS = {"decryption": "none", "fallbacks": []}
_KEY16, _KEY32 = "MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def _shadowsocks(name: str, method: str, password: str, size: int, in_client: str) -> Listener:
    settings = {"method": method, "password": password, "network": "tcp,udp", "ivCheck": False}
    return Listener(name, "shadowsocks", settings, password_bytes=size, method=in_client)


VLESS = Listener("vless", "vless", _VLESS, security="reality")
VLESS_WS = Listener("vless-ws", "vless", _VLESS, network="ws", security="tls")
VMESS = Listener("vmess", "vmess")
TROJAN = Listener("trojan", "trojan", {"fallbacks": []})
SS_LEGACY = _shadowsocks("ss-legacy", LEGACY, "server", 32, LEGACY)
SS_16 = _shadowsocks("ss-2022-16", SS16, _KEY16, 16, "")
SS_32 = _shadowsocks("ss-2022-32", SS32, _KEY32, 32, "")
HYSTERIA2 = Listener("hysteria2", "hysteria2", {"version": 2}, "hysteria", "tls", oldest=(2, 9, 3))
LISTENERS = (VLESS, VMESS, TROJAN, SS_LEGACY, SS_16, SS_32, HYSTERIA2)
