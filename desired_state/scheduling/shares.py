"""Fair shares: how many keys each node would hold if all movable ones were placed anew.

Called by `rebalance` alone. What was measured on a node counts as the work of the keys that it holds: a
node whose keys work harder gets fewer. Not here: which keys move.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from desired_state.model.ids import KeyId, NodeName
from desired_state.model.policy import Policy
from desired_state.model.tariff import Labels
from desired_state.scheduling.eligible import NodeLoad, NodeState
from desired_state.scheduling.rooms import Room, Rooms

TOLERANCE = 0.10
"""How far from its fair share a node may be."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a node would hold, and between which numbers nothing needs to move."""

    fair: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Movable:
    """A key on a node that may be moved. `origin`: where it is before any move."""

    key: KeyId
    node: NodeName
    labels: Labels
    origin: NodeName


def fair_rooms(
    states: Iterable[NodeState],
    policies: tuple[Policy, ...],
    counts: Mapping[NodeName, int],
    fixed: Mapping[NodeName, int],
) -> Rooms:
    """Make the rooms that shares are found in: they hold what does not move, and no measured load.

    Args:
        states: nodes that keys may be moved between.
        policies: every policy.
        counts: keys of each node now.
        fixed: those of them that are not movable.
    """
    known = {state.node.name: state for state in states}
    bare = (replace(state, load=NodeLoad()) for state in known.values())
    rooms = Rooms(bare, policies, {name: fixed.get(name, 0) for name in known})
    for name, room in rooms.by_name.items():
        load, weights = known[name].load, room.policy.load
        measured = (
            weights.traffic * load.traffic + weights.cpu * load.cpu + weights.memory * load.memory
        )
        here = counts.get(name, 0)
        if here:
            share = room.scale.share_of_key + measured / here
            room.scale = replace(room.scale, share_of_key=share)
        else:
            room.scale = replace(room.scale, measured=measured)
    return rooms


def find_shares(
    rooms: Rooms, movable: Iterable[Movable], tied: Mapping[KeyId, frozenset[NodeName]]
) -> dict[NodeName, Share]:
    """Place every movable key anew; the rooms hold the result afterwards.

    Args:
        rooms: from `fair_rooms`.
        movable: in the order in which they are placed.
        tied: nodes that a key is on and that none of its movable placements may go to.

    Returns:
        The share of each node, with its tolerance; a key that no node takes stays where it is.
    """
    homes: dict[KeyId, frozenset[NodeName]] = dict(tied)
    nowhere: frozenset[NodeName] = frozenset()
    for one in movable:
        picked = rooms.pick(one.labels, 1, without=homes.get(one.key, nowhere))
        if not picked:
            rooms.by_name[one.node].keys += 1
        elif one.key in homes:
            homes[one.key] |= {picked[0].name}
    return {name: _share(room) for name, room in rooms.by_name.items()}


def _share(room: Room) -> Share:
    fair, percent = room.keys, round(100 * TOLERANCE)
    # In whole numbers, so that a tenth of ten is one and not a little less; of one key less, or more,
    # because keys are whole, too: the true share may be nearly a key away.
    most = (fair - 1) * (100 + percent) // 100
    least = -(-(fair + 1) * (100 - percent) // 100)
    return Share(fair, min(fair, least), max(fair, most))
