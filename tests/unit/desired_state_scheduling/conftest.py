"""Nodes, keys and placements of a small fleet; a test names only what it is about."""

from collections.abc import Callable
from typing import Any

import pytest

from desired_state.model.key import Key
from desired_state.model.node import Node
from desired_state.model.placement import Placement
from desired_state.scheduling.eligible import NodeState
from tests.builders import make_node_spec, make_selector

OF_NODE = {"overrides", "orphaned"}
OF_STATE = {"conditions", "xray_running", "load"}


@pytest.fixture
def node() -> Callable[..., NodeState]:
    """Make a node; `keys` is its capacity."""

    def made(name: str = "nl-1", keys: int | None = None, **changes: Any) -> NodeState:
        of_node = {k: v for k, v in changes.items() if k in OF_NODE}
        of_state = {k: v for k, v in changes.items() if k in OF_STATE}
        spec = {k: v for k, v in changes.items() if k not in OF_NODE | OF_STATE}
        return NodeState(
            Node(make_node_spec(name, capacity_keys=keys, **spec), **of_node), **of_state
        )

    return made


@pytest.fixture
def key() -> Callable[..., Key]:
    """Make a key for one node anywhere."""

    def made(name: str = "k1", count: int | None = 1, **changes: Any) -> Key:
        labels = changes.pop("labels", {})
        values = {
            "id": name,
            "subscription": f"s-{name}",
            "generation": 1,
            "nodes": make_selector(count, **labels),
        }
        return Key(**values | changes)

    return made


@pytest.fixture
def placed() -> Callable[..., Placement]:
    """Make a present placement."""

    def made(key: str, node: str, **changes: Any) -> Placement:
        return Placement(key, node, **{"reason": "earlier"} | changes)

    return made
