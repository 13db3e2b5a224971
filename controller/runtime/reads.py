"""What a turn reads from the database, each in one transaction: `ReadDesired` and its smaller kin.

Callers: the worker. `ReadDesired` is kept in memory, folded between turns, as long as neither a command
nor a record of ours has changed anything: a converged node costs one row. Not here: writing, deciding,
ORM objects where there may be thousands.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from controller.core.conditions import NodeStatus
from controller.core.desired import (
    Approval,
    ApprovalKind,
    Desired,
    Heal,
    NodeRequest,
)
from controller.runtime.adopting import read_adopted
from controller.runtime.declaring import read_inbounds
from controller.runtime.folded import Kept
from controller.runtime.journal_rows import read_journal, read_tombstones
from controller.runtime.keys_here import NOTHING_MORE, Overlay, read_keys
from controller.runtime.lease import Lease
from controller.runtime.looks import Looks
from controller.runtime.stored import inbound_from, status_from
from controller.runtime.successors import keep, read_kept
from controller.runtime.tables import (
    APPROVAL_STARTED,
    AT_ONCE,
    HEAL,
    INBOUND,
    KEY,
    KEY_GENERATION,
    NODE_STATUS,
    PLAN_APPROVAL,
    REQUEST,
    REQUEST_ANSWER,
    REVISION,
)
from controller.runtime.versions import StatusVersions
from controller.telemetry import events
from desired_state.model.errors import ConfigError
from desired_state.model.ids import Digest, Epoch, Generation, KeyId, NodeName, Revision
from desired_state.model.node import NodeTarget
from desired_state.model.policy import Policy, policy_for
from desired_state.model.request import RequestKind
from desired_state.queries.node import TargetUnresolved, node_target
from desired_state.store.convert import node_from, policy_from, seed_place
from desired_state.store.engine import Store
from desired_state.store.errors import SecretUnreadable
from desired_state.store.installation import read_ownership
from desired_state.store.tables.desired import NodeRow, PolicyRow
from desired_state.store.watch import Watch

log = structlog.get_logger(__name__)

HEALS_COUNT_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Approach:
    """What is known of a node before it is contacted.

    `glance`: of the database file when this was read, see `store.watch`.
    `fault`: why its panel cannot be contacted at all. `refused`: the panel refused these very
    credentials and nobody has asked for another try. `asked`: a person asks for one now. `failing`: the
    last look failed.
    """

    target: NodeTarget
    revision: Revision
    fault: str | None = None
    refused: bool = False
    asked: bool = False
    failing: bool = False
    glance: int | None = None


class _Stamp(NamedTuple):
    """Of what something was read: while this is the same, so is what would be read now.

    `version`: of status; `held`: epoch and permission to remove.
    """

    version: tuple[int, int]
    held: tuple[Epoch, bool]
    revision: Revision


class Reader:
    """Reads for turns; remembers the last reading of each node.

    Args:
        store: the database.
        versions: bumped by whoever writes status.
        lease: tells the epoch of a node.
        looks: which nodes were seen well lately; None: what is recorded is believed.
    """

    def __init__(
        self, store: Store, versions: StatusVersions, lease: Lease, looks: Looks | None = None
    ) -> None:
        self._looks = looks
        self._store = store
        self._versions = versions
        self._lease = lease
        self._known: dict[NodeName, tuple[_Stamp, Kept]] = {}
        self._watch = Watch(store)

    def close(self) -> None:
        """Let go of the database file."""
        self._watch.close()

    async def room(self) -> None:
        """Wait while many turns wait to write: what one more would see is old before it may write."""
        await self._store.room()

    async def approach(self, node: NodeName) -> Approach:
        """Resolve a node's target, and whether its credentials may be tried.

        Raises:
            ConfigError: no such node is declared.
        """
        async with self._store.reading() as session:
            revision = await _revision(session)
            try:
                target = await node_target(session, node, self._store.vault)
            except TargetUnresolved as error:
                return Approach(error.target, revision, str(error))
            except ConfigError:
                raise
            connection = await session.connection()
            query = select(
                NODE_STATUS.c.refused_fingerprint,
                NODE_STATUS.c.failures,
                NODE_STATUS.c.connected_at,
            ).where(NODE_STATUS.c.node == node)
            refused, failures, connected_at = (await connection.execute(query)).one_or_none() or (
                "", 0, None,
            )  # fmt: skip
            failing = failures > 0 and connected_at is None
            if not refused or refused != target.fingerprint:
                return Approach(target, revision, failing=failing)
            requests = await _requests(connection, node)
        asked = any(request.kind is RequestKind.RESUME for request in requests)
        return Approach(target, revision, refused=not asked, asked=asked, failing=failing)

    async def approach_since(self, before: Approach) -> Approach:
        """Approach anew if any command has run since; a glance or one row otherwise."""
        # The glance comes first: what is committed after it shows in the next one.
        glance = self._watch.glance()
        if glance is not None and glance == before.glance:
            return before
        async with self._store.reading() as session:
            revision = await _revision(session)
        same = revision == before.revision
        approach = before if same else await self.approach(before.target.node)
        return replace(approach, glance=glance)

    async def desired(
        self,
        node: NodeName,
        now: datetime,
        overlay: Overlay = NOTHING_MORE,
        *,
        acts: bool = False,
    ) -> Desired:
        """Read everything that a node's plan needs beside the look, as of one moment.

        `acts`: something may be deleted on the word of other nodes, which have to be seen well for that.
        """
        # Before the snapshot: what is recorded after this counts as unread.
        version = self._versions.of(node)
        async with self._store.reading() as session:
            held = self._lease.epoch(node), self._lease.may_remove(node)
            stamp = _Stamp(version, held, await _revision(session))
            # Another replica writes status too, and no counter here tells of that.
            keeps = overlay is NOTHING_MORE and self._lease.alone
            known = self._known.get(node) if keeps else None
            if known is not None and known[0] == stamp:
                return known[1].open()
            desired = await self._read(session, node, now, overlay)
            looks = self._looks if acts else None
            kept = await read_kept(session, node, now, looks)
        if kept.watches:
            if looks is not None:
                looks.wait_for(kept.by.values(), node, kept.asked)
            # What other nodes are like may change without a word here.
            self._known.pop(node, None)
            return replace(desired, keys=keep(desired.keys, kept))
        if keeps:
            self._known[node] = stamp, Kept(desired)
        return desired

    @contextmanager
    def folding(self, node: NodeName) -> Iterator[None]:
        """For a turn: what it read is kept small from its end on, or not at all where it changed that."""
        try:
            yield
        finally:
            stamp, kept = self._known.get(node, (None, None))
            if stamp is not None and stamp.version != self._versions.of(node):
                del self._known[node]
            elif kept is not None:
                kept.fold()

    async def generations(self, keys: tuple[KeyId, ...]) -> Mapping[KeyId, Generation]:
        """Read the current generation of keys; one without a row is left out."""
        found: dict[KeyId, Generation] = {}
        async with self._store.reading() as session:
            connection = await session.connection()
            for start in range(0, len(keys), AT_ONCE):
                query = select(KEY.c.id, KEY.c.generation).where(
                    KEY.c.id.in_(keys[start : start + AT_ONCE])
                )
                rows = await connection.execute(query)
                found |= {KeyId(key): Generation(number) for key, number in rows}
        return found

    async def seeds(
        self, wanted: tuple[tuple[KeyId, Generation], ...]
    ) -> Mapping[tuple[KeyId, Generation], bytes]:
        """Read and open seeds; a generation without one, or with one that does not open, is left out.

        A seed that was sealed with other keys holds up its own key and no neighbour.
        """
        asked = set(wanted)
        keys = sorted({key for key, _ in wanted})
        sealed = {}
        async with self._store.reading() as session:
            connection = await session.connection()
            for start in range(0, len(keys), AT_ONCE):
                query = select(
                    KEY_GENERATION.c.key_id, KEY_GENERATION.c.generation, KEY_GENERATION.c.seed
                ).where(KEY_GENERATION.c.key_id.in_(keys[start : start + AT_ONCE]))
                for key, generation, seed in await connection.execute(query):
                    if (key, generation) in asked:
                        sealed[KeyId(key), Generation(generation)] = seed
        opened, closed = {}, []
        for (key, generation), seed in sealed.items():
            try:
                opened[key, generation] = self._store.vault.open(seed, seed_place(key, generation))
            except SecretUnreadable:
                closed.append(f"{key}-g{generation}")
        if closed:
            log.error(events.SEEDS_UNREADABLE, seeds=len(closed), first=min(closed))
        return opened

    async def _read(
        self, session: AsyncSession, node: NodeName, now: datetime, overlay: Overlay
    ) -> Desired:
        row = await session.get(NodeRow, node)
        if row is None:
            raise ConfigError(f"no node {node} is declared")
        declared = node_from(row)
        policies = tuple([policy_from(p) for p in await session.scalars(select(PolicyRow))])
        policy = policy_for(policies, declared.spec.labels)
        connection = await session.connection()
        journal = await read_journal(connection, node)
        tombstones, buried = await read_tombstones(connection, declared.spec, now)
        adopted, released = await read_adopted(connection, node)
        inbounds, managed = await read_inbounds(session, node, declared.spec.labels)
        named = {r.key for r in journal if r.key is not None} | {a.key for a in adopted}
        keys = await read_keys(connection, node, named, overlay.of(node))
        bare = Desired(
            node=node,
            mode=declared.mode,
            revision=await _revision(session),
            epoch=self._lease.epoch(node),
            ownership=await read_ownership(session, self._store.vault),
            policy=policy,
            matches=declared.spec.matches,
            keys=keys,
            journal=journal,
            tombstones=tombstones,
            generations=buried | {key.key: key.generation for key in keys},
            inbounds=inbounds,
            managed=managed,
            adopted=adopted,
            released=released,
            approvals=await _approvals(connection, node, policy, now),
            requests=await _requests(connection, node),
            heals=await _heals(connection, node, now),
            draining=declared.is_draining,
            recovery=declared.overrides.recovery,
            may_remove=self._lease.may_remove(node),
        )
        return await _with_status(connection, bare)


async def _revision(session: AsyncSession) -> Revision:
    connection = await session.connection()
    return Revision(
        await connection.scalar(select(REVISION.c.value).where(REVISION.c.id == 1)) or 0
    )


async def _with_status(connection: AsyncConnection, desired: Desired) -> Desired:
    """Add what is stored of the node itself: its status and what it is bound to."""
    query = select(NODE_STATUS).where(NODE_STATUS.c.node == desired.node)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return replace(desired, status=NodeStatus())
    bound = None
    if row["bound_at"] is not None:
        inbounds = await connection.execute(
            select(INBOUND).where(INBOUND.c.node == desired.node, INBOUND.c.bound)
        )
        found = [inbound_from(dict(values)) for values in inbounds.mappings()]
        bound = tuple(sorted(found, key=lambda inbound: inbound.id))
    return replace(
        desired,
        status=status_from(dict(row)),
        bound=bound,
        match_digest=row["match_digest"],
        guid=row["bound_guid"],
    )


async def _approvals(
    connection: AsyncConnection, node: NodeName, policy: Policy, now: datetime
) -> tuple[Approval, ...]:
    oldest = now - timedelta(seconds=policy.approval_start_s + policy.approval_valid_s)
    query = (
        select(
            PLAN_APPROVAL.c.kind, PLAN_APPROVAL.c.digest, PLAN_APPROVAL.c.emails,
            PLAN_APPROVAL.c.at, APPROVAL_STARTED.c.at,
        )
        .select_from(
            PLAN_APPROVAL.outerjoin(
                APPROVAL_STARTED, APPROVAL_STARTED.c.approval_id == PLAN_APPROVAL.c.id
            )
        )
        .where(PLAN_APPROVAL.c.node == node, PLAN_APPROVAL.c.at > oldest)
        .order_by(PLAN_APPROVAL.c.id)
    )  # fmt: skip
    return tuple(
        [
            Approval(ApprovalKind(kind), Digest(digest), frozenset(emails), at, started_at)
            for kind, digest, emails, at, started_at in await connection.execute(query)
        ]
    )


async def _requests(connection: AsyncConnection, node: NodeName) -> tuple[NodeRequest, ...]:
    answered = and_(REQUEST_ANSWER.c.token == REQUEST.c.token, REQUEST_ANSWER.c.node == node)
    query = (
        select(REQUEST.c.token, REQUEST.c.kind, REQUEST.c.detail)
        .select_from(REQUEST.outerjoin(REQUEST_ANSWER, answered))
        .where(
            or_(REQUEST.c.node == node, REQUEST.c.node.is_(None)),
            REQUEST_ANSWER.c.token.is_(None),
            REQUEST.c.kind.in_([kind.value for kind in RequestKind]),
        )
        .order_by(REQUEST.c.revision, REQUEST.c.token)
    )
    rows = await connection.execute(query)
    return tuple([NodeRequest(t, RequestKind(kind), about.get("guid")) for t, kind, about in rows])


async def _heals(connection: AsyncConnection, node: NodeName, now: datetime) -> tuple[Heal, ...]:
    query = select(HEAL.c.email, HEAL.c.times).where(HEAL.c.node == node).order_by(HEAL.c.email)
    heals = []
    for email, times in await connection.execute(query):
        # To both sides: what a clock left in the future that was set back counts no more.
        recent = [
            at for at in map(datetime.fromisoformat, times) if abs(now - at) < HEALS_COUNT_FOR
        ]
        if recent:
            heals.append(Heal(email, tuple(recent)))
    return tuple(heals)
