"""How long the scheduler takes to choose a node for one more key in a large fleet: measured, not claimed.

Callers: `chapters`. Not here: the rules of choosing (`desired_state.scheduling`).
"""

import time

from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId
from desired_state.model.key import Key
from desired_state.model.node import AuthRefs, Node, NodeSpec
from desired_state.model.placement import Placement
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.eligible import NodeState
from desired_state.scheduling.place import place_keys


def measure_choice(nodes: int, keys: int) -> float:
    """Place one more key among `keys` that are placed already, and give the seconds of CPU that it took."""
    states = tuple(NodeState(Node(_spec(number))) for number in range(nodes))
    placed = tuple(_key(number) for number in range(keys))
    where = tuple(
        Placement(key.id, states[number % nodes].node.name, "chosen")
        for number, key in enumerate(placed)
    )
    started = time.process_time()
    result = place_keys((*placed, _key(keys)), states, where)
    took = time.process_time() - started
    if len(result.added) != 1:
        raise AssertionError(f"{len(result.added)} placements were added instead of one")
    return took


def _spec(number: int) -> NodeSpec:
    name = f"n{number:04}"
    return NodeSpec(NodeName(name), url="", auth=AuthRefs(), address=name)


def _key(number: int) -> Key:
    name = f"{number:010}"
    return Key(KeyId(name), SubscriptionId(name), Generation(1), NodeSelector((), 1))
