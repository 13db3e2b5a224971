"""Which of several eligible nodes is best: the lowest rank wins.

Called by `place`. Pure and total: equal inputs give equal ranks on every machine. Not here: who is
eligible.

    1. nodes that are written to, before nodes in `observe`, where a key would wait for a person
    2. the higher `priority`
    3. the lower load / weight
    4. fewer keys
    5. a hash of the name, so that ties do not favour the start of the alphabet
"""

import hashlib
from dataclasses import dataclass

from desired_state.model.node import Mode
from desired_state.model.policy import LoadWeights
from desired_state.scheduling.eligible import NodeState

UNLIMITED_KEYS = 1_000
"""A node without declared capacity is as loaded as one with room for that many, and never full."""

Rank = tuple[bool, int, float, int, bytes]


@dataclass(frozen=True, slots=True)
class Scale:
    """What of a node's rank does not change while keys are placed on it."""

    waits: bool
    priority: int
    weight: float
    measured: float
    share_of_key: float
    tie: bytes

    def rank(self, keys: int) -> Rank:
        """Rank the node with that many keys."""
        load = self.measured + self.share_of_key * keys
        return (self.waits, -self.priority, load / self.weight, keys, self.tie)


def make_scale(state: NodeState, weights: LoadWeights) -> Scale:
    """Prepare ranking one node; `weights` are those of the policy that counts for it."""
    spec, load = state.node.spec, state.load
    return Scale(
        waits=state.node.mode is Mode.OBSERVE,
        priority=spec.priority,
        weight=spec.weight,
        measured=weights.traffic * load.traffic
        + weights.cpu * load.cpu
        + weights.memory * load.memory,
        share_of_key=weights.keys / (spec.capacity_keys or UNLIMITED_KEYS),
        tie=hashlib.sha256(spec.name.encode()).digest(),
    )
