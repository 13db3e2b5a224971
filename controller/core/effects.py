"""The effects of a turn, their results, and `perform`.

One effect is one crash point: at most one HTTP write, or one database transaction. The worker executes
them and decides nothing; the fault explorer executes them in memory. Not here: doing them.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from controller.core.conditions import NodeStatus
from controller.core.desired import BoundInbound, Desired, ManagedInbound
from controller.core.observed import NotObserved, Observation, ObservedInbound
from desired_state.model.generation import JournalRow
from desired_state.model.ids import (
    Digest,
    Email,
    Epoch,
    Generation,
    InboundId,
    InboundName,
    KeyId,
    NodeName,
)
from desired_state.model.inbound import InboundSpec
from desired_state.model.node import NodeTarget

T = TypeVar("T")


class Effect(Generic[T]):
    """Something to be done outside; `T` is what comes back."""

    __slots__ = ()


Steps = Generator[Effect[Any], Any, T]


def perform(effect: Effect[T]) -> Steps[T]:
    """Yield one effect and hand its result back with its type."""
    result: T = yield effect
    return result


# -- panel reads -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observe(Effect[Observation | NotObserved]):
    """Look at the panel: one GET up to 3.0.2, three from 3.1.0 (status, inbounds, clients)."""

    target: NodeTarget


# -- panel writes ----------------------------------------------------------------------------------


class Verb(StrEnum):
    """The remote operations. Creates come last in a slice, deletes first."""

    DELETE = "delete"
    UPDATE = "update"
    ENABLE = "enable"
    DISABLE = "disable"
    DETACH = "detach"
    ATTACH = "attach"
    CREATE = "create"
    RESTART = "restart"
    """Of the panel's Xray, and of no member: see `controller.core.restart`."""
    ADD_INBOUND = "add-inbound"
    """This one and the next two are of a declared inbound, and of no member: see `declared`."""
    EDIT_INBOUND = "edit-inbound"
    DROP_INBOUND = "drop-inbound"


@dataclass(frozen=True, slots=True)
class ClientRecord:
    """One client as it is to be written.

    Sizes in bytes, `expiry_ms` in Unix milliseconds, 0 for no limit. `inbound_ids` for a create: where
    it is to be; for attach and detach: what changes; for an update and a delete: where it is.
    `method`: of a legacy shadowsocks inbound, which panels up to 3.0.2 want repeated in the client.
    `protocol`: of its inbound on panels up to 3.0.2, where it chooses the field that addresses it.
    `current`: the panel's record of the last look for an update, passed through but for our fields;
    for a delete up to 3.0.2 it holds the credential that the panel knows it by.
    `unnamed`: up to 3.0.2, an update takes the client's email away, and a delete finds the client by
    its credential though it has none (see `ladder`).
    """

    email: Email
    inbound_ids: tuple[InboundId, ...]
    sub_id: str = field(default="", repr=False)
    uuid: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    flow: str = ""
    enable: bool = True
    expiry_ms: int = 0
    total_bytes: int = 0
    limit_ip: int = 0
    tg_id: int = 0
    comment: str = ""
    group: str = ""
    method: str = ""
    protocol: str = ""
    current: "ObservedRecord | None" = None
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class ObservedRecord:
    """The part of a look that a write needs: the panel's own record and spelling of the email."""

    email: str
    uuid: str = field(repr=False)
    password: str = field(repr=False)
    auth: str = field(repr=False)
    raw: Any = field(default=None, repr=False, compare=False, hash=False)


class Verdict(StrEnum):
    """What is known of a write when its call ends; each is a hint until the next look."""

    APPLIED = "applied"
    REJECTED = "rejected"
    """Refused, possibly after half of it was stored."""
    UNKNOWN = "unknown"
    NOT_SENT = "not-sent"


class MemberVerdict(StrEnum):
    """The same for one member of a bulk write."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    ABSENT = "absent"
    PRESENT = "present"
    """Refused, and the panel says that it has it."""


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What a bulk answer said of one email."""

    email: Email
    verdict: MemberVerdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a write.

    `members`: only those that the answer named apart; the rest shares the verdict.
    `cause`: one short sentence, never with a secret. `duration_s`, `sent_bytes`: for chunk sizes.
    """

    verdict: Verdict
    cause: str = ""
    members: tuple[MemberResult, ...] = ()
    duration_s: float = 0.0
    sent_bytes: int = 0
    ended_at: datetime | None = None

    @property
    def ends_writing(self) -> bool:
        """Whether the turn must look before it may write again."""
        return self.verdict in (Verdict.UNKNOWN, Verdict.NOT_SENT)


@dataclass(frozen=True, slots=True)
class InboundWrite:
    """What is to be written of a declared inbound.

    `spec`: as it is to be, for a delete as it was. `seen`: the inbound of the look that an edit or a delete
    was decided from; whatever is another one by now is not touched. `emails`: of a delete, lower-cased:
    the only clients that may go with it.
    """

    spec: InboundSpec
    seen: ObservedInbound | None = None
    emails: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Write(Effect[Outcome]):
    """One call that changes the panel: one verb over one or more members; a restart has none.

    Several members stand only in what the version has a wide call for. Up to 3.0.2 all members of a
    create are of the one inbound `inbound_id`. `inbound`: of the three verbs of a declared inbound.
    """

    target: NodeTarget
    verb: Verb
    members: tuple[ClientRecord, ...]
    inbound_id: InboundId | None = None
    inbound: InboundWrite | None = None


# -- the database ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadDesired(Effect[Desired]):
    """Read placements, journal, mode, policy and epoch in one transaction."""

    node: NodeName


@dataclass(frozen=True, slots=True)
class ReadGenerations(Effect[Mapping[KeyId, Generation]]):
    """Read the current generation of keys that the look showed and `Desired` does not hold.

    A key without a row is left out. Performed only when the look shows such a client.
    """

    node: NodeName
    keys: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True)
class ReadSeeds(Effect[Mapping[tuple[KeyId, Generation], bytes]]):
    """Decrypt the seeds that this turn writes with; an in-sync node reads none."""

    node: NodeName
    wanted: tuple[tuple[KeyId, Generation], ...]


@dataclass(frozen=True, slots=True)
class StartApprovals(Effect[None]):
    """Record that approvals are used from now on; they stay valid for their day."""

    node: NodeName
    digests: tuple[Digest, ...]
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Bind(Effect[None]):
    """Record which inbounds, and which panel, this node's keys live on.

    `guid` None leaves the recorded one. `inbounds` replaces all bound ones.
    """

    node: NodeName
    inbounds: tuple[BoundInbound, ...]
    match_digest: str
    guid: str | None
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class RecordInbounds(Effect[None]):
    """Store what became of declared inbounds; the intent of a create is one of these, before its call.

    `gone`: names of those that are over here, whose rows go.
    """

    node: NodeName
    rows: tuple[ManagedInbound, ...]
    epoch: Epoch
    gone: tuple[InboundName, ...] = ()
    events: tuple["Event", ...] = ()


@dataclass(frozen=True, slots=True)
class ReserveDeletes(Effect[bool]):
    """Take deletes from the fleet's share of the last 10 minutes; False when it is used up.

    `emails`: what is to be deleted, lower-cased and sorted; one that this node took within that time
    counts once, however often its delete has to be tried.
    """

    node: NodeName
    emails: tuple[str, ...]
    owned: int
    epoch: Epoch
    now: datetime


@dataclass(frozen=True, slots=True)
class JournalIntent(Effect[None]):
    """Insert or renew the rows of creates, committed before the first call."""

    node: NodeName
    rows: tuple[JournalRow, ...]
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Gone:
    """A generation proved gone, with its last counters and the reason of its delete."""

    row: JournalRow
    up_bytes: int = 0
    down_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Finalise(Effect[None]):
    """Turn rows into tombstones and book their last counters; conditional on the epoch."""

    node: NodeName
    gone: tuple[Gone, ...]
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class RecordRows(Effect[None]):
    """Store rows as they now are: seen live, a create without an answer, a refused delete.

    `tried`: emails whose drift was written over in this slice, counted for `Drifted/Fighting`.
    `healed`: those of them that the look then showed as they should be.
    """

    node: NodeName
    rows: tuple[JournalRow, ...]
    epoch: Epoch
    healed: tuple[Email, ...] = ()
    tried: tuple[Email, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """An adopted client that the look showed: its new row, and its counter, both directions together."""

    row: JournalRow
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TakeOver(Effect[None]):
    """Begin the journal of adopted clients, and carry their counters over; the panel is not touched."""

    node: NodeName
    taken: tuple[Taken, ...]
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class GiveBack(Effect[None]):
    """Strike rows of released clients out of the journal: from now on they are foreign again.

    No tombstone stays: nothing was deleted, and whoever meets the client is to leave it alone.
    """

    node: NodeName
    rows: tuple[JournalRow, ...]
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class WriteStatus(Effect[None]):
    """Store the node's status because it changed, with the events of this turn."""

    node: NodeName
    status: NodeStatus
    epoch: Epoch
    events: tuple["Event", ...] = ()
    answered: tuple[str, ...] = ()
    """Tokens of the requests that this turn handled."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the node's history: what happened to which email, with the outcome."""

    name: str
    email: str = ""
    detail: str = ""
