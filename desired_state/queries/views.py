"""Small read models that several queries share: conditions, sets to approve, events.

Callers: the queries beside this file, and whoever renders them. Not here: SQL, rules.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from desired_state.model.ids import Digest, Email, NodeName

WARNINGS = frozenset({
    "CertificateExpired", "CertificateExpiring", "CertificateExpiringSoon", "Quarantined",
    "UnverifiedVersion",
})  # fmt: skip
"""Reasons that are shown and do not make a node less ready."""


@dataclass(frozen=True, slots=True)
class ConditionView:
    """A condition as it is stored; `status` False is said of `Ready` alone."""

    type: str
    reason: str
    message: str
    status: bool
    since: datetime | None

    @property
    def holds(self) -> bool:
        """Whether it is one to worry about: anything that holds but `Ready`."""
        return self.status and self.type != "Ready"


@dataclass(frozen=True, slots=True)
class BlockedView:
    """A set of emails that a guard withholds on a node and a person may approve, under its digest.

    `message`: of the condition that it belongs to. `approved_at`: when it was approved last.
    """

    node: NodeName
    kind: str
    digest: Digest
    emails: tuple[Email, ...]
    message: str = ""
    approved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of a node's history; "" (`epoch`: 0) where a field does not apply.

    `at`: when it was told first; `last_at`: the last of its `times`, None where it has no line.
    """

    at: datetime
    node: NodeName
    name: str
    key: str = ""
    email: str = ""
    detail: str = ""
    cycle_id: str = ""
    before: str = ""
    after: str = ""
    outcome: str = ""
    plan_digest: str = ""
    epoch: int = 0
    times: int = 1
    last_at: datetime | None = None


def conditions_from(stored: list[Any] | None) -> tuple[ConditionView, ...]:
    """Read the conditions of a node's row; none for a node that was never visited."""
    return tuple(
        [
            ConditionView(
                type=value["type"],
                reason=value["reason"],
                message=value["message"],
                status=value["status"],
                since=None if value["since"] is None else datetime.fromisoformat(value["since"]),
            )
            for value in stored or []
        ]
    )


def without_warnings(conditions: tuple[ConditionView, ...]) -> tuple[ConditionView, ...]:
    """Leave out what is only worth knowing: it hinders nothing."""
    return tuple([one for one in conditions if one.reason not in WARNINGS])


def find_condition(conditions: tuple[ConditionView, ...], *types: str) -> ConditionView | None:
    """Return the first condition that holds, by the order of these types."""
    for wanted in types:
        for condition in conditions:
            if condition.type == wanted and condition.status:
                return condition
    return None
