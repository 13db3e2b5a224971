"""What a panel's refusal of an inbound must not repeat: whatever its server and its clients prove."""

import json
from typing import Any

from controller.panels.api.masking import mask
from controller.panels.wire.inbound_writes import secrets_in

PEM = ["-----BEGIN PRIVATE KEY-----", "MIGHAgEAMBMGByqGSM49AgEG", "-----END PRIVATE KEY-----"]
HELD: dict[str, Any] = {
    "id": 7,
    "settings": {
        "method": "2022-blake3-aes-256-gcm",
        "password": "c2VydmVyLXBhc3N3b3Jk",
        "decryption": "mlkem768x25519plus.native.600s.seed-of-a-server",
        "clients": [
            {
                "email": "visitor",
                "id": "no-uuid-but-an-id",
                "password": "trojan-1",
                "auth": "hys-1a",
            },
            {"email": "guest", "id": 5, "password": None},
        ],
        "fallbacks": [{"dest": 80}],
    },
    "streamSettings": {
        "realitySettings": {"privateKey": "reality-private", "mldsa65Seed": "mldsa-seed"},
        "tlsSettings": {
            "serverName": "www.example.org",
            "echServerKeys": "ech-server-keys",
            "certificates": [
                {"keyFile": "/etc/ssl/a.key", "certificateFile": "/etc/ssl/a.pem"},
                {"key": PEM, "certificate": ["-----BEGIN CERTIFICATE-----", "public"]},
                {"key": "first-line\nsecond-line"},
            ],
        },
    },
}
SECRETS = (
    "c2VydmVyLXBhc3N3b3Jk", "seed-of-a-server", "no-uuid-but-an-id", "trojan-1", "hys-1a",
    "reality-private", "mldsa-seed", "ech-server-keys", *PEM, "first-line", "second-line",
)  # fmt: skip


def as_text(held: dict[str, Any]) -> dict[str, Any]:
    """Make it as panels up to 3.0.2 answer it."""
    return {name: json.dumps(v) if isinstance(v, dict) else v for name, v in held.items()}


def test_no_key_of_a_server_and_no_credential_of_a_client_is_left_in_a_refusal() -> None:
    told = f"refused: {json.dumps(HELD)} {PEM}"

    for held in (HELD, as_text(HELD)):
        shown = mask(told, secrets_in(held))
        assert [] == [secret for secret in SECRETS if secret in shown]


def test_what_is_no_secret_stays_readable_in_a_refusal() -> None:
    told = (
        "inbound 7 (2022-blake3-aes-256-gcm, www.example.org, visitor): /etc/ssl/a.key is not there"
    )

    assert told == mask(told, secrets_in(HELD))
    assert () == secrets_in({"settings": "{", "streamSettings": None})
    assert () == secrets_in({"settings": {"decryption": "none", "password": ""}})
