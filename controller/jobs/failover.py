"""Which nodes have been out of reach for so long that their keys are to be placed elsewhere.

The rule is `scheduling.eligible.is_given_up`; the pass that follows makes the placements. Callers: the
service, every second or so: cheap while every panel answers. Not here: placing.
"""

from datetime import datetime

from desired_state.model.ids import NodeName
from desired_state.model.policy import policy_for
from desired_state.scheduling.eligible import CONFIRMED_BY, is_given_up
from desired_state.store.engine import Store
from desired_state.store.node_states import read_node_states
from desired_state.store.policies import read_policies


async def given_up(store: Store, now: datetime) -> frozenset[tuple[NodeName, datetime]]:
    """Read the nodes that are given up as of `now`, each with the moment when it fell.

    Raises:
        StoreError: the database failed.
    """
    async with store.reading() as session:
        states = await read_node_states(session, failures=CONFIRMED_BY)
        if not states:
            return frozenset()
        policies = await read_policies(session)
    return frozenset(
        (state.node.name, state.unreachable_since)
        for state in states
        if state.unreachable_since is not None
        and is_given_up(state, policy_for(policies, state.node.spec.labels), now)
    )
