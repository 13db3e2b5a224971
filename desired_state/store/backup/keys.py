"""Which keys encrypt backups: their own where they are set, and else those of the secrets.

A key is named by an id that tells nothing of it, so that a file says which one it needs. No key is ever
made here: a backup under a key that nobody has kept is none. Callers: whoever makes or opens a backup. Not
here: encryption (`sealing`).
"""

import hashlib
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass, field

from desired_state.model.errors import ConfigError
from desired_state.store.backup.errors import BackupKeyMissing
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.keyring import existing_keys
from desired_state.store.settings import StoreSettings

_KEY_BYTES = 32
_ID_DIGITS = 12


@dataclass(frozen=True, slots=True)
class BackupKey:
    """One key. `id`: what files name it by; `material`: 32 bytes."""

    id: str
    material: bytes = field(repr=False)


def backup_keys(store: StoreSettings, settings: BackupSettings) -> tuple[BackupKey, ...]:
    """Return the keys that open backups; the first encrypts new ones.

    Raises:
        BackupKeyMissing: none is configured and there is no key file.
        ConfigError: one is malformed, or the key file cannot be read.
    """
    own = settings.own_keys
    found = own + tuple(key for key in existing_keys(store) if key not in own)
    if not found:
        raise BackupKeyMissing(
            "there is no key for backups",
            hint="put the key file of the database back, or set X3FLEET_ENCRYPTION_KEYS",
        )
    return read_keys(found)


def read_keys(texts: Iterable[str]) -> tuple[BackupKey, ...]:
    """Read keys as they are configured: 32 bytes in URL-safe base64.

    Raises:
        ConfigError: names the first malformed one by its position.
    """
    return tuple(_read(text, number) for number, text in enumerate(texts, 1))


def _read(text: str, number: int) -> BackupKey:
    try:
        material = urlsafe_b64decode(text.encode())
    except (Base64Error, ValueError):
        material = b""
    if len(material) != _KEY_BYTES:
        raise ConfigError(
            f"key {number} for backups is malformed",
            hint="a key is 32 random bytes in URL-safe base64, 44 characters",
        )
    named = hashlib.sha256(b"x3fleet backup key id\x00" + material).hexdigest()
    return BackupKey(named[:_ID_DIGITS], material)
