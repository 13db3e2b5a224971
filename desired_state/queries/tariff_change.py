"""What another tariff would do to a subscription: its quota and devices, and where its keys would live.

The answer is the scheduler's own, for keys as they would be. Nothing is written. Callers: entrances
(`subscriptions change --diff`). Not here: the change itself (`commands.tariffs`).
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.key import Key
from desired_state.model.tariff import Tariff
from desired_state.queries.placement import PlacementInputs, live_on, read_placement_inputs
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import Move, PlacementResult
from desired_state.store.convert import tariff_from
from desired_state.store.tables.desired import SubscriptionRow, TariffRow


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One key: nodes that it lives on and stays, leaves, and gets; each by name.

    What first creates leaves its old node later: until then it is among `stays`.
    `why_short`: why no node takes it where it lacks some; empty when it lacks none.
    """

    key: KeyId
    stays: tuple[NodeName, ...]
    leaves: tuple[NodeName, ...]
    gets: tuple[NodeName, ...]
    why_short: str = ""


@dataclass(frozen=True, slots=True)
class TariffChange:
    """A subscription before and after. `refused`: moves that could not be made now, as whole sentences."""

    before: TariffName
    after: Tariff
    quota_bytes: int | None
    devices: int | None
    keys: tuple[KeyChange, ...]
    refused: tuple[str, ...]


async def preview_tariff(
    session: AsyncSession, subscription: SubscriptionId, tariff: TariffName, now: datetime
) -> TariffChange | None:
    """Tell what the change would do as of now; None when there is no such subscription or tariff."""
    row = await session.get(SubscriptionRow, subscription)
    sold = await session.get(TariffRow, tariff)
    if row is None or sold is None:
        return None
    after = tariff_from(sold)
    inputs = await read_placement_inputs(session, now)
    own = [k for k in inputs.keys if k.subscription == subscription and k.is_wanted]
    changed = {k.id: replace(k, nodes=after.nodes) for k in own if k.pinned is None}
    live = {*inputs.live, *await live_on(session, set(changed))}
    result = _place(inputs, changed, _leaves(inputs, changed), live, now)
    return TariffChange(
        TariffName(row.tariff_name),
        after,
        row.quota_bytes,
        row.devices,
        tuple(_change(inputs, key, result) for key in own),
        tuple(f"{r.move.key}: {r.reason}" for r in result.refused_moves if r.move.key in changed),
    )


def _leaves(inputs: PlacementInputs, changed: dict[KeyId, Key]) -> tuple[Move, ...]:
    """The moves that the command would record: off every node that the new labels do not choose."""
    labels = {state.node.name: state.node.spec.labels for state in inputs.nodes}
    return tuple(
        Move(p.key, from_node=p.node)
        for p in inputs.placements
        if p.key in changed and p.leaving is None and p.node in labels
        if not changed[p.key].nodes.matches(labels[p.node])
    )


def _place(
    inputs: PlacementInputs,
    changed: dict[KeyId, Key],
    moves: tuple[Move, ...],
    live: set[tuple[KeyId, NodeName]],
    now: datetime,
) -> PlacementResult:
    return place_keys(
        (changed.get(key.id, key) for key in inputs.keys),
        inputs.nodes,
        inputs.placements,
        policies=inputs.policies,
        moves=(*inputs.moves, *moves),
        live=live,
        now=now,
        balance=inputs.balance,
        adopted=inputs.adopted,
    )


def _change(inputs: PlacementInputs, key: Key, result: PlacementResult) -> KeyChange:
    lives = {p.node for p in inputs.placements if p.key == key.id and p.leaving is None}
    ended = {p.node for p in result.ended if p.key == key.id}
    gets = {p.node for p in result.added if p.key == key.id}
    short = next((one.reason for one in result.unschedulable if one.key == key.id), "")
    return KeyChange(
        key.id,
        stays=tuple(sorted(lives - ended)),
        leaves=tuple(sorted(lives & ended)),
        gets=tuple(sorted(gets - lives)),
        why_short=short,
    )
