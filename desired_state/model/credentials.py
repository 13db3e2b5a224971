"""A generation's seed to the credentials of every protocol.

Pure: HMAC-SHA-256 of the seed with the field's name, so that nothing but the seed is stored and the
panel never invents a secret. Callers: core (what to write), links. Not here: drawing seeds.
"""

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field

SEED_BYTES = 32
DEFAULT_PASSWORD_BYTES = 32
PASSWORD_BYTES = {
    "2022-blake3-aes-128-gcm": 16,
    "2022-blake3-aes-256-gcm": 32,
    "2022-blake3-chacha20-poly1305": 32,
}
"""Bytes of a client's key by shadowsocks-2022 method; other methods take any password."""


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """What a client logs in with, by protocol.

    `uuid`: vless, vmess. `password`: trojan, shadowsocks. `auth`: hysteria2.
    """

    uuid: str = field(repr=False)
    password: str = field(repr=False)
    auth: str = field(repr=False)


def derive_secrets(seed: bytes, password_bytes: int = DEFAULT_PASSWORD_BYTES) -> ClientSecrets:
    """Derive all credentials of one generation.

    Args:
        seed: 32 random bytes, stored encrypted.
        password_bytes: 16 or 32, what the node's shadowsocks-2022 inbound wants.

    Returns:
        A version-4 UUID, a base64 password of that many bytes (standard alphabet, padded: what
        shadowsocks-2022 reads) without a slash, and a hex `auth`.
    """
    raw = bytearray(_expand(seed, "uuid")[:16])
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return ClientSecrets(
        uuid=str(uuid.UUID(bytes=bytes(raw))),
        password=_password(seed, password_bytes),
        auth=_expand(seed, "auth").hex()[:32],
    )


def digest_secrets(uuid_: str, password: str, auth: str) -> str:
    """Digest three credentials so that each can be compared without being stored: `u.p.a`."""
    return ".".join(digest_secret(value) for value in (uuid_, password, auth))


def digest_secret(value: str) -> str:
    """Return 16 hex digits of SHA-256; empty for an empty value. The values are random: no salt."""
    return hashlib.sha256(value.encode()).hexdigest()[:16] if value else ""


def _password(seed: bytes, size: int) -> str:
    """Derive again until no slash is in it; about every second one is free of them.

    Panels up to 3.0.2 address a trojan client by its password in a path, and match the decoded path:
    a slash there, escaped or not, makes the client unreachable for ever.
    """
    attempt = 0
    while True:
        purpose = f"password-{size}" if attempt == 0 else f"password-{size}-{attempt}"
        password = base64.b64encode(_expand(seed, purpose)[:size]).decode()
        if "/" not in password:
            return password
        attempt += 1


def _expand(seed: bytes, purpose: str) -> bytes:
    return hmac.digest(seed, f"x3fleet/{purpose}".encode(), "sha256")
