"""What a source of manifests is: it fetches files of one revision, all or none.

Implemented by `directory` and `git`; called by the loader and by sync. Not here: parsing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file as fetched. `name` is shown in errors.

    `folder` is absolute, the base of relative paths inside the file; None where the source has no
    folder on this machine, so that relative paths are refused.
    """

    name: str
    content: bytes
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ManifestFiles:
    """All files of one revision, sorted by name. `source` says where they came from."""

    files: tuple[ManifestFile, ...]
    revision: str
    source: str


class ManifestSource(Protocol):
    """Where manifests come from."""

    @property
    def name(self) -> str:
        """Who owns what is declared there; the same however it was written, without a credential."""
        ...

    def fetch(self) -> ManifestFiles:
        """Read the present revision; blocking.

        Raises:
            ManifestSourceUnavailable: it could not be read completely.
        """
        ...
