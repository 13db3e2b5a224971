"""Secrets at rest, and secrets by reference.

A `Vault` seals a secret together with the table, row and field that it belongs to and refuses to
open it anywhere else: Fernet has no associated data, so the place is part of the plaintext.
`resolve_secret` follows a reference from a manifest; it is the only code that reads an environment
variable by a name which an operator gave. Not here: where keys come from (`store.keyring`).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from desired_state.model.errors import ConfigError
from desired_state.model.node import AuthRefs, Credentials, SecretRef
from desired_state.store.errors import SecretUnreadable
from desired_state.store.tables.types import Sealed

SECRET_FILE_LIMIT_BYTES = 65_536
"""A secret is a line, a certificate at most: a larger file was not meant."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret is stored. `row`: the primary key, its parts joined by slashes."""

    table: str
    row: str
    field: str

    def __str__(self) -> str:
        return f"{self.table}/{self.row}/{self.field}"


MANIFEST = Place("manifest", "", "secret")
"""The place of every ciphertext that is written into a manifest: it belongs to no row."""


class Vault:
    """Seals and opens secrets with a list of keys.

    Args:
        keys: Fernet keys; the first encrypts, all decrypt.

    Raises:
        ConfigError: there is no key, or one is malformed (named by its position, never shown).
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigError("there is no encryption key", hint="set X3FLEET_ENCRYPTION_KEYS")
        self._fernet = MultiFernet([_fernet(key, number) for number, key in enumerate(keys, 1)])
        self._newest = _fernet(keys[0], 1)

    def seal(self, secret: bytes, place: Place) -> Sealed:
        """Encrypt a secret for one place with the newest key."""
        return Sealed(self._fernet.encrypt(_header(place) + secret).decode())

    def open(self, sealed: Sealed, place: Place) -> bytes:
        """Decrypt the secret of one place.

        Raises:
            SecretUnreadable: no configured key fits, or it was sealed for another place.
        """
        plain = self._decrypt(sealed, place)
        header = _header(place)
        if not plain.startswith(header):
            raise SecretUnreadable(
                f"the secret at {place} was sealed for another place",
                hint="a row was copied by hand: restore it from a backup",
            )
        return plain[len(header) :]

    def renew(self, sealed: Sealed, place: Place) -> Sealed:
        """Encrypt anew with the newest key, after checking the place."""
        return self.seal(self.open(sealed, place), place)

    def is_newest(self, sealed: Sealed) -> bool:
        """Tell whether a secret is encrypted with the newest key already."""
        try:
            self._newest.decrypt(sealed.token)
        except InvalidToken:
            return False
        return True

    def _decrypt(self, sealed: Sealed, place: Place) -> bytes:
        try:
            return self._fernet.decrypt(sealed.token)
        except InvalidToken as error:
            raise SecretUnreadable(
                f"the secret at {place} cannot be opened with the configured encryption keys",
                hint="add the key that it was written with to X3FLEET_ENCRYPTION_KEYS",
            ) from error


def resolve_secret(reference: SecretRef, vault: Vault) -> str:
    """Follow a reference to the secret that it names, as it is now.

    Raises:
        ConfigError: the variable is unset or empty, the file is missing, unreadable or too large.
        SecretUnreadable: a ciphertext of other keys.
    """
    match reference.kind:
        case "env":
            return _from_environment(reference.value)
        case "file":
            return _from_file(Path(reference.value))
        case "ciphertext":
            return vault.open(Sealed(reference.value), MANIFEST).decode()
        case other:
            raise ConfigError(f"{other!r} is no kind of secret reference")


def resolve_credentials(auth: AuthRefs, vault: Vault) -> Credentials:
    """Resolve every reference of a node's `auth`; absent ones stay None.

    Raises:
        ConfigError: names the field and the place of the first one that is missing.
        SecretUnreadable: a ciphertext of other keys.
    """
    found: dict[str, str] = {}
    for name in ("token", "username", "password", "totp_secret", "login_secret"):
        reference: SecretRef | None = getattr(auth, name)
        if reference is None:
            continue
        try:
            found[name] = resolve_secret(reference, vault)
        except ConfigError as error:
            raise ConfigError(f"auth.{name}: {error.message}", hint=error.hint) from error
    return Credentials(**found)


def make_key() -> str:
    """Draw a new encryption key."""
    return Fernet.generate_key().decode()


def _header(place: Place) -> bytes:
    # A JSON list ends where its bracket closes: no place's header is the beginning of another's.
    return json.dumps([place.table, place.row, place.field], separators=(",", ":")).encode()


def _fernet(key: str, number: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ConfigError(
            f"encryption key {number} is malformed",
            hint="a key is 32 random bytes in URL-safe base64, 44 characters",
        ) from None


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(
            f"the environment variable {name} is not set", hint="set it where the controller runs"
        )
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the secret file {path} cannot be read: {error.strerror}") from error
    if len(raw) > SECRET_FILE_LIMIT_BYTES:
        raise ConfigError(f"the secret file {path} is larger than {SECRET_FILE_LIMIT_BYTES} bytes")
    try:
        value = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"the secret file {path} is not UTF-8 text") from None
    if not value:
        raise ConfigError(f"the secret file {path} is empty")
    return value
