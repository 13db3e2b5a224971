"""Policy: the limits of guards and the choices between two right ways; fleet-wide or for selected nodes.

Callers: manifests, core (guards), placement. The defaults are those of the documents.
"""

from dataclasses import dataclass
from enum import StrEnum

from desired_state.model.tariff import Labels


class MoveOrder(StrEnum):
    """What a move does first: leave a gap, or overlap."""

    DELETE_FIRST = "delete-first"
    CREATE_FIRST = "create-first"


class Rebalance(StrEnum):
    """When keys are moved to even out nodes."""

    ASKED = "asked"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class LoadWeights:
    """How much each share of a node's capacity counts; keys alone by default."""

    keys: float = 1.0
    traffic: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """When the fleet should get a node, or can do without one. Shares are fractions of 1.

    `label`: nodes with one value of it are a group; "": nobody is told anything. `head_room`: less than
    this free asks for a node. `spare`: this much free without a node, and it may go. `hysteresis`: how
    far beyond its limit a signal goes on. `out_after_s`, `in_after_s`: how long either must hold.
    """

    label: str = ""
    head_room: float = 0.20
    spare: float = 0.50
    hysteresis: float = 0.05
    out_after_s: int = 120
    in_after_s: int = 3600


@dataclass(frozen=True, slots=True)
class Policy:
    """Values that operators may change. Shares are fractions of 1, times seconds.

    A policy with `selector` labels applies to nodes that carry them; of several the one with most
    labels wins, then the first by name.
    """

    name: str = "default"
    selector: Labels = ()
    max_delete_share: float = 0.30
    max_delete_floor: int = 5
    fleet_delete_share: float = 0.20
    fleet_delete_window_s: int = 600
    max_disable_share: float = 0.30
    max_disable_floor: int = 5
    max_shrink_share: float = 0.50
    max_shrink_floor: int = 5
    max_clock_skew_s: int = 600
    max_quarantined: int = 5
    approval_start_s: int = 900
    approval_valid_s: int = 86_400
    delete_expired_after_s: int = 7 * 86_400
    expiry_margin_s: int = 86_400
    unknown_create_wait_s: int = 60
    heals_per_hour: int = 3
    failover_after_s: int = 600
    move_order: MoveOrder = MoveOrder.DELETE_FIRST
    rebalance: Rebalance = Rebalance.ASKED
    require_xray: bool = True
    load: LoadWeights = LoadWeights()
    scaling: Scaling = Scaling()
    resync_s: int | None = None
    """Looks at a node are so far apart; None: 60 s with something pending, 5 min without."""


def policy_for(policies: tuple[Policy, ...], labels: Labels) -> Policy:
    """Choose the policy of a node with these labels; built-in defaults where none applies."""
    fitting = [p for p in policies if set(p.selector) <= set(labels)]
    return min(fitting, key=lambda p: (-len(p.selector), p.name), default=Policy())
