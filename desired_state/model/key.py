"""A key: what one person holds. Its life on a panel is told by `generation`.

Callers: commands, placement, queries. Not here: credentials (`credentials`), placement records.
"""

from dataclasses import dataclass
from datetime import datetime

from desired_state.model.ids import Generation, KeyId, NodeName, Revision, SubscriptionId
from desired_state.model.tariff import NodeSelector


@dataclass(frozen=True, slots=True)
class Key:
    """A wanted or deleted key.

    `nodes` is the tariff's selector at the time of issue unless `pinned` names the one node.
    `deleted_at` set: revoked; its row stays until every generation is finalised.
    """

    id: KeyId
    subscription: SubscriptionId
    generation: Generation
    nodes: NodeSelector
    pinned: NodeName | None = None
    deleted_at: datetime | None = None
    reason: str = ""
    revision: Revision = Revision(0)

    @property
    def is_wanted(self) -> bool:
        """Whether the key should exist anywhere."""
        return self.deleted_at is None
