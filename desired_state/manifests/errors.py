"""ManifestError and its branch: every fault of a source at once, each with its place.

Callers: loader and references (make faults), sources, cli (prints them). Not here: finding faults.
No message ever holds a value that stood where a secret belongs.

ManifestError                    faults
├── ManifestSyntaxError          a file is no YAML that we read
├── ManifestSchemaError          a document breaks the rules of its kind
├── ManifestReferenceError       documents contradict each other
└── ManifestSourceUnavailable    nothing could be read: the last good revision stays in use
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from desired_state.model.errors import X3FleetError


class FaultKind(IntEnum):
    """What kind of rule a fault breaks; the lowest of several names the error's class."""

    SYNTAX = 1
    SCHEMA = 2
    REFERENCE = 3


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong, and where: lines and columns are counted from 1.

    `field` is the path inside the document (`spec.panel.url`), empty for the whole of it.
    """

    file: str
    line: int
    column: int
    field: str
    message: str
    hint: str
    kind: FaultKind

    @property
    def place(self) -> str:
        """The place as editors read it: `file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        where = f"{self.place}: {self.field}: " if self.field else f"{self.place}: "
        return f"{where}{self.message}" + (f" ({self.hint})" if self.hint else "")


class ManifestError(X3FleetError):
    """Manifests cannot be used; nothing of them is applied.

    Args:
        message: every fault on its own line, or why nothing could be read.
        faults: all of them, sorted by place; empty when the source could not be read.
        hint: what a person can do about it.
    """

    code = "manifest"
    subject = "the manifests"
    """What the faults are in, as people are told."""

    def __init__(
        self, message: str, *, faults: tuple[Fault, ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.faults = faults

    @property
    def places(self) -> tuple[str, ...]:
        """The place of each fault, as `file:line:column`."""
        return tuple(fault.place for fault in self.faults)


class ManifestSyntaxError(ManifestError):
    """A file is no YAML that we read; other faults may stand beside it."""

    code = "manifest_syntax"


class ManifestSchemaError(ManifestError):
    """A document breaks the rules of its kind; broken references may stand beside it."""

    code = "manifest_schema"


class ManifestReferenceError(ManifestError):
    """Documents that are right by themselves contradict each other."""

    code = "manifest_reference"


class ManifestSourceUnavailable(ManifestError):
    """The source could not be read at all: the last good revision stays in use."""

    code = "manifest_source_unavailable"


_BY_KIND: dict[FaultKind, type[ManifestError]] = {
    FaultKind.SYNTAX: ManifestSyntaxError,
    FaultKind.SCHEMA: ManifestSchemaError,
    FaultKind.REFERENCE: ManifestReferenceError,
}


def error_of(faults: Iterable[Fault]) -> ManifestError:
    """Make one error of at least one fault: doubles removed, sorted by place."""
    ordered = tuple(sorted(set(faults)))
    kind = min(fault.kind for fault in ordered)
    return _BY_KIND[kind]("\n".join(str(fault) for fault in ordered), faults=ordered)
