"""Panel versions as comparable values.

Callers: every module that behaves by version: `if panel.version >= (3, 1, 0)`.
Not here: what differs; that stands where the behaviour is.
"""

from typing import NamedTuple

OLDEST = (2, 3, 15)
NEWEST = (3, 6, 0)


class Version(NamedTuple):
    """A release of 3x-ui; compares with plain tuples."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> Version:
    """Read `2.9.4` or `v2.9.4`.

    Raises:
        ValueError: not three numbers, or outside the versions that are simulated.
    """
    parts = text.removeprefix("v").split(".")
    if len(parts) != len(Version._fields) or not all(part.isdigit() for part in parts):
        message = f"not a panel version: {text!r} (expected something like 2.9.4)"
        raise ValueError(message)
    version = Version(*map(int, parts))
    if not OLDEST <= version <= NEWEST:
        oldest, newest = Version(*OLDEST), Version(*NEWEST)
        message = f"version {version} is not simulated (known: {oldest} to {newest})"
        raise ValueError(message)
    return version
