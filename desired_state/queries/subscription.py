"""One subscription in full: days left, quota left, and the true state of each key on each node.

The one source of these for bot, admin and cli: whoever shows a subscription shows this. An error of the
database raises: there is no value here that stands for "could not be read", so that none can look like
0 days. Not here: credentials and links, why a node is refused (`queries.key`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.device import Device
from desired_state.model.ids import KeyId, NodeName, PurchaseId, SubscriptionId
from desired_state.model.payment import Payment
from desired_state.model.purchase import Purchase
from desired_state.queries.explain import Explanation, Step
from desired_state.queries.key import KeyDetail, show_key
from desired_state.queries.subscriptions import SubscriptionSummary, summarise
from desired_state.queries.views import ConditionView, conditions_from, find_condition
from desired_state.store.convert import journal_from, tariff_from
from desired_state.store.convert_shop import device_from, payment_from, purchase_from
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.desired import KeyRow, TariffRow
from desired_state.store.tables.shop import DeviceRow, PaymentRow, PurchaseRow
from desired_state.store.tables.status import NodeStatusRow, RemoteGenerationRow

_WHYS = 3
"""Reasons of nodes that are told where a key lives nowhere."""


class OnNode(StrEnum):
    """What a key is on a node, as a look proved it."""

    SERVED = "served"
    """It is there, and switched on."""
    OFF = "off"
    """It is there and switched off, since its subscription is not in force."""
    PREPARED = "being-prepared"
    """It is to be there and not proved to be yet."""
    SWITCHING = "switching-off"
    """Its subscription is not in force, and the node was not seen to have switched it off yet."""
    UNSURE = "unsure"
    """It was there; the node cannot be looked at now."""
    LEAVING = "leaving"
    """It is to go from there, and not proved gone yet."""


@dataclass(frozen=True, slots=True)
class KeyOnNode:
    """One key on one node. `why`: what a key waits for, a whole sentence; `next_try`: in words."""

    key: KeyId
    node: NodeName
    state: OnNode
    why: str = ""
    next_try: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionDetail:
    """A subscription in full; `summary` is its line of the list.

    `nodes`: every key on every node that it is on, is to be on, or has to leave, by key and node.
    `waiting`: keys that no node carries, with the scheduler's reason. `purchases` and `payments`: the
    newest first. `devices`: seen last first.
    """

    summary: SubscriptionSummary
    tariff_title_ru: str
    tariff_title_en: str
    nodes: tuple[KeyOnNode, ...]
    waiting: tuple[tuple[KeyId, str], ...]
    purchases: tuple[Purchase, ...]
    payments: tuple[Payment, ...]
    devices: tuple[Device, ...]

    @property
    def served(self) -> int:
        """On how many nodes a key of it is served now, as the last look proved."""
        return sum(one.state is OnNode.SERVED for one in self.nodes)


async def show_subscription(
    session: AsyncSession, name: SubscriptionId, now: datetime
) -> SubscriptionDetail | None:
    """Read one subscription; None only where the database was read and holds none of that id.

    Args:
        session: any transaction: all of it is of one moment.
        name: which one.
        now: what is left of it then.

    Raises:
        StoreError: the database could not be read; there is no answer then.
    """
    summary = await summarise(session, now, name)
    if summary is None:
        return None
    tariff = tariff_from(await session.get_one(TariffRow, summary.subscription.tariff))
    details = await _details(session, now, name)
    blind = await _blind(session)
    served = await _switched_on(session, [detail.key.id for detail in details])
    found: list[KeyOnNode] = []
    waiting: list[tuple[KeyId, str]] = []
    for detail in details:
        here = tuple(_on_nodes(detail, served, blind))
        found += here
        if detail.key.is_wanted and not any(one.state is not OnNode.LEAVING for one in here):
            waiting.append((detail.key.id, _why_nowhere(detail)))
    purchases = await _purchases(session, name)
    return SubscriptionDetail(
        summary=summary,
        tariff_title_ru=tariff.title_ru,
        tariff_title_en=tariff.title_en,
        nodes=tuple(found),
        waiting=tuple(waiting),
        purchases=purchases,
        payments=await _payments(session, [purchase.id for purchase in purchases]),
        devices=await list_devices(session, name),
    )


async def list_devices(session: AsyncSession, name: SubscriptionId) -> tuple[Device, ...]:
    """Read the devices of a subscription, the one that was seen last first."""
    query = (
        select(DeviceRow)
        .where(DeviceRow.subscription_id == name)
        .order_by(DeviceRow.last_seen_at.desc(), DeviceRow.id)
    )
    return tuple([device_from(row) for row in await session.scalars(query)])


async def _details(session: AsyncSession, now: datetime, name: SubscriptionId) -> list[KeyDetail]:
    """Explain its keys: the wanted ones, and revoked ones that a panel may still hold."""
    holds = exists().where(
        RemoteGenerationRow.key == KeyRow.id,
        may_exist(RemoteGenerationRow.state),
    )
    query = select(KeyRow.id).where(
        KeyRow.subscription_id == name, KeyRow.deleted_at.is_(None) | holds
    )
    keys = (await session.scalars(query.order_by(KeyRow.id))).all()
    found = [await show_key(session, KeyId(key), now) for key in keys]
    return [one for one in found if one is not None]


async def _switched_on(session: AsyncSession, keys: list[KeyId]) -> dict[tuple[str, str], bool]:
    """Of present generations, by key and node: whether every client of it was seen switched on."""
    query = (
        select(RemoteGenerationRow)
        .join(KeyRow, KeyRow.id == RemoteGenerationRow.key)
        .where(
            RemoteGenerationRow.key.in_(keys),
            RemoteGenerationRow.generation == KeyRow.generation,
            may_exist(RemoteGenerationRow.state),
        )
    )
    found: dict[tuple[str, str], bool] = {}
    for row in map(journal_from, await session.scalars(query)):
        at = (str(row.key), str(row.node))
        found[at] = found.get(at, True) and row.was_on
    return found


async def _blind(session: AsyncSession) -> dict[str, ConditionView]:
    """Nodes that cannot be looked at, or whose panel is not believed, each with why."""
    rows = await session.execute(select(NodeStatusRow.node, NodeStatusRow.conditions))
    held = {node: find_condition(conditions_from(c), "Unreachable", "Stalled") for node, c in rows}
    return {node: condition for node, condition in held.items() if condition is not None}


def _on_nodes(
    detail: KeyDetail, served: dict[tuple[str, str], bool], blind: dict[str, ConditionView]
) -> Iterator[KeyOnNode]:
    placed = {place.node for place in detail.placements if place.leaving is None}
    key = detail.key.id
    for one in detail.nodes:
        is_on = served.get((key, one.node))
        if one.node in placed:
            state, why = _state(one, is_on=is_on, in_force=detail.ended is None)
            if one.node in blind and state is not OnNode.PREPARED:
                held = blind[one.node]
                state, why = OnNode.UNSURE, f"{one.node} is {held.type}/{held.reason}"
            told = one.next_try if state in _WAITS else ""
            yield KeyOnNode(key, one.node, state, why, told)
        elif one.leaving:
            yield KeyOnNode(key, one.node, OnNode.LEAVING, "", one.next_try)
    for row in detail.orphaned_rows:
        yield KeyOnNode(key, row.node, OnNode.LEAVING, f"{row.node} is declared no more")


_WAITS = frozenset({OnNode.PREPARED, OnNode.SWITCHING, OnNode.UNSURE})


def _state(one: Explanation, *, is_on: bool | None, in_force: bool) -> tuple[OnNode, str]:
    """Tell what a placed key is on a node. `is_on` None: there is no client of its generation."""
    if in_force:
        if one.is_live and is_on:
            return OnNode.SERVED, ""
        return OnNode.PREPARED, one.why or "it is to be switched on"
    if is_on is None or (one.is_live and not is_on):
        return OnNode.OFF, ""
    return OnNode.SWITCHING, one.why if not one.is_live else "it is to be switched off"


def _why_nowhere(detail: KeyDetail) -> str:
    whys = [one.why for one in detail.nodes if one.failed is Step.PLACED]
    whys = whys[:1] or [one.why for one in detail.nodes if one.failed is Step.ELIGIBLE]
    more = len(whys) - _WHYS
    told = "; ".join(whys[:_WHYS]) or "no node is declared"
    return f"{told}; and {more} more" if more > 0 else told


async def _purchases(session: AsyncSession, name: SubscriptionId) -> tuple[Purchase, ...]:
    query = (
        select(PurchaseRow)
        .where(PurchaseRow.subscription_id == name)
        .order_by(PurchaseRow.revision.desc(), PurchaseRow.id)
    )
    return tuple([purchase_from(row) for row in await session.scalars(query)])


async def _payments(session: AsyncSession, purchases: list[PurchaseId]) -> tuple[Payment, ...]:
    query = (
        select(PaymentRow)
        .where(PaymentRow.purchase_id.in_(purchases))
        .order_by(PaymentRow.id.desc())
    )
    return tuple([payment_from(row) for row in await session.scalars(query)])
