"""Disagreements between desired keys, their placements and the journal of what panels hold of them.

Read as plain tuples, four statements for any number of keys; compared in memory. Callers:
`queries.check`. Not here: payments, what panels hold beside our keys (`queries.check_panels`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.generation import JournalState, was_on
from desired_state.model.ids import SubscriptionId, TariffName
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.queries.disagreements import Disagreement, Kind
from desired_state.queries.keys import used_bytes
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, NodeRow, SubscriptionRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow


class _Row(NamedTuple):
    """What of a journal row tells where its client is, and how it was seen last."""

    node: str
    email: str
    generation: int
    state: str
    projection: str

    @property
    def is_proved(self) -> bool:
        return self.state == JournalState.LIVE.value and self.projection != ""

    @property
    def was_on(self) -> bool:
        return was_on(self.projection)


class _Owner(NamedTuple):
    """Why a subscription is not in force, None where it is; and whether its person is banned."""

    ended: EndedBy | None
    banned: bool


@dataclass(slots=True)
class _Key:
    """One key and all that is known of it. `owner` None: its subscription is lost."""

    name: str
    generation: int
    wanted: bool
    owner: _Owner | None
    placed: tuple[str, ...] = ()
    rows: tuple[_Row, ...] = ()


async def check_keys(session: AsyncSession, now: datetime) -> list[Disagreement]:
    """Find what is wanted of keys and not so, as far as looks have shown; in no order."""
    keys = await _read(session, now)
    declared = set(await session.scalars(select(NodeRow.name)))
    return [one for key in keys.values() for one in _compare(key, declared)]


async def _read(session: AsyncSession, now: datetime) -> dict[str, _Key]:
    owners = await _owners(session, now)
    found = await session.execute(
        select(KeyRow.id, KeyRow.generation, KeyRow.deleted_at, KeyRow.subscription_id)
    )
    keys = {
        name: _Key(name, generation, deleted is None, owners.get(owner))
        for name, generation, deleted, owner in found
    }
    places = select(PlacementRow.key, PlacementRow.node).where(PlacementRow.leaving.is_(None))
    for name, node in await session.execute(places):
        key = keys.get(name)
        if key is not None:
            key.placed = (*key.placed, node)
    row = RemoteGenerationRow
    held = select(row.key, row.node, row.email, row.generation, row.state, row.projection).where(
        may_exist(row.state), row.key.is_not(None)
    )
    for owner, node, email, generation, state, projection in await session.execute(held):
        key = keys.get(owner or "")
        if key is not None:
            key.rows = (*key.rows, _Row(node, email, generation, state, projection))
    return keys


async def _owners(session: AsyncSession, now: datetime) -> dict[str, _Owner]:
    """Read what is in force; tuples, since mapped rows cost ten times as much."""
    used = await used_bytes(session)
    row = SubscriptionRow
    query = select(
        row.id, row.tariff_name, row.valid_until, row.quota_bytes, row.devices, row.suspended,
        row.banned, row.frozen_at,
    )  # fmt: skip
    owners = {}
    for name, tariff, until, quota, devices, suspended, banned, frozen_at in await session.execute(
        query
    ):
        subscription = Subscription(
            id=SubscriptionId(name),
            tariff=TariffName(tariff),
            valid_until=until,
            quota_bytes=quota,
            devices=devices,
            suspended=suspended,
            used_bytes=used.get(name, 0),
            banned=banned,
            frozen_at=frozen_at,
        )
        owners[name] = _Owner(subscription.ended_by(now), banned)
    return owners


def _compare(key: _Key, declared: set[str]) -> Iterator[Disagreement]:
    if key.owner is None:
        if key.wanted or key.rows:
            told = "it is a key of a subscription that is not there"
            yield Disagreement(Kind.KEY_WITHOUT_SUBSCRIPTION, f"key/{key.name}", told)
        return
    ended = key.owner.ended
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
    if sum(map(len, stays.values())) < len(key.rows):
        yield from _owed(key, declared, kept={row for rows in stays.values() for row in rows})


def _compare_here(
    key: _Key, node: str, rows: list[_Row], ended: EndedBy | None
) -> Iterator[Disagreement]:
    """Compare one node that the key is to live on."""
    subject = f"key/{key.name}@{node}"
    proved = bool(rows) and all(row.is_proved for row in rows)
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


def _owed(key: _Key, declared: set[str], kept: set[_Row]) -> Iterator[Disagreement]:
    """What is to go, and not proved gone."""
    for row in key.rows:
        if row in kept:
            continue
        subject = f"key/{key.name}@{row.node}"
        if row.node not in declared:
            told = f"{row.email} is on {row.node}, which is not declared any more"
            yield Disagreement(Kind.ON_UNKNOWN_NODE, subject, told)
        else:
            told = f"{row.email} is to be gone from {row.node}, and is not proved to be"
            yield Disagreement(Kind.DELETE_OWED, subject, told)
