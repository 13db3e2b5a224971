"""A tariff: what is sold, and the rule of where its keys live.

Callers: manifests, commands (issue), placement. Not here: orders and payments.
"""

from dataclasses import dataclass

from desired_state.model.ids import TariffName
from desired_state.model.quantities import Money

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NodeSelector:
    """Nodes whose labels hold all of these pairs; `count` None means all of them."""

    labels: Labels = ()
    count: int | None = 1

    def matches(self, labels: Labels) -> bool:
        """Tell whether a node with these labels is meant."""
        return set(self.labels) <= set(labels)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a subscription of it gets. None for traffic or devices: unlimited."""

    name: TariffName
    title_ru: str
    title_en: str
    days: int
    nodes: NodeSelector
    traffic_bytes: int | None = None
    devices: int | None = None
    prices: tuple[Money, ...] = ()
    trial: bool = False

    def price_in(self, currency: str) -> int:
        """Tell its price in minor units of a currency; 0 where it has none."""
        return next((p.amount_minor for p in self.prices if p.currency == currency), 0)
