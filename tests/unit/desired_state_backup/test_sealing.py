"""A backup's file: what is not exactly as it was written does not open."""

import io
import os

import pytest

from desired_state.store.backup import sealing
from desired_state.store.backup.errors import BackupBroken, BackupKeyMissing
from desired_state.store.backup.keys import read_keys
from desired_state.store.secrets import make_key

KEY, OTHER = read_keys((make_key(), make_key()))
SMALL = 64
"""Bytes in a chunk here: files of several chunks stay small."""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(sealing, "CHUNK_BYTES", SMALL)


def seal(plain: bytes, key=KEY) -> bytes:
    file = io.BytesIO()
    writer = sealing.SealedWriter(file, key, {"created": "today"})
    writer.write(plain)
    writer.close()
    return file.getvalue()


def unseal(sealed: bytes, *keys) -> bytes:
    file = io.BytesIO(sealed)
    header = sealing.read_header(file)
    reader = sealing.SealedReader(file, header, sealing.choose_key(header, keys or (KEY,)))
    plain = io.BufferedReader(reader).read()
    reader.finish()
    return plain


def frames(sealed: bytes) -> tuple[bytes, list[bytes]]:
    """Take a file apart: everything before its chunks, and each with its length."""
    file = io.BytesIO(sealed)
    sealing.read_header(file)
    head, left, found = sealed[: file.tell()], sealed[file.tell() :], []
    while left:
        size = 4 + int.from_bytes(left[:4], "big")
        found.append(left[:size])
        left = left[size:]
    return head, found


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 5 * SMALL])
def test_what_was_written_comes_out_again(size) -> None:
    plain = os.urandom(size)

    assert plain == unseal(seal(plain))


def test_the_header_tells_what_it_is_told_and_names_its_key() -> None:
    header = sealing.read_header(io.BytesIO(seal(b"secret")))

    assert ("today", KEY.id) == (header.facts["created"], header.key_id)


def test_nothing_of_the_plain_text_or_of_the_key_is_in_the_file() -> None:
    sealed = seal(b"secret-" * 100)

    assert b"secret-" not in sealed
    assert KEY.material not in sealed


def test_two_files_of_the_same_are_not_alike() -> None:
    assert frames(seal(b"same"))[1] != frames(seal(b"same"))[1]


def test_a_bit_that_was_flipped_anywhere_is_found() -> None:
    sealed = seal(os.urandom(3 * SMALL))

    for place in range(0, len(sealed), 7):
        broken = bytearray(sealed)
        broken[place] ^= 4
        with pytest.raises((BackupBroken, BackupKeyMissing)):
            unseal(bytes(broken))


def test_a_file_that_was_cut_anywhere_is_found() -> None:
    sealed = seal(os.urandom(3 * SMALL))

    for size in range(0, len(sealed), 5):
        with pytest.raises(BackupBroken):
            unseal(sealed[:size])


@pytest.mark.parametrize(
    "change",
    {
        "the last chunk is gone": lambda found: found[:-1],
        "the first chunk is gone": lambda found: found[1:],
        "two are swapped": lambda found: [found[1], found[0], *found[2:]],
        "one is doubled": lambda found: [found[0], *found],
        "something was appended": lambda found: [*found, found[-1]],
    }.values(),
)
def test_chunks_that_were_put_together_anew_are_found(change) -> None:
    head, found = frames(seal(os.urandom(3 * SMALL)))

    with pytest.raises(BackupBroken):
        unseal(head + b"".join(change(found)))


def test_chunks_of_another_file_under_the_same_key_are_found() -> None:
    head, _ = frames(seal(os.urandom(SMALL)))
    _, others = frames(seal(os.urandom(SMALL)))

    with pytest.raises(BackupBroken):
        unseal(head + b"".join(others))


def test_a_key_that_is_not_configured_is_named() -> None:
    with pytest.raises(BackupKeyMissing, match=KEY.id):
        unseal(seal(b"plain"), OTHER)


def test_an_older_key_opens_what_it_encrypted() -> None:
    assert b"plain" == unseal(seal(b"plain"), OTHER, KEY)
