"""A JSON object that stays text until somebody reads it: what a panel returned of one client.

Of a hundred thousand clients a few are written; the others' keys are never looked at, and as text they
take a quarter of the room. Callers: `typed`. Not here: what the keys mean.
"""

from collections.abc import Iterator, Mapping

import msgspec


class TextObject(Mapping[str, object]):
    """Reads like the dictionary that its text holds.

    Args:
        text: JSON of one object, already found to be well-formed.
    """

    __slots__ = ("_object", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._object: dict[str, object] | None = None

    def _decoded(self) -> dict[str, object]:
        if self._object is None:
            self._object = msgspec.json.decode(self._text, type=dict[str, object])
        return self._object

    def __getitem__(self, key: str) -> object:
        """Read one value."""
        return self._decoded()[key]

    def __iter__(self) -> Iterator[str]:
        """Walk the keys, in the panel's order."""
        return iter(self._decoded())

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._decoded())
