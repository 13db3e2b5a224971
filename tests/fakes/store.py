"""The database of the core's effects in memory: it keeps, fences and counts, and decides nothing.

Callers: `world` (executes effects on it), `people` (writes desired state into it). Each database effect
is one transaction here too: it happens wholly, or `StoreFailed` is raised and nothing has changed.
Not here: SQL, panels, the choices that people and the scheduler make.
"""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from controller.core import effects as fx
from controller.core.conditions import NodeStatus
from controller.core.desired import (
    Approval,
    BoundInbound,
    DeclaredInbound,
    Desired,
    Heal,
    KeyOnNode,
    ManagedInbound,
    NodeRequest,
)
from desired_state.model.adoption import AdoptedClient
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import (
    Email,
    Epoch,
    Generation,
    KeyId,
    NodeName,
    Revision,
    SubscriptionId,
)
from desired_state.model.node import Credentials, Match, Mode, NodeTarget, Tls
from desired_state.model.ownership import InstallationSecret, Ownership
from desired_state.model.placement import DeleteReason, Placement
from desired_state.model.policy import Policy
from desired_state.model.subscription import Subscription

OWNERSHIP = Ownership((InstallationSecret(1, b"secret of a test installation"),))
TOMBSTONES_LIVE = timedelta(days=30)
HEALS_COUNT_FOR = timedelta(hours=1)


class StoreFailed(Exception):
    """A transaction did not happen: the turn ends here."""


class Fenced(StoreFailed):
    """The epoch of the effect is not the node's any more."""


@dataclass
class NodeRow:
    """Everything stored of one node."""

    name: NodeName
    mode: Mode = Mode.ENFORCE
    epoch: Epoch = Epoch(1)
    policy: Policy = Policy()
    matches: tuple[Match, ...] = ()
    draining: bool = False
    fingerprint: str = "f1"
    bound: tuple[BoundInbound, ...] | None = None
    match_digest: str = ""
    guid: str | None = None
    status: NodeStatus = field(default_factory=NodeStatus)
    approvals: tuple[Approval, ...] = ()
    requests: tuple[NodeRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as stored: wanted or revoked, its present generation, its subscription."""

    id: KeyId
    generation: Generation
    subscription: SubscriptionId
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Deletes:
    """Deletes that were reserved at a moment."""

    at: datetime
    node: NodeName
    emails: frozenset[str]


def seed_of(key: KeyId, generation: Generation) -> bytes:
    """Return the seed of a generation: fixed by its name, as if it had been drawn once."""
    return hashlib.sha256(f"{key}/{generation}".encode()).digest()


class Reading(NamedTuple):
    """What was read of a node when `FakeStore.changes` stood there, and when that was."""

    changes: int
    at: datetime
    desired: Desired


@dataclass
class FakeStore:
    """All tables, and the counts that the oracles read.

    `adopted`: what a person took over; `materials`: the credentials of those generations.
    `journal` holds rows of every state; `gone_at` when a row became a tombstone. `writes` counts the
    transactions that changed something, `changes` those and everything that people wrote; `counters`
    the bytes booked for a key and a node. `fleet_floor`: deletes that no fleet is too small for; a share
    of three keys would forbid everything.
    """

    nodes: dict[NodeName, NodeRow] = field(default_factory=dict)
    keys: dict[KeyId, KeyRow] = field(default_factory=dict)
    subscriptions: dict[SubscriptionId, Subscription] = field(default_factory=dict)
    placements: dict[tuple[KeyId, NodeName], Placement] = field(default_factory=dict)
    journal: dict[tuple[NodeName, Email], JournalRow] = field(default_factory=dict)
    gone_at: dict[tuple[NodeName, Email], datetime] = field(default_factory=dict)
    counters: dict[tuple[KeyId, NodeName], int] = field(default_factory=dict)
    counter_bases: dict[tuple[KeyId, NodeName], int] = field(default_factory=dict)
    adopted: dict[tuple[NodeName, Email], AdoptedClient] = field(default_factory=dict)
    released: dict[tuple[NodeName, Email], KeyId] = field(default_factory=dict)
    materials: dict[tuple[KeyId, Generation], bytes] = field(default_factory=dict)
    inbounds: dict[tuple[NodeName, str], DeclaredInbound] = field(default_factory=dict)
    managed: dict[tuple[NodeName, str], ManagedInbound] = field(default_factory=dict)
    heals: tuple[tuple[NodeName, Email, datetime], ...] = ()
    budget: tuple[Deletes, ...] = ()
    events: tuple[tuple[NodeName, fx.Event], ...] = ()
    revision: Revision = Revision(1)
    writes: int = 0
    changes: int = 0
    fleet_floor: int = 20
    ownership: Ownership = OWNERSHIP
    lost_seeds: frozenset[KeyId] = frozenset()
    """Keys whose seeds cannot be opened."""
    _readings: dict[NodeName, Reading] = field(default_factory=dict)

    def copy(self) -> "FakeStore":
        """Return a store that goes its own way from here."""
        twin = copy(self)
        twin.nodes = {name: copy(row) for name, row in self.nodes.items()}
        for name in (
            "keys", "subscriptions", "placements", "journal", "gone_at", "counters",
            "counter_bases", "_readings", "adopted", "released", "materials", "inbounds", "managed",
        ):  # fmt: skip
            setattr(twin, name, dict(getattr(self, name)))
        return twin

    def add_node(self, name: str, **fields: object) -> NodeRow:
        """Declare a node."""
        row = NodeRow(NodeName(name), **fields)  # type: ignore[arg-type]
        self.nodes[row.name] = row
        return row

    def target(self, name: NodeName) -> NodeTarget:
        """Build what reaches a node's panel."""
        row = self.nodes[name]
        return NodeTarget(
            node=name,
            url=f"http://127.0.0.1/{name}/",
            credentials=Credentials(token="t"),
            tls=Tls(),
            mode=row.mode,
            fingerprint=row.fingerprint,
        )

    # -- reads -------------------------------------------------------------------------------------

    def read_desired(self, effect: fx.ReadDesired, now: datetime) -> Desired:
        """Collect what the plan of one node needs; the same value again while nothing has changed.

        The controller keeps its last reading too, and with it what a plan derived from it.
        """
        kept = self._readings.get(effect.node)
        if kept is None or kept.changes != self.changes:
            kept = Reading(self.changes, now, self._read_desired(effect, now))
            self._readings[effect.node] = kept
        return kept.desired

    def read_at(self) -> tuple[tuple[NodeName, datetime], ...]:
        """Tell when each reading that still holds was taken: together with the tables, what it says.

        Without tombstones and heals it says the same whenever it was taken.
        """
        if not self.gone_at and not self.heals:
            return ()
        return tuple(
            (node, kept.at) for node, kept in self._readings.items() if kept.changes == self.changes
        )

    def _read_desired(self, effect: fx.ReadDesired, now: datetime) -> Desired:
        row = self.nodes[effect.node]
        rows = [r for (node, _), r in self.journal.items() if node == row.name]
        live = tuple(r for r in rows if r.state is not JournalState.GONE)
        placed = {k: p for (k, node), p in self.placements.items() if node == row.name}
        adopted = tuple(a for (node, _), a in sorted(self.adopted.items()) if node == row.name)
        concerned = {
            *placed,
            *(a.key for a in adopted),
            *(r.key for r in live if r.key is not None),
        }
        known = concerned | {r.key for r in rows if r.key is not None}
        return Desired(
            node=row.name,
            mode=row.mode,
            revision=self.revision,
            epoch=row.epoch,
            ownership=self.ownership,
            policy=row.policy,
            matches=row.matches,
            bound=row.bound,
            match_digest=row.match_digest,
            guid=row.guid,
            keys=tuple(
                self._key_on_node(self.keys[k], row.name, placed.get(k))
                for k in sorted(concerned)
                if k in self.keys
            ),
            journal=tuple(sorted(live, key=lambda r: r.email)),
            tombstones=self._tombstones(row.name, rows, now),
            generations={k: self.keys[k].generation for k in known if k in self.keys},
            inbounds=tuple(
                one
                for (node, name), one in sorted(self.inbounds.items())
                if node == row.name and (not one.leaving or (node, name) in self.managed)
            ),
            managed=tuple(m for (node, _), m in sorted(self.managed.items()) if node == row.name),
            adopted=adopted,
            released=frozenset(
                email.lower()
                for (node, email), key in self.released.items()
                if any(r.key == key and (node, email) == (row.name, r.email) for r in live)
            ),
            approvals=row.approvals,
            requests=row.requests,
            heals=self._heals_of(row.name, now),
            draining=row.draining,
            status=row.status,
        )

    def read_generations(self, effect: fx.ReadGenerations) -> Mapping[KeyId, Generation]:
        """Tell the current generation of keys; one that is not stored is missing."""
        return {k: self.keys[k].generation for k in effect.keys if k in self.keys}

    def read_seeds(self, effect: fx.ReadSeeds) -> Mapping[tuple[KeyId, Generation], bytes]:
        """Hand out the seeds asked for; one of a key that is not stored is missing."""
        return {
            (key, generation): self.materials.get((key, generation), seed_of(key, generation))
            for key, generation in effect.wanted
            if key in self.keys and key not in self.lost_seeds
        }

    def _key_on_node(self, key: KeyRow, node: NodeName, placement: Placement | None) -> KeyOnNode:
        held_by = None
        if placement is not None and placement.replaces is not None:
            still = any(
                r.key == key.id and r.state is not JournalState.GONE
                for (where, _), r in self.journal.items()
                if where == placement.replaces
            )
            held_by = placement.replaces if still else None
        revoked = DeleteReason.REVOKED if key.deleted else None
        lost = Subscription(key.subscription, tariff="", lost=True)  # type: ignore[arg-type]
        return KeyOnNode(
            key=key.id,
            generation=key.generation,
            subscription=self.subscriptions.get(key.subscription, lost),
            placed=placement is not None and placement.leaving is None,
            leaving=placement.leaving if placement is not None else revoked,
            held_by=held_by,
            counter_base_bytes=self.counter_bases.get((key.id, node), 0),
        )

    def _tombstones(
        self, node: NodeName, rows: list[JournalRow], now: datetime
    ) -> tuple[JournalRow, ...]:
        return tuple(
            sorted(
                (
                    r
                    for r in rows
                    if r.state is JournalState.GONE
                    and now - self.gone_at[node, r.email] < TOMBSTONES_LIVE
                ),
                key=lambda r: r.email,
            )
        )

    def _heals_of(self, node: NodeName, now: datetime) -> tuple[Heal, ...]:
        times: dict[Email, list[datetime]] = {}
        for where, email, at in self.heals:
            if where == node and now - at < HEALS_COUNT_FOR:
                times.setdefault(email, []).append(at)
        return tuple(Heal(email, tuple(at)) for email, at in sorted(times.items()))

    # -- writes ------------------------------------------------------------------------------------

    def write(self, effect: fx.Effect[None] | fx.ReserveDeletes, now: datetime) -> object:
        """Do one database effect as one transaction, if its epoch is still the node's."""
        row = self.nodes[effect.node]  # type: ignore[attr-defined]
        if effect.epoch != row.epoch:  # type: ignore[union-attr]
            raise Fenced(f"{type(effect).__name__} with epoch {effect.epoch}")  # type: ignore[union-attr]
        if isinstance(effect, fx.ReserveDeletes):
            return self._reserve(effect, row.policy)
        self.writes += 1
        self.changes += 1
        match effect:
            case fx.Bind():
                row.bound, row.match_digest = effect.inbounds, effect.match_digest
                row.guid = row.guid if effect.guid is None else effect.guid
            case fx.StartApprovals():
                row.approvals = tuple(
                    replace(a, started_at=now)
                    if a.digest in effect.digests and a.started_at is None
                    else a
                    for a in row.approvals
                )
            case fx.JournalIntent() | fx.RecordRows():
                self._upsert(effect.rows, now)
                tried = effect.tried if isinstance(effect, fx.RecordRows) else ()
                self.heals += tuple((row.name, email, now) for email in tried)
            case fx.RecordInbounds():
                self._record_inbounds(effect)
            case fx.TakeOver():
                self._upsert(tuple(taken.row for taken in effect.taken), now)
            case fx.GiveBack():
                self._give_back(effect)
            case fx.Finalise():
                self._finalise(effect, now)
            case fx.WriteStatus():
                row.status = effect.status
                row.requests = tuple(r for r in row.requests if r.token not in effect.answered)
                self.events += tuple((row.name, event) for event in effect.events)
            case _:
                raise AssertionError(f"an effect that the store does not know: {effect}")
        return None

    def _upsert(self, rows: tuple[JournalRow, ...], now: datetime) -> None:
        for row in rows:
            place = row.node, row.email
            self.journal[place] = row
            if row.state is JournalState.GONE:
                self.gone_at.setdefault(place, now)
            else:
                self.gone_at.pop(place, None)

    def _record_inbounds(self, effect: fx.RecordInbounds) -> None:
        for row in effect.rows:
            self.managed[effect.node, row.name] = row
        for name in effect.gone:
            del self.managed[effect.node, name]
        self.events += tuple((effect.node, event) for event in effect.events)

    def _give_back(self, effect: fx.GiveBack) -> None:
        for row in effect.rows:
            self.journal.pop((row.node, row.email), None)
            if row.key is not None:
                self._end_placement(row.key, row.node)

    def _finalise(self, effect: fx.Finalise, now: datetime) -> None:
        for gone in effect.gone:
            place = gone.row.node, gone.row.email
            self.journal[place] = replace(gone.row, state=JournalState.GONE)
            self.gone_at[place] = now
            if gone.row.key is not None:
                usage = gone.row.key, gone.row.node
                booked = gone.up_bytes + gone.down_bytes
                self.counters[usage] = self.counters.get(usage, 0) + booked
                self._end_placement(gone.row.key, gone.row.node)

    def _end_placement(self, key: KeyId, node: NodeName) -> None:
        """Forget a placement that was leaving once nothing of its key is journalled there."""
        placement = self.placements.get((key, node))
        if placement is None or placement.leaving is None or self.has_rows(key, node):
            return
        del self.placements[key, node]

    def has_rows(self, key: KeyId, node: NodeName) -> bool:
        """Whether any generation of a key is not finalised on a node."""
        return any(
            r.key == key and r.state is not JournalState.GONE
            for (where, _), r in self.journal.items()
            if where == node
        )

    def _reserve(self, effect: fx.ReserveDeletes, policy: Policy) -> bool:
        window = timedelta(seconds=policy.fleet_delete_window_s)
        recent = [d for d in self.budget if effect.now - d.at < window]
        fresh = frozenset(effect.emails).difference(
            *(d.emails for d in recent if d.node == effect.node)
        )
        if not fresh:
            return True
        live = sum(r.state is JournalState.LIVE for r in self.journal.values())
        share = max(self.fleet_floor, int(policy.fleet_delete_share * max(live, effect.owned)))
        if sum(len(d.emails) for d in recent) + len(fresh) > share:
            return False
        self.writes += 1
        self.budget += (Deletes(effect.now, effect.node, fresh),)
        return True
