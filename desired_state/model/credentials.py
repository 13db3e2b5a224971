"""A generation's seed to the credentials of every protocol.

Pure: HMAC-SHA-256 of the seed with the field's name, so that nothing but the seed is stored and the
panel never invents a secret. An adopted generation keeps the credentials that its person holds instead.
Callers: core (what to write), links, commands. Not here: drawing seeds.
"""

import base64
import binascii
import hashlib
import hmac
import json
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
_ADOPTED = b"adopted:"
"""Begins what is no seed: a seed is 32 bytes, this and its JSON are always more."""


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


def pack_adopted(secrets: ClientSecrets, seed: bytes) -> bytes:
    """Write credentials that a person holds already as they are, to be stored in a seed's place.

    Args:
        secrets: an empty one is unknown: it is derived from the seed where it is ever needed.
        seed: 32 random bytes.
    """
    held = {"uuid": secrets.uuid, "password": secrets.password, "auth": secrets.auth}
    return _ADOPTED + json.dumps({**held, "seed": seed.hex()}).encode()


def read_secrets(
    material: bytes, password_bytes: int = DEFAULT_PASSWORD_BYTES, *, sized: bool = False
) -> ClientSecrets:
    """Give the credentials of a generation: derived from its seed, or adopted as they are.

    Args:
        material: a seed, or what `pack_adopted` made.
        password_bytes: as `derive_secrets`.
        sized: the password must have that size: an adopted one of another is replaced.
    """
    if not material.startswith(_ADOPTED):
        return derive_secrets(material, password_bytes)
    held = json.loads(material.removeprefix(_ADOPTED))
    derived = derive_secrets(bytes.fromhex(held["seed"]), password_bytes)
    password = held["password"]
    if sized and _size_of(password) != password_bytes:
        password = ""
    return ClientSecrets(
        uuid=held["uuid"] or derived.uuid,
        password=password or derived.password,
        auth=held["auth"] or derived.auth,
    )


def digest_secrets(uuid_: str, password: str, auth: str) -> str:
    """Digest three credentials so that each can be compared without being stored: `u.p.a`."""
    return ".".join(digest_secret(value) for value in (uuid_, password, auth))


def digest_secret(value: str) -> str:
    """Return 16 hex digits of SHA-256; empty for an empty value. The values are random: no salt."""
    return hashlib.sha256(value.encode()).hexdigest()[:16] if value else ""


def _size_of(password: str) -> int | None:
    """Bytes of a shadowsocks-2022 password; None for any other text."""
    try:
        return len(base64.b64decode(password, validate=True))
    except (binascii.Error, ValueError):
        return None


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
