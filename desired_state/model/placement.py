"""Placement: the decision that a key lives on a node, recorded with its reason.

Callers: scheduling (makes), core (obeys), queries. Not here: how the choice is made.
"""

from dataclasses import dataclass
from enum import StrEnum

from desired_state.model.ids import KeyId, NodeName


class DeleteReason(StrEnum):
    """Every delete names one of these."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    ROTATED = "rotated"
    MOVED = "moved"
    DRAINED = "drained"
    FAILED_OVER = "failed-over"
    """Its node was unreachable for so long that the key was placed elsewhere: a debt, paid on return."""
    SURPLUS = "surplus"
    """Its key lives on more nodes than its tariff is for."""
    WRITTEN_OFF = "written-off"
    """Its panel was declared gone for good, and came back with it."""
    UNMATCHED = "unmatched"
    SUPERSEDED = "superseded"
    """An entry that must not exist beside the one that does: a twin, or one that came back."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Key K lives on node N, because `reason`.

    `replaces`: the node it moves off; a create here waits until that one is finalised (delete-first).
    `leaving`: set when it ends; the row stays until the key's generations here are finalised.
    """

    key: KeyId
    node: NodeName
    reason: str
    replaces: NodeName | None = None
    leaving: DeleteReason | None = None
