"""Builders of declared values: a test names only what it is about.

Callers: every test. Names follow from the values' own fields; panels differ by their node's name.
Not here: rows (`tests.data`), observations, randomness.
"""

from typing import Any

from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import NodeName, TariffName
from desired_state.model.node import AuthRefs, NodeSpec, SecretRef
from desired_state.model.policy import Policy
from desired_state.model.quantities import Money
from desired_state.model.tariff import NodeSelector, Tariff

GIB = 2**30


def make_node_spec(name: str = "nl-1", **changes: Any) -> NodeSpec:
    """Make a node in the Netherlands that is opened with a token from the environment."""
    values: dict[str, Any] = {
        "name": NodeName(name),
        "url": f"https://{name}.example.net:2053/panel-path/",
        "auth": AuthRefs(token=SecretRef("env", f"{name.upper().replace('-', '_')}_TOKEN")),
        "address": f"{name}.example.net",
        "labels": (("country", name.split("-", maxsplit=1)[0]),),
        "capacity_keys": 500,
    }
    return NodeSpec(**values | changes)


def make_selector(count: int | None = 1, **labels: str) -> NodeSelector:
    """Make a selector; `count` None: every node with these labels."""
    return NodeSelector(tuple(sorted(labels.items())), count)


def make_tariff(name: str = "month-nl", **changes: Any) -> Tariff:
    """Make a month in the Netherlands: 200 GiB, 3 devices, one node."""
    values: dict[str, Any] = {
        "name": TariffName(name),
        "title_ru": "Месяц",
        "title_en": "Month",
        "days": 30,
        "nodes": make_selector(country="nl"),
        "traffic_bytes": 200 * GIB,
        "devices": 3,
        "prices": (Money("RUB", 29900), Money("XTR", 250)),
    }
    return Tariff(**values | changes)


def make_policy(name: str = "default", **changes: Any) -> Policy:
    """Make a policy with the documented defaults."""
    return Policy(name=name, **changes)


def make_bundle(*values: NodeSpec | Tariff | Policy, **changes: Any) -> Bundle:
    """Make a bundle of these; `revision` and `source` have values of their own."""
    parts: dict[str, Any] = {"revision": "r1", "source": "fleet"}
    for field, kind in (("nodes", NodeSpec), ("tariffs", Tariff), ("policies", Policy)):
        chosen = [value for value in values if isinstance(value, kind)]
        parts[field] = tuple(sorted(chosen, key=lambda value: value.name))
    return Bundle(**parts | changes)
