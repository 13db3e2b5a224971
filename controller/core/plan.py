"""Desired and observed to the ordered list of what to do: pure, and the same for dry run and apply.

Step: between the look and the guards. Callers: reconcile, guards. Not here: chunks, seeds, guards.

    wanted  journalled  seen       what follows
    ------  ----------  ---------  ------------------------------------------------------------------
    yes     yes         ours       compare: update, enable, disable, attach, detach, or nothing
    yes     yes         twice      delete all of them, then create one
    yes     yes         foreign    EmailTaken: leave it, say so
    yes     yes         no         create again; where a panel could store it twice: delete, look, create
    yes     no          ours       learn its row, then compare
    yes     no          no         create
    no      yes         ours       delete for the reason at hand; without one leave it (quarantine)
    no      yes         no         delete all the same: absence in a list proves nothing
    no      no          our mark   older generation: delete; newer: StaleDesired; unknown key: quarantine
    no      no          otherwise  foreign: counted, never touched
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from controller.core.binding import Survey
from controller.core.effects import Taken, Verb
from controller.core.expect import Wanted
from controller.core.observed import ObservedClient
from desired_state.model.generation import JournalRow
from desired_state.model.ids import Digest, Email, Generation, InboundId, KeyId
from desired_state.model.placement import DeleteReason

_ORDER = (
    Verb.DELETE, Verb.DETACH, Verb.DISABLE, Verb.ENABLE, Verb.ATTACH, Verb.UPDATE, Verb.CREATE,
)  # fmt: skip
_RANK = {verb: rank for rank, verb in enumerate(_ORDER)}


@dataclass(frozen=True, slots=True)
class Action:
    """One remote operation on one email.

    `reason`: of a delete a `DeleteReason`; else the fields that differ, `new`, `missing` or `placeholder`.
    `drift`: nobody asked for this difference. `recreates`: a delete that only clears the way for the same
    client. `current`: the client as seen, None when it was not.
    """

    verb: Verb
    email: Email
    key: KeyId | None
    generation: Generation
    inbound_ids: tuple[InboundId, ...]
    reason: str
    row: JournalRow | None = None
    wanted: Wanted | None = None
    current: ObservedClient | None = None
    drift: bool = False
    recreates: bool = False

    @property
    def sort_key(self) -> tuple[int, str, tuple[InboundId, ...]]:
        """Deletes first, creates last, then by email."""
        return _RANK[self.verb], self.email, self.inbound_ids

    def canonical(self) -> list[object]:
        """What a digest covers: no counter, no time, no secret."""
        return [self.verb.value, self.email.lower(), list(self.inbound_ids), self.reason]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wanted client that cannot be created yet, or a delete that waits, and why."""

    email: Email
    why: str


@dataclass(frozen=True)
class Plan:
    """What one look and one reading of the database ask for.

    `taken_over`: adopted clients that the journal begins with.
    `learned`: rows that the look proved (seen, equal) or found; stored before anything is written.
    `foreign`, `quarantined`: emails. `taken`: our emails that foreign clients hold. `lapsed`: rows of
    those that are to go, with their reason.
    `newer`: emails of generations above our rows. `missing`: live, wanted, and not seen.
    `kept`: how many live rows are wanted; `owned`: clients of ours, seen or journalled.
    `live`: wanted clients that are as they should be. `unserved`: those in force that are not.
    `mark_seen`: at least one client carries our mark.
    `refused`: inbounds left out, because they want a password of another size.
    """

    actions: tuple[Action, ...] = ()
    learned: tuple[JournalRow, ...] = ()
    taken_over: tuple[Taken, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    foreign: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    taken: tuple[Email, ...] = ()
    lapsed: tuple[JournalRow, ...] = ()
    newer: tuple[str, ...] = ()
    unknown_keys: tuple[KeyId, ...] = ()
    missing: tuple[Email, ...] = ()
    survey: Survey = field(default=Survey((), frozenset(), (), (), ()))
    kept: int = 0
    owned: int = 0
    owned_seen: int = 0
    mark_seen: bool = False
    wanted_keys: int = 0
    live: int = 0
    unserved: int = 0
    refused: tuple[InboundId, ...] = ()

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 over the canonical list of actions; independent of order, time and counters."""
        return digest_of(action.canonical() for action in self.actions)

    def of(self, *verbs: Verb) -> tuple[Action, ...]:
        """Return the actions of some verbs, in order."""
        return tuple(action for action in self.actions if action.verb in verbs)

    def without(self, dropped: frozenset[Action]) -> "Plan":
        """Return the plan less some actions."""
        if not dropped:
            return self
        return replace(self, actions=tuple(a for a in self.actions if a not in dropped))


def digest_of(items: Iterable[object]) -> Digest:
    """Digest canonical items: sorted, compact JSON, SHA-256 in hex."""
    lines = sorted(json.dumps(item, separators=(",", ":")) for item in items)
    return Digest(hashlib.sha256("\n".join(lines).encode()).hexdigest())


def deletes(action: Action) -> bool:
    """Tell whether an action takes something away from a key: a delete or a detach."""
    return action.verb in (Verb.DELETE, Verb.DETACH)


def reason_of(action: Action) -> DeleteReason | None:
    """Return the reason of a delete or detach."""
    return DeleteReason(action.reason) if deletes(action) else None


def delete_of(
    row: JournalRow,
    client: ObservedClient | None,
    reason: DeleteReason,
    *,
    recreates: bool = False,
    drift: bool = False,
) -> Action:
    """Make the delete of a journalled client: where it is seen, or where the row says that it was."""
    return Action(
        verb=Verb.DELETE,
        email=row.email if client is None else Email(client.email),
        key=row.key,
        generation=row.generation,
        inbound_ids=row.inbound_ids if client is None else client.inbound_ids,
        reason=reason.value,
        row=row,
        current=client,
        drift=drift,
        recreates=recreates,
    )
