"""A document as loaded: what it is, where it stood, and its typed form if it has one.

Made by the loader, read by `references` and `resolve`. Not here: rules.
"""

from dataclasses import dataclass

from desired_state.manifests.errors import Fault, FaultKind
from desired_state.manifests.kinds import Document
from desired_state.manifests.positions import Item, Path
from desired_state.manifests.sources.source import ManifestFile

AUTH: Path = ("spec", "panel", "auth")
_KNOWN_IN_AUTH = frozenset(
    {"token", "username", "password", "totpSecret", "loginSecret", "env", "file", "ciphertext"}
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """One document. `typed` None: it breaks the rules of its kind; only its raw data is known."""

    file: ManifestFile
    item: Item
    kind: str
    typed: Document | None

    @property
    def name(self) -> str | None:
        """Its name if that is text, whether the document is right or not."""
        name = self.item.get(("metadata", "name"))
        return name.data if name is not None and isinstance(name.data, str) else None

    @property
    def labels(self) -> dict[str, str] | None:
        """Its labels, other values than text in their spelling; None when these are no labels."""
        item = self.item.get(("metadata", "labels"))
        if item is None:
            return {}
        if not isinstance(item.data, dict):
            return None
        return {name: str(value) for name, value in item.data.items()}

    def pairs(self, path: Path) -> dict[str, str] | None:
        """Names and texts at a path, empty where nothing is; None when it is something else."""
        item = self.item.get(path)
        if item is None:
            return {}
        data = item.data
        if isinstance(data, dict) and all(isinstance(value, str) for value in data.values()):
            return data
        return None

    def fault(
        self,
        kind: FaultKind,
        path: Path,
        message: str,
        hint: str = "",
        *,
        of_name: bool = False,
    ) -> Fault:
        """Make a fault at a path of this document."""
        spot = self.item.spot_of(path, of_name=of_name)
        return Fault(self.file.name, spot.line, spot.column, render_path(path), message, hint, kind)


def render_path(path: Path) -> str:
    """Write a path as people do: `spec.inbounds.match[0].port`.

    Names that nobody knows are left out below `auth`: one of them may be the secret.
    """
    text = ""
    for index, name in enumerate(path):
        if index >= len(AUTH) and path[: len(AUTH)] == AUTH and name not in _KNOWN_IN_AUTH:
            break
        text += f"[{name}]" if isinstance(name, int) else f".{name}"
    return text.removeprefix(".")
