"""What drawing derived from one reading of the database, kept while that reading stays the same object.

A converged node is looked at every minute and changes rarely: the runtime hands the same `Desired` over
again, and the plan then costs little more than comparing. Nothing here is a fact: all of it can be
derived again at any time. Callers: draw, and steps that need the same indexes. Not here: anything that
outlives a `Desired`.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.core.binding import Survey
from controller.core.desired import Desired, KeyOnNode
from controller.core.expect import (
    Shapes,
    Wanted,
    adopted_clients,
    leaving_reason,
    limits_of,
    wanted_clients,
)
from controller.core.features import Features
from controller.core.observed import ObservedClient
from desired_state.model.adoption import AdoptedClient
from desired_state.model.generation import JournalRow
from desired_state.model.ids import InboundId, KeyId
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wants:
    """The wanted clients of a node by lower-cased email, and why keys are to leave, of those that are.

    `inputs`: what they were derived from; the same objects mean the same result.
    `since`, `until`: the span of time in which no due date changes any of them.
    `compared`: for each client, in the same order, a hash of the credentials that were last found as
    they should be (`diff.credentials_of`); 0 before that. The one thing here that changes.
    """

    inputs: tuple[object, ...]
    since: datetime
    until: datetime
    by_email: dict[str, Wanted]
    reasons: dict[KeyId, DeleteReason]
    refused: tuple[InboundId, ...]
    compared: "array[int]"

    def hold(self, desired: Desired, survey: Survey, features: Features, now: datetime) -> bool:
        """Tell whether they are still what these inputs give at this moment."""
        keys, bound, adopted, *rest = self.inputs
        return (
            keys is desired.keys
            and bound is desired.bound
            and adopted is desired.adopted
            and rest == [desired.policy, survey.usable, features]
            and self.since <= now < self.until
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """The journal by lower-cased email. `older`: keys that have a row below their generation."""

    journal: tuple[JournalRow, ...]
    by_email: dict[str, JournalRow]
    older: frozenset[KeyId]


@dataclass(frozen=True, slots=True)
class Buried:
    """The tombstones by lower-cased email."""

    tombstones: tuple[JournalRow, ...]
    by_email: dict[str, JournalRow]


@dataclass(slots=True)
class Memo:
    """The scratch space of one `Desired` and of those replaced from it."""

    wants: Wants | None = None
    rows: Rows | None = None
    buried: Buried | None = None


def memo_of(desired: Desired) -> Memo:
    """Return the scratch space that travels with a `Desired`."""
    memo: Memo = desired.memo.setdefault("plan", Memo())
    return memo


def index_rows(desired: Desired) -> Rows:
    """Index the journal, once for each journal; rows of clients that were given back count no more."""
    memo = memo_of(desired)
    if memo.rows is None or memo.rows.journal is not desired.journal:
        by_email = {
            email: row
            for row in desired.journal
            if (email := lowered(row.email)) not in desired.released
        }
        memo.rows = Rows(desired.journal, by_email, older_keys(desired, by_email))
    return memo.rows


def index_tombstones(desired: Desired) -> dict[str, JournalRow]:
    """Index the tombstones by lower-cased email, once for each set of them."""
    memo = memo_of(desired)
    if memo.buried is None or memo.buried.tombstones is not desired.tombstones:
        by_email = {lowered(row.email): row for row in desired.tombstones}
        memo.buried = Buried(desired.tombstones, by_email)
    return memo.buried.by_email


def older_keys(desired: Desired, rows: dict[str, JournalRow]) -> frozenset[KeyId]:
    """Name the keys that have a row of an older generation: their creates wait."""
    current = {key.key: key.generation for key in desired.keys}
    return frozenset(
        row.key
        for row in rows.values()
        if row.key is not None and row.generation < current.get(row.key, 0)
    )


def derive_wants(
    desired: Desired, survey: Survey, features: Features, rows: dict[str, JournalRow], now: datetime
) -> Wants:
    """Derive the wanted clients of a node from its keys; the rows say how each key is served."""
    shapes = Shapes(survey, features)
    current: dict[KeyId, list[JournalRow]] = defaultdict(list)
    for row in rows.values():
        if row.key is not None:
            current[row.key].append(row)
    adopted: dict[KeyId, list[AdoptedClient]] = defaultdict(list)
    for client in desired.adopted:
        adopted[client.key].append(client)
    wanted: dict[str, Wanted] = {}
    leaving = ((key.key, leaving_reason(key, desired.policy, now)) for key in desired.keys)
    reasons = {key: reason for key, reason in leaving if reason is not None}
    refused: set[InboundId] = set()
    for key in desired.keys:
        if not key.placed or key.key in reasons:
            continue
        held = tuple(c for c in adopted.get(key.key, ()) if c.generation == key.generation)
        # Few keys are adopted, and limits are derived once a key.
        found = tuple(adopted_clients(key, held, survey, desired.policy, now)) if held else ()
        mine = tuple(row for row in current[key.key] if row.generation == key.generation)
        for want in found or _own_clients(desired, key, shapes, mine, now):
            refused.update(want.shape.refused)
            wanted[lowered(want.email)] = want
    return Wants(
        inputs=(
            desired.keys,
            desired.bound,
            desired.adopted,
            desired.policy,
            survey.usable,
            features,
        ),
        since=now,
        until=_next_due(desired.keys, desired.policy, now),
        by_email=wanted,
        reasons=reasons,
        refused=tuple(sorted(refused)),
        compared=array("q", bytes(8 * len(wanted))),
    )


def _own_clients(
    desired: Desired, key: KeyOnNode, shapes: Shapes, rows: tuple[JournalRow, ...], now: datetime
) -> Iterator[Wanted]:
    """Yield the clients of a key as we make them ourselves."""
    kinds = shapes.of_key(rows, desired.ownership.email(key.key, key.generation))
    limits = limits_of(key.subscription, key.counter_base_bytes, desired.policy, now)
    return wanted_clients(key, kinds, limits, desired.ownership, rows)


def _next_due(keys: tuple[KeyOnNode, ...], policy: Policy, now: datetime) -> datetime:
    """Find the first moment at which time alone changes what is wanted."""
    later = timedelta(seconds=policy.delete_expired_after_s)
    due = {key.subscription.valid_until for key in keys}
    moments = [m for at in due if at is not None for m in (at, at + later) if m > now]
    return min(moments, default=FOREVER)


def lowered(email: str) -> str:
    """Return an email in lower case: the very same text where it is that already, held once."""
    lower = email.lower()
    return email if lower == email else lower


def index_clients(clients: tuple[ObservedClient, ...]) -> dict[str, list[ObservedClient]]:
    """Group clients by lower-cased email: panels take case variants for one identity."""
    seen: dict[str, list[ObservedClient]] = {}
    for client in clients:
        seen.setdefault(client.email.lower(), []).append(client)
    return seen
