"""A finding: one thing that was looked at, how it is, and what a person does about it.

Pure. Callers: the doctor, and the checks before a controller starts. Not here: looking.
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    """Something is there that nothing explains."""
    BAD = "bad"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `hint`: what a person does about it."""

    area: str
    subject: str
    level: Level
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.subject}: {self.message}{hint}"
