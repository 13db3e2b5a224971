"""A directory that somebody may be writing to: a revision counts when it stands still.

Half of a copy looks like a fleet that lost nodes. Callers: `choose`, for the directory that sync polls.
Not here: repositories, whose commits are whole.
"""

import time
from dataclasses import dataclass, field

from desired_state.manifests.errors import ManifestSourceUnavailable
from desired_state.manifests.sources.source import ManifestFiles, ManifestSource

TRIES = 20


@dataclass(slots=True)
class Settled:
    """Reads a new revision again until two readings agree; one that is known is read once."""

    source: ManifestSource
    pause_s: float = 0.25
    _known: str = field(default="", init=False)

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def fetch(self) -> ManifestFiles:
        """Read the present revision, once it stands still.

        Raises:
            ManifestSourceUnavailable: as the source itself, or it is being written all the time.
        """
        found = self.source.fetch()
        for _ in range(TRIES):
            if found.revision == self._known:
                return found
            self._known = found.revision
            time.sleep(self.pause_s)
            found = self.source.fetch()
        self._known = ""
        raise ManifestSourceUnavailable(
            f"{self.name} changes all the time", hint="the next look tries again"
        )
