r"""The life of one journalled generation on one node: which state may follow which.

One row a remote email. Callers: core (plans from rows), runtime (records). Not here: SQL.

    INTENDED --seen--> LIVE --our delete, then not seen--> GONE
        \------------- our delete, then not seen --------/
    INTENDED or LIVE --a person: the panel is gone for good--> WRITTEN_OFF

Absence alone leads nowhere: only a delete of ours, followed by a look that does not show it, ends a row.
What is written off was never proved gone: nothing is finalised by that, and its client, should it come back,
is recognised as ours.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName
from desired_state.model.placement import DeleteReason


class JournalState(StrEnum):
    """How far a generation has come on its node."""

    INTENDED = "intended"
    """Committed before the create: it may exist."""
    LIVE = "live"
    """A look showed it."""
    GONE = "gone"
    """Deleted by us and then not seen: a tombstone, kept 30 days."""
    WRITTEN_OFF = "written-off"
    """Nobody will delete it: a person said that its panel is gone for good. A tombstone, kept a year."""


ENDED = (JournalState.GONE, JournalState.WRITTEN_OFF)
"""States of tombstones: nobody is owed anything for them."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What we know of one email on one node.

    `key` None: a placeholder that keeps an inbound of a panel up to 3.0.2 from running empty.
    `sub_id`, `secrets_digest`: what was written, to recognise the client (adopted ones too); the digest
    is `credentials.digest_secrets` of its three credentials.
    `password_bytes`: the size fixed for this generation here.
    `create_unknown_at`: since when a create of it may still be on its way: set with the intent, None once
    a look has shown it, or when it is known not to have been sent.
    `delete_attempts`: deletes that were answered and yet a look still showed it.
    `projection`: digest of what was last proved equal here; a difference under the same digest is drift,
    under another one somebody changed what is wanted.
    """

    node: NodeName
    email: Email
    key: KeyId | None
    generation: Generation
    inbound_ids: tuple[InboundId, ...]
    sub_id: str = field(repr=False)
    password_bytes: int = 32
    state: JournalState = JournalState.INTENDED
    create_unknown_at: datetime | None = None
    delete_attempts: int = 0
    delete_reason: DeleteReason | None = None
    secrets_digest: str = field(default="", repr=False)
    projection: str = ""

    @property
    def was_on(self) -> bool:
        """Whether the client was proved to be switched on when it was last proved as it should be."""
        return was_on(self.projection)


def was_on(projection: str) -> bool:
    """Tell whether what was proved last is a client that is switched on; nothing was: no."""
    # The first field of what the core's `expect.project` writes.
    return projection.startswith("1|")
