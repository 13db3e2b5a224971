"""What is inside a backup: the list that stands first in it, as a value and as JSON.

Callers: `archive` (reads and writes it), whoever shows or proves a backup. Not here: files, encryption.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from desired_state.store.backup.errors import BackupBroken

FORMAT = 1


class PanelState(StrEnum):
    """What became of one panel's own database."""

    CHECKED = "checked"
    """It opens, is whole, and holds the panel's tables."""
    UNCHECKED = "unchecked"
    """Kept as the panel gave it: a dump of PostgreSQL, which nobody opened."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Nobody was to visit this node."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file inside: its name there, its size and its SHA-256 in hex."""

    member: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PanelPart:
    """One node's panel. `part` None: nothing is kept of it, and `reason` says why.

    `version`: of the panel; `clients`: how many its database held, None where that was not looked at.
    """

    node: str
    state: PanelState
    reason: str = ""
    version: str = ""
    clients: int | None = None
    part: Part | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the backup holds a database of this panel."""
        return self.part is not None


@dataclass(frozen=True, slots=True)
class Contents:
    """The list. `tables`: rows by table; `schema`: the version of the tables; `engine`: of the source."""

    taken_at: datetime
    installation: str
    schema: str
    revision: int
    engine: str
    tables: Mapping[str, int] = field(hash=False)
    database: Part
    panels: tuple[PanelPart, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file inside, in its order."""
        return (self.database, *(panel.part for panel in self.panels if panel.part is not None))

    @property
    def failed(self) -> tuple[PanelPart, ...]:
        """Panels whose database could not be had."""
        return tuple(panel for panel in self.panels if panel.state is PanelState.FAILED)


def contents_to_json(contents: Contents) -> dict[str, Any]:
    """Write the list as a document."""
    document = {"format": FORMAT, **asdict(contents)}
    document["taken_at"] = contents.taken_at.isoformat()
    document["panels"] = [
        {**asdict(panel), "state": panel.state.value} for panel in contents.panels
    ]
    return document


def contents_from_json(document: Mapping[str, Any]) -> Contents:
    """Read the list back.

    Raises:
        BackupBroken: it is of another format.
    """
    if document.get("format") != FORMAT:
        raise BackupBroken(
            f"the backup is of format {document.get('format')}",
            hint="restore it with the release that made it",
        )
    try:
        return Contents(
            taken_at=datetime.fromisoformat(document["taken_at"]),
            installation=document["installation"],
            schema=document["schema"],
            revision=document["revision"],
            engine=document["engine"],
            tables=dict(document["tables"]),
            database=Part(**document["database"]),
            panels=tuple(_panel(panel) for panel in document["panels"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BackupBroken("the list of contents in the backup cannot be read") from error


def _panel(document: Mapping[str, Any]) -> PanelPart:
    part = document["part"]
    return PanelPart(
        **{
            **document,
            "state": PanelState(document["state"]),
            "part": None if part is None else Part(**part),
        }
    )
