"""What a key that is to leave a node waits for: who is to serve it first, and what is missing there.

Tells what the controller asks before it takes a client away (`scheduling.proofs`), as far as it is stored; a
look that nobody waited for is in no table. Callers: `queries.key`, `queries.stuck`. Not here: deciding.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy, policy_for
from desired_state.scheduling.eligible import NodeState, is_serving, refuse_health
from desired_state.scheduling.proofs import FRESH_S
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.sight import SightRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow

_ELSEWHERE = {
    reason.value for reason in (DeleteReason.MOVED, DeleteReason.DRAINED, DeleteReason.SURPLUS)
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A key stays on `source` until `by` serves it. `since`: when that began.

    `lacks`: what is missing, in one word: `client`, `node`, `xray` or `look`; `missing`: the same for people.
    """

    key: KeyId
    source: NodeName
    by: NodeName
    since: datetime
    lacks: str
    missing: str

    @property
    def told(self) -> str:
        """A whole sentence."""
        return f"kept until {self.by} serves it: {self.missing}"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is stored of the nodes that keys wait for, as of `now`."""

    now: datetime
    states: Mapping[str, NodeState]
    policies: tuple[Policy, ...]
    sights: Mapping[str, SightRow]
    live: frozenset[tuple[str, str]]


async def list_waiting(
    session: AsyncSession, keys: Collection[KeyId], now: datetime
) -> dict[tuple[KeyId, NodeName], Waiting]:
    """Read what these keys wait for, by key and the node that they are to leave.

    A key that moves delete-first waits for nobody, nor does one whose last proof is there.
    """
    rows = await _places(session, keys)
    if len(rows) < 2:
        return {}
    found: dict[tuple[KeyId, NodeName], Waiting] = {}
    facts = await _facts(session, keys, now)
    of_keys: defaultdict[str, list[PlacementRow]] = defaultdict(list)
    for row in rows:
        of_keys[row.key].append(row)
    for place in rows:
        own = [r for r in of_keys[place.key] if r.node != place.node and not r.leaving]
        if not own or any(r.replaces == place.node for r in own):
            continue
        if place.leaving is None:
            # Create-first: the new place names the one that it came from, and both stand.
            own = [r for r in own if r.reason.endswith(f" from {place.node}") and r.at > place.at]
        elif place.leaving not in _ELSEWHERE:
            continue
        missing = [_missing(facts, r.key, NodeName(r.node)) for r in own]
        # Of a key that is to live on several nodes, one that serves it is enough.
        if not missing or any(lack is None for lack in missing):
            continue
        (lacks, words), by = next(m for m in missing if m), own[0].node
        since = place.leaving_at or own[0].at
        where = KeyId(place.key), NodeName(place.node)
        found[where] = Waiting(*where, NodeName(by), since, lacks, words)
    return found


async def _places(session: AsyncSession, keys: Collection[KeyId]) -> list[PlacementRow]:
    query = (
        select(PlacementRow)
        .join(KeyRow, KeyRow.id == PlacementRow.key)
        .where(PlacementRow.key.in_(keys), KeyRow.deleted_at.is_(None))
        .order_by(PlacementRow.key, PlacementRow.node)
    )
    return list(await session.scalars(query))


async def _facts(session: AsyncSession, keys: Collection[KeyId], now: datetime) -> _Facts:
    live = (
        select(RemoteGenerationRow.key, RemoteGenerationRow.node)
        .join(KeyRow, KeyRow.id == RemoteGenerationRow.key)
        .where(
            RemoteGenerationRow.key.in_(keys),
            RemoteGenerationRow.state == JournalState.LIVE.value,
            RemoteGenerationRow.generation == KeyRow.generation,
        )
    )
    rows = await session.execute(live)
    return _Facts(
        now,
        {state.node.name: state for state in await read_node_states(session)},
        await read_policies(session),
        {row.node: row for row in await session.scalars(select(SightRow))},
        frozenset((str(key), node) for key, node in rows),
    )


def _missing(facts: _Facts, key: str, name: NodeName) -> tuple[str, str] | None:
    """Say what keeps a node from being believed to serve a key; None when nothing does."""
    state = facts.states.get(name)
    if state is None:
        return "node", f"{name} is not declared any more"
    policy = policy_for(facts.policies, state.node.spec.labels)
    if not is_serving(state, policy):
        return _not_serving(state, policy)
    if (key, name) not in facts.live:
        return "client", f"its client was not seen on {name} yet"
    return _missing_look(facts, name)


def _missing_look(facts: _Facts, name: NodeName) -> tuple[str, str] | None:
    sight = facts.sights.get(name)
    if sight is None:
        return "look", f"a look at {name} is still to come"
    if sight.seen_at is None:
        asked = facts.now - sight.asked_at
        return "look", f"a look at {name} was asked for {asked.total_seconds():.0f} s ago"
    age = facts.now - sight.seen_at
    if age > timedelta(seconds=FRESH_S):
        return (
            "look",
            f"the last look at {name} is {age.total_seconds():.0f} s old; the next one tells",
        )
    return None


def _not_serving(state: NodeState, policy: Policy) -> tuple[str, str]:
    name = state.node.name
    if state.node.orphaned:
        return "node", f"{name} is in no manifest any more"
    if state.node.mode is Mode.PAUSED:
        return "look", f"{name} is paused: nobody looks at it"
    refusal = refuse_health(state, policy)
    if refusal is None:
        return "node", f"{name} is on probation after {state.failures} failed looks"
    is_xray = policy.require_xray and state.xray_running is False
    return "xray" if is_xray and "Xray" in refusal.message else "node", f"{name} {refusal.message}"
