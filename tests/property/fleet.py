"""A fleet in memory for the machine of its life: panels, people, and a ledger of what was done to them.

The commands, database, scheduler and controller are the product's own. The ledger is told by the rules and
never by the database: a defect that writes nonsense there does not talk it round. Callers: `fleet_oracles`,
`test_fleet_life`, `fleet_lives`. Not here: rules, what must hold.
"""

import asyncio
import itertools
import shutil
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hypothesis import note
from sqlalchemy import select

from controller.panels.panel import PanelPool
from controller.service import build_controller
from controller.settings import ControllerSettings
from desired_state.commands.errors import CommandError
from desired_state.model.ids import NodeName
from desired_state.model.policy import MoveOrder
from desired_state.model.quantities import Money
from desired_state.store.convert import node_from
from desired_state.store.tables.desired import KeyRow, NodeRow, SubscriptionRow
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data.rows import apply
from tests.fakes.panel import FakePanel
from tests.fakes.pool import FakePool, OneClock
from tests.stores import opened, settings_for

SMALL = 3
"""Keys that fit on the node `a`; the others take any number."""
VERSIONS = {"a": (3, 6, 0), "b": (2, 9, 4), "c": (3, 2, 8), "d": (3, 6, 0)}
SOLD = {"one": 1, "two": 2, "all": None, "try": 1}
PRICE = Money("RUB", 100)
QUOTA = 200 * GIB
DAYS = 30


@dataclass
class Ledger:
    """What was done, as whoever did it knows it.

    `charges`: purchases by charge. `used`: bytes by subscription and period. `given`: time that a
    subscription ever got. `sources`: what it lives by; `None` stands for what no refund takes back.
    `revoked`: keys. `banned`: persons. `cordoned`: keys that each node held when it was cordoned.
    """

    charges: dict[str, str] = field(default_factory=dict)
    used: Counter[tuple[str, int]] = field(default_factory=Counter)
    given: defaultdict[str, timedelta] = field(default_factory=lambda: defaultdict(timedelta))
    sources: defaultdict[str, set[str | None]] = field(default_factory=lambda: defaultdict(set))
    revoked: set[str] = field(default_factory=set)
    banned: set[int] = field(default_factory=set)
    cordoned: dict[str, set[str]] = field(default_factory=dict)


class Fleet:
    """Three nodes of a shop, a fourth to be declared, and hands on all of it."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.numbers = itertools.count(1)
        self.path = Path(self.folder.name) / "fleet.db"
        shutil.copy(self.template, self.path)
        self.store = self.run(self.stack.enter_async_context(opened(f"sqlite:///{self.path}")))
        self.clock = cast("Any", self.store.clock)
        self.pool = FakePool(self.clock)
        self.ledger = Ledger()
        self.order = MoveOrder.DELETE_FIRST
        self.strangers: dict[str, set[str]] = {name: set() for name in VERSIONS}
        for name in ("a", "b", "c"):
            self.add_panel(name)
        self.controller = build_controller(
            self.store,
            cast("PanelPool", self.pool),
            OneClock(self.clock),
            ControllerSettings(store=settings_for(f"sqlite:///{self.path}")),
        )

    def run(self, coroutine: Any) -> Any:
        """Run in the fleet's own loop."""
        return self.runner.run(coroutine)

    def close(self) -> None:
        """Close everything; nothing is asked."""
        self.controller.worker.close()
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def do(self, command: Any, *words: Any, **options: Any) -> Any:
        """Run a command; None where it refused."""

        async def run() -> Any:
            async with begin(self.store, "test") as work:
                return await command(work, *words, **options)

        try:
            return self.run(run())
        except CommandError as refusal:
            note(f"refused: {refusal}")
            return None

    def declare_all(self, order: MoveOrder) -> None:
        """Declare the shop: three nodes, what is sold, and which comes first when a key moves."""
        self.order = order
        policy = make_policy(
            max_delete_floor=1_000, fleet_delete_share=1.0, require_xray=False, move_order=order
        )
        sold = [
            make_tariff(
                name, nodes=make_selector(count), prices=() if name == "try" else (PRICE,),
                trial=name == "try", traffic_bytes=QUOTA, days=DAYS,
            )
            for name, count in SOLD.items()
        ]  # fmt: skip
        nodes = [self.spec(name) for name in ("a", "b", "c")]
        self.run(apply(self.store, make_bundle(*nodes, *sold, policy)))

    # -- what there is -----------------------------------------------------------------------------

    def open_nodes(self, without: str = "") -> set[str]:
        """Nodes of any capacity that answer and take keys."""
        return {
            row.name
            for row in self.rows(NodeRow)
            if row.name not in ("a", without) and row.name not in self.pool.dead
            if not row.orphaned and row.name not in self.ledger.cordoned
            and not node_from(row).is_draining
        }  # fmt: skip

    def is_to_be_left(self, name: str) -> bool:
        """Whether a node drains, or has been silent for long; one that is left alone for a while has."""
        rows = [row for row in self.rows(NodeRow) if row.name == name]
        return name in self.pool.dead or any(node_from(row).is_draining for row in rows)

    def is_declared(self, name: str) -> bool:
        """Whether there is such a node, orphaned or not."""
        return any(row.name == name for row in self.rows(NodeRow))

    def is_entitled(self, row: SubscriptionRow) -> bool:
        """Whether whoever holds this subscription is to be served now."""
        if row.suspended or row.person_id in self.ledger.banned:
            return False
        if row.valid_until is not None and row.valid_until <= self.clock.now():
            return False
        if not self.ledger.sources[row.id]:
            return False
        return row.quota_bytes is None or self.ledger.used[row.id, row.period] < row.quota_bytes

    def owned(self, person: int) -> list[str]:
        """Subscriptions of one person."""
        return [row.id for row in self.rows(SubscriptionRow) if row.person_id == person]

    def subscription(self, of: int) -> str | None:
        """One of all subscriptions."""
        found = [row.id for row in self.rows(SubscriptionRow)]
        return found[of] if of < len(found) else None

    def key(self, of: int) -> str | None:
        """One of all keys, revoked ones too."""
        found = [row.id for row in self.rows(KeyRow)]
        return found[of] if of < len(found) else None

    def homes(self) -> list[str]:
        """Nodes that hold a client of ours, as their panels say."""
        panels = self.pool.panels
        return [str(name) for name, panel in panels.items() if any(c.enable for c in panel.ours())]

    def period(self, subscription: str) -> int:
        """The paid period that a subscription is in."""
        return next(r.period for r in self.rows(SubscriptionRow) if r.id == subscription)

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table, in the order of its key."""

        async def read() -> list[Any]:
            async with self.store.reading() as session:
                key = next(iter(table.__table__.primary_key))
                return list(await session.scalars(select(table).order_by(key)))

        return cast("list[Any]", self.run(read()))

    def add_panel(self, name: str) -> None:
        """Set a panel up, empty."""
        self.pool.panels[NodeName(name)] = FakePanel.of(
            VERSIONS[name], node=name, guid=f"guid-{name}"
        )

    def spec(self, name: str) -> Any:
        """What is declared of a node."""
        spec = make_node_spec(name, capacity_keys=SMALL if name == "a" else None)
        return replace(spec, labels=())
