"""The encrypted stream that a backup's file is: a readable header, then authenticated chunks.

    MAGIC  length of the header (4 bytes)  header (JSON)  { length (4 bytes)  chunk } ...

Each chunk is AES-256-GCM under a key of this file alone (HKDF of the configured key and the header's salt);
its nonce holds its number and whether it is the last, and the whole header is authenticated with it. So a
flipped bit, chunks that are missing, doubled or swapped, and a cut end are all found. Callers: `archive`.
Not here: what is inside, which key.
"""

import hashlib
import io
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from desired_state.store.backup.errors import BackupBroken, BackupKeyMissing
from desired_state.store.backup.keys import BackupKey

MAGIC = b"x3fleet backup 1\n"
CHUNK_BYTES = 1 << 20
"""Plain bytes in one chunk: what is in memory of a backup of any size."""
_HEADER_LIMIT = 1 << 16
_TAG_BYTES = 16
_SALT_BYTES = 32
_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">QI")
"""Number of the chunk, and 1 for the last. A key is used for one file: it never repeats."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file tells without its key. `facts`: as whoever wrote it put them there."""

    key_id: str
    facts: Mapping[str, Any]
    raw: bytes
    salt: bytes


class SealedWriter(io.RawIOBase):
    """Encrypts what is written into it; `close` writes the last chunk, without which nothing opens.

    Args:
        file: where to; stays open.
        key: encrypts.
        facts: put into the header, readable by anybody: no secret.
    """

    def __init__(self, file: BinaryIO, key: BackupKey, facts: Mapping[str, Any]) -> None:
        super().__init__()
        salt = os.urandom(_SALT_BYTES)
        header = {**facts, "key_id": key.id, "salt": salt.hex()}
        raw = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        self._file, self._cipher = file, _cipher(key, salt)
        self._bound = hashlib.sha256(raw).digest()
        self._waiting, self._number = bytearray(), 0
        file.write(MAGIC + _LENGTH.pack(len(raw)) + raw)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever holds bytes, as `RawIOBase` says
        """Encrypt every whole chunk that there is by now, but for the last."""
        self._waiting += data
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed:
            self._seal(bytes(self._waiting), last=True)
            self._waiting.clear()
        super().close()

    def abandon(self) -> None:
        """Close without the last chunk: what was written is no backup."""
        super().close()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_NONCE.pack(self._number, last), plain, self._bound)
        self._file.write(_LENGTH.pack(len(sealed)) + sealed)
        self._number += 1


class SealedReader(io.RawIOBase):
    """Decrypts a file, a chunk at a time; nothing of a chunk is given out before it is authenticated.

    Args:
        file: at the end of its header, as `read_header` leaves it.
        header: of the file.
        key: the one that the header names.
    """

    def __init__(self, file: BinaryIO, header: Header, key: BackupKey) -> None:
        super().__init__()
        self._file, self._cipher = file, _cipher(key, header.salt)
        self._bound = hashlib.sha256(header.raw).digest()
        self._plain, self._number, self._ended = memoryview(b""), 0, False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as `RawIOBase` says
        """Fill the buffer as far as one chunk goes; 0 at the proved end.

        Raises:
            BackupBroken: the file was cut, changed or put together anew.
        """
        while not self._plain and not self._ended:
            self._plain = memoryview(self._open())
        size = min(len(buffer), len(self._plain))
        buffer[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def finish(self) -> None:
        """Prove everything up to the end of the file.

        Raises:
            BackupBroken: as `readinto`.
        """
        while not self._ended:
            self._open()
        if self._file.read(1):
            raise BackupBroken("the backup has something behind its end")

    def _open(self) -> bytes:
        sealed = _read_framed(self._file, CHUNK_BYTES + _TAG_BYTES)
        for last in (False, True):
            try:
                plain = self._cipher.decrypt(_NONCE.pack(self._number, last), sealed, self._bound)
            except InvalidTag:
                continue
            self._number += 1
            self._ended = last
            return plain
        raise BackupBroken(
            f"part {self._number + 1} of the backup is not what was written",
            hint="take another copy of the file, or another backup",
        )


def read_header(file: BinaryIO) -> Header:
    """Read the header of a file and leave the file at its end. Nothing of it is proved yet.

    Raises:
        BackupBroken: it is no backup, or is cut within its header.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupBroken("the file is no backup of this format")
    raw = _read_framed(file, _HEADER_LIMIT)
    try:
        found = json.loads(raw)
        key_id, salt = str(found["key_id"]), bytes.fromhex(found["salt"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupBroken("the header of the backup cannot be read") from error
    return Header(key_id, found, raw, salt)


def choose_key(header: Header, keys: tuple[BackupKey, ...]) -> BackupKey:
    """Return the key that a file was encrypted with.

    Raises:
        BackupKeyMissing: it is not among the configured ones; names it by its id.
    """
    for key in keys:
        if key.id == header.key_id:
            return key
    raise BackupKeyMissing(
        f"the backup is encrypted with key {header.key_id}, which is not configured",
        hint="put the key file back, or set X3FLEET_ENCRYPTION_KEYS (X3FLEET_BACKUP__KEYS if"
        " backups have keys of their own)",
    )


def _read_framed(file: BinaryIO, limit: int) -> bytes:
    size_bytes = file.read(_LENGTH.size)
    if len(size_bytes) < _LENGTH.size:
        raise BackupBroken("the backup is cut", hint="take another copy of the file")
    (size,) = _LENGTH.unpack(size_bytes)
    if size > limit:
        raise BackupBroken("the backup is damaged", hint="take another copy of the file")
    framed = file.read(size)
    if len(framed) < size:
        raise BackupBroken("the backup is cut", hint="take another copy of the file")
    return framed


def _cipher(key: BackupKey, salt: bytes) -> AESGCM:
    derived = HKDF(SHA256(), length=32, salt=salt, info=b"x3fleet backup file 1")
    return AESGCM(derived.derive(key.material))
