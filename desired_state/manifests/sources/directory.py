"""Manifests from a folder, with its subfolders, or from one file.

Called by cli and sync. Names that begin with a dot are passed over, folders too: editors and
mounted configuration keep copies there. Not here: parsing.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from desired_state.manifests.errors import ManifestSourceUnavailable
from desired_state.manifests.positions import MAX_BYTES
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles

SUFFIXES = (".yaml", ".yml")
MAX_FILES = 5_000
"""Some files a node in the largest fleet; more means that the wrong folder was named."""


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """Every `*.yaml` and `*.yml` below `path`, or `path` itself when it is a file.

    File names in errors are `path` as given with the rest behind it.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder, absolute: the owner of what is declared there, however it was written."""
        return os.path.normpath(self.path.absolute())

    def fetch(self) -> ManifestFiles:
        """Read all files; the revision is a digest over their names and contents.

        Raises:
            ManifestSourceUnavailable: the path is missing or unreadable, or holds no manifest.
        """
        try:
            files = tuple(_read(path) for path in sorted(_find(self.path)))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ManifestSourceUnavailable(
                f"{error.filename or self.path} cannot be read: {reason}",
                hint="nothing was applied; the last good revision stays in use",
            ) from error
        if not files:
            raise ManifestSourceUnavailable(
                f"{self.path} holds no *.yaml or *.yml file", hint="name another folder"
            )
        return ManifestFiles(files, _digest(self.path, files), self.name)


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found: list[Path] = []
    for file in _walk(path):
        found.append(file)
        if len(found) > MAX_FILES:
            raise ManifestSourceUnavailable(
                f"{path} holds more than {MAX_FILES} manifests", hint="name the folder of the fleet"
            )
    return found


def _walk(path: Path) -> Iterator[Path]:
    # Not Path.rglob: it passes over folders that cannot be read, and a node would seem to vanish.
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(path / entry.name)
            elif entry.name.endswith(SUFFIXES):
                yield path / entry.name


def _read(path: Path) -> ManifestFile:
    # Absolute, but not resolved: mounted secrets are links that change under a fixed name.
    return ManifestFile(str(path), _content(path), path.parent.absolute())


def _content(path: Path) -> bytes:
    """Read no more than tells that a file is too large, and nothing that is no file.

    A pipe would be waited for for ever; it is opened without waiting.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _digest(root: Path, files: tuple[ManifestFile, ...]) -> str:
    contents = [
        [os.path.relpath(file.name, root), hashlib.sha256(file.content).hexdigest()]
        for file in files
    ]
    return hashlib.sha256(json.dumps(contents, separators=(",", ":")).encode()).hexdigest()
