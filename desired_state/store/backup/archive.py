"""One backup as one file: the list of contents, our database, panels' databases; compressed, encrypted.

A file appears under its name only when it is whole, on the disk, and its owner's alone. Everything here
blocks: callers run it in a thread. Callers: `making`, `proving`, `restoring`. Not here: what goes in, which
files there are (`folder`).
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from desired_state.store.backup.contents import (
    Contents,
    Part,
    contents_from_json,
    contents_to_json,
)
from desired_state.store.backup.errors import BackupBroken, BackupError
from desired_state.store.backup.keys import BackupKey
from desired_state.store.backup.sealing import (
    SealedReader,
    SealedWriter,
    choose_key,
    read_header,
)
from desired_state.store.files import take_name

LIST = "contents.json"
UNFINISHED = ".unfinished"
"""Behind the name of a file that is being written."""
_LEVEL = 5
_COPY_BYTES = 1 << 20
_LIST_LIMIT = 1 << 26
_BROKEN = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)


def measure(path: Path, member: str) -> Part:
    """Tell size and digest of a file that is to go in.

    Raises:
        BackupError: it cannot be read.
    """
    with _told(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Part(member, path.stat().st_size, digest)


def write_archive(
    target: Path, contents: Contents, files: Mapping[str, Path], key: BackupKey
) -> int:
    """Write a backup; nothing is left behind where that fails.

    Args:
        target: what it is to be called; not there yet.
        contents: the list.
        files: where each of its parts lies, by its name inside.
        key: encrypts.

    Returns:
        The size of the file in bytes.

    Raises:
        BackupError: the disk is full, or the folder cannot be written.
    """
    unfinished = target.with_name(target.name + UNFINISHED)
    facts = {"created": contents.taken_at.isoformat(), "schema": contents.schema}
    try:
        with _told(target), _create(unfinished) as file:
            sealed = SealedWriter(file, key, facts)
            try:
                _pack(sealed, contents, files)
            except BaseException:
                sealed.abandon()
                raise
            sealed.close()
            file.flush()
            os.fsync(file.fileno())
            take_name(unfinished, target)
            sync_folder(target.parent)
            return target.stat().st_size
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def read_contents(path: Path, keys: tuple[BackupKey, ...]) -> Contents:
    """Read the list of a backup and nothing behind it.

    Raises:
        BackupKeyMissing: no key opens it.
        BackupBroken: its beginning is damaged.
        BackupError: the file cannot be read.
    """
    with _opened(path, keys) as (tar, _):
        return _read_list(tar)


def unpack(path: Path, keys: tuple[BackupKey, ...], folder: Path | None) -> Contents:
    """Read a backup to its proved end, and put its parts into a folder under their names inside.

    Args:
        path: the file.
        keys: one of them opens it.
        folder: None proves and keeps nothing.

    Raises:
        BackupKeyMissing: no key opens it.
        BackupBroken: something in it is not what was written.
        BackupError: the file cannot be read, or the folder not written.
    """
    with _opened(path, keys) as (tar, sealed):
        contents = _read_list(tar)
        for part in contents.parts:
            member = tar.next()
            source = None if member is None else tar.extractfile(member)
            if member is None or source is None or member.name != part.member:
                raise BackupBroken(f"{part.member} is missing in the backup")
            _take(source, part, folder)
        if tar.next() is not None:
            raise BackupBroken("the backup holds more than it lists")
        sealed.finish()
    return contents


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_file(path: Path) -> BinaryIO:
    """Make a file that is its owner's alone, and open it for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _create(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    return private_file(path)


def _pack(sealed: SealedWriter, contents: Contents, files: Mapping[str, Path]) -> None:
    with (
        gzip.GzipFile(
            filename="", mode="wb", compresslevel=_LEVEL, fileobj=sealed, mtime=0
        ) as zip_,
        tarfile.open(mode="w|", fileobj=zip_, format=tarfile.PAX_FORMAT) as tar,
    ):
        listed = json.dumps(contents_to_json(contents), separators=(",", ":")).encode()
        _add(tar, LIST, len(listed), io.BytesIO(listed))
        for part in contents.parts:
            with files[part.member].open("rb") as file:
                _add(tar, part.member, part.bytes, file)


def _add(tar: tarfile.TarFile, name: str, size: int, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, file)


@contextmanager
def _opened(
    path: Path, keys: tuple[BackupKey, ...]
) -> Iterator[tuple[tarfile.TarFile, SealedReader]]:
    with _told(path), path.open("rb") as file:
        header = read_header(file)
        sealed = SealedReader(file, header, choose_key(header, keys))
        try:
            with (
                io.BufferedReader(sealed, _COPY_BYTES) as plain,
                gzip.GzipFile(fileobj=plain, mode="rb") as zip_,
                tarfile.open(mode="r|", fileobj=zip_) as tar,
            ):
                yield tar, sealed
        except _BROKEN as error:
            raise BackupBroken(f"{path.name} is damaged") from error


def _read_list(tar: tarfile.TarFile) -> Contents:
    member = tar.next()
    source = None if member is None else tar.extractfile(member)
    if member is None or source is None or member.name != LIST or member.size > _LIST_LIMIT:
        raise BackupBroken("the backup does not begin with its list of contents")
    try:
        document: dict[str, Any] = json.loads(source.read())
    except ValueError as error:
        raise BackupBroken("the list of contents in the backup cannot be read") from error
    return contents_from_json(document)


def _take(source: IO[bytes], part: Part, folder: Path | None) -> None:
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        write: Callable[[bytes], object] = lambda _: None  # noqa: E731 - stands for a file's method
        if folder is not None:
            write = stack.enter_context(private_file(folder / part.member)).write
        while block := source.read(_COPY_BYTES):
            digest.update(block)
            size += len(block)
            write(block)
    if (size, digest.hexdigest()) != (part.bytes, part.sha256):
        raise BackupBroken(f"{part.member} in the backup is not what was put there")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the disk says into an error of ours."""
    try:
        yield
    except OSError as error:
        named = error.filename or path
        raise BackupError(f"{named}: {error.strerror or error}") from error
