"""Disagreements between desired keys, their placements and the journal of what panels hold of them.

Read as plain tuples, four statements for any number of keys; compared in memory. Callers:
`queries.check`. Not here: payments, what panels hold beside our keys (`queries.check_panels`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.queries.disagreements import Disagreement, Kind
from desired_state.queries.keys import used_bytes
from desired_state.store.convert import journal_from, subscription_from
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, NodeRow, SubscriptionRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow


@dataclass(slots=True)
class _Key:
    """One key and all that is known of it. `owner` None: its subscription is lost."""

    name: str
    generation: int
    wanted: bool
    owner: Subscription | None
    placed: set[str] = field(default_factory=set)
    rows: list[JournalRow] = field(default_factory=list)


async def check_keys(session: AsyncSession, now: datetime) -> list[Disagreement]:
    """Find what is wanted of keys and not so, as far as looks have shown; in no order."""
    keys = await _read(session)
    declared = set(await session.scalars(select(NodeRow.name)))
    return [one for key in keys.values() for one in _compare(key, now, declared)]


async def _read(session: AsyncSession) -> dict[str, _Key]:
    used = await used_bytes(session)
    owners = {
        row.id: subscription_from(row, used.get(row.id, 0))
        for row in await session.scalars(select(SubscriptionRow))
    }
    found = await session.execute(
        select(KeyRow.id, KeyRow.generation, KeyRow.deleted_at, KeyRow.subscription_id)
    )
    keys = {
        name: _Key(name, generation, deleted is None, owners.get(owner))
        for name, generation, deleted, owner in found
    }
    places = select(PlacementRow.key, PlacementRow.node).where(PlacementRow.leaving.is_(None))
    for name, node in await session.execute(places):
        if name in keys:
            keys[name].placed.add(node)
    held = select(RemoteGenerationRow).where(
        may_exist(RemoteGenerationRow.state), RemoteGenerationRow.key.is_not(None)
    )
    for row in map(journal_from, await session.scalars(held)):
        if row.key in keys:
            keys[row.key].rows.append(row)
    return keys


def _compare(key: _Key, now: datetime, declared: set[str]) -> Iterator[Disagreement]:
    if key.owner is None:
        if key.wanted or key.rows:
            told = "it is a key of a subscription that is not there"
            yield Disagreement(Kind.KEY_WITHOUT_SUBSCRIPTION, f"key/{key.name}", told)
        return
    ended = key.owner.ended_by(now)
    stays = {
        node: [r for r in key.rows if r.node == node and r.generation == key.generation]
        for node in (key.placed if key.wanted else ())
    }
    if key.wanted and ended is None and not key.placed:
        yield Disagreement(
            Kind.KEY_WITHOUT_NODE, f"key/{key.name}", "it is in force and lives on no node"
        )
    for node, rows in stays.items():
        yield from _compare_here(key, node, rows, ended)
    yield from _owed(key, declared, kept={id(row) for rows in stays.values() for row in rows})


def _compare_here(
    key: _Key, node: str, rows: list[JournalRow], ended: EndedBy | None
) -> Iterator[Disagreement]:
    """Compare one node that the key is to live on."""
    subject = f"key/{key.name}@{node}"
    proved = bool(rows) and all(r.state is JournalState.LIVE and r.projection for r in rows)
    if ended is None and not proved:
        told = f"it is to live on {node}, and no look has proved that it does"
        yield Disagreement(Kind.NOT_ON_PANEL, subject, told)
    elif ended is None and not all(row.was_on for row in rows):
        told = f"it is in force, and {node} was last seen to have it switched off"
        yield Disagreement(Kind.IN_FORCE_BUT_OFF, subject, told)
    elif ended is not None and any(row.was_on for row in rows):
        banned = key.owner is not None and key.owner.banned
        kind = Kind.BANNED_BUT_SERVED if banned else Kind.ENDED_BUT_SERVED
        why = "its person is banned" if banned else f"its subscription is {ended.value}"
        yield Disagreement(kind, subject, f"{why}, and {node} was last seen to serve it")


def _owed(key: _Key, declared: set[str], kept: Iterable[int]) -> Iterator[Disagreement]:
    """What is to go, and not proved gone."""
    stays = set(kept)
    for row in key.rows:
        if id(row) in stays:
            continue
        subject = f"key/{key.name}@{row.node}"
        if row.node not in declared:
            told = f"{row.email} is on {row.node}, which is not declared any more"
            yield Disagreement(Kind.ON_UNKNOWN_NODE, subject, told)
        else:
            told = f"{row.email} is to be gone from {row.node}, and is not proved to be"
            yield Disagreement(Kind.DELETE_OWED, subject, told)
