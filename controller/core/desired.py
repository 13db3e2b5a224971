"""What the database says of one node, read in one transaction: the second input of the plan.

Made by `controller.runtime.reads`. Not here: SQL, decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.core.conditions import NodeStatus
from desired_state.model.adoption import AdoptedClient
from desired_state.model.generation import JournalRow
from desired_state.model.ids import (
    Digest,
    Epoch,
    Generation,
    InboundId,
    InboundName,
    KeyId,
    NodeName,
    Revision,
)
from desired_state.model.inbound import InboundSpec, InboundState
from desired_state.model.node import Match, Mode, Recovery
from desired_state.model.ownership import Ownership
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy
from desired_state.model.request import RequestKind
from desired_state.model.subscription import Subscription


@dataclass(frozen=True, slots=True)
class BoundInbound:
    """An inbound that this node's keys live on, fixed at the first look.

    `flow` as its match says; `carries_flow`: VLESS over TCP with TLS or Reality, where a flow has a meaning.
    """

    id: InboundId
    protocol: str
    port: int
    tag: str = ""
    flow: str = ""
    carries_flow: bool = False
    password_bytes: int | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class KeyOnNode:
    """One key that is placed here, is leaving, or has rows in this node's journal.

    `placed`: it is to live here. `leaving`: why it is not to any more (None: no placement says so).
    `held_by`: the node of the placement that it replaces, while a generation there is not finalised.
    `counter_base_bytes`: the counter here when the paid period began. Seeds are read apart, and only when
    something is to be written (`ReadSeeds`).
    """

    key: KeyId
    generation: Generation
    subscription: Subscription
    placed: bool = True
    leaving: DeleteReason | None = None
    held_by: NodeName | None = None
    counter_base_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeclaredInbound:
    """An inbound that this node is to have; `leaving`: declared no more, or not for this node."""

    spec: InboundSpec
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class ManagedInbound:
    """What became of a declared inbound here.

    `inbound_id`, `protocol`, `port`, `tag`, `remark`: as a look showed it last; no id: not yet.
    `sent_at`: of a create that no look has proved. `tried_at`, `tried_digest`: the last write that did not
    bring about what was declared, and of what. `reason`: why it is not as declared; "" where it is.
    """

    name: InboundName
    state: InboundState = InboundState.PENDING
    reason: str = ""
    message: str = ""
    inbound_id: InboundId | None = None
    protocol: str = ""
    port: int = 0
    tag: str = ""
    remark: str = ""
    sent_at: datetime | None = None
    tried_at: datetime | None = None
    tried_digest: str = ""


class ApprovalKind(StrEnum):
    """What a person approves."""

    DELETES = "deletes"
    DISABLES = "disables"
    SHRINK = "shrink"


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's approval of exactly one stored set; any subset of `emails` is covered."""

    kind: ApprovalKind
    digest: Digest
    emails: frozenset[str]
    approved_at: datetime
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A request that was not answered yet. `guid`: of a rebuild, the panel that the person was shown."""

    token: str
    kind: RequestKind
    guid: str | None = None


@dataclass(frozen=True, slots=True)
class Heal:
    """How often an email was healed in the last hour, and since when."""

    email: str
    times: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that the plan of one node needs beside the look.

    `journal`: rows that are not gone. `tombstones`: gone ones that are remembered.
    `generations`: current generation of every key that is placed or journalled here.
    `bound`: None before the first binding. `match_digest`: of the matches that `bound` came from.
    `inbounds`: what is declared here beside keys, by name; `managed`: what became of it.
    `adopted`: clients here that a person took over. `released`: lower-cased emails that were given back:
    whatever the journal says of them, they are foreign.
    `status`: as stored; a turn that ends with an equal one writes nothing. `may_remove`: False while
    requests of a controller that died may still arrive at the panel. `recovery`: what nobody
    accepted yet since our database was restored.
    """

    node: NodeName
    mode: Mode
    revision: Revision
    epoch: Epoch
    ownership: Ownership = field(repr=False)
    policy: Policy = Policy()
    matches: tuple[Match, ...] = ()
    bound: tuple[BoundInbound, ...] | None = None
    match_digest: str = ""
    guid: str | None = None
    keys: tuple[KeyOnNode, ...] = ()
    journal: tuple[JournalRow, ...] = ()
    tombstones: tuple[JournalRow, ...] = ()
    generations: Mapping[KeyId, Generation] = field(default_factory=dict, hash=False)
    inbounds: tuple[DeclaredInbound, ...] = ()
    managed: tuple[ManagedInbound, ...] = ()
    adopted: tuple[AdoptedClient, ...] = ()
    released: frozenset[str] = frozenset()
    approvals: tuple[Approval, ...] = ()
    requests: tuple[NodeRequest, ...] = ()
    heals: tuple[Heal, ...] = ()
    draining: bool = False
    recovery: Recovery = Recovery.NONE
    may_remove: bool = True
    status: NodeStatus = field(default_factory=NodeStatus)
    memo: Any = field(default_factory=dict, repr=False, compare=False, hash=False)
    """Scratch space of the plan (`memo.Memo`); whoever keeps this value keeps what was derived from it."""
