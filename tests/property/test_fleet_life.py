"""People, tariffs, nodes and panels in any order: whoever is entitled is served, and nobody else is.

A machine over the real commands, database, scheduler and controller; panels are in memory. Beside it stands a
ledger that knows only what was done. What must hold holds whenever the fleet was left alone for a while.
"""

import asyncio
import itertools
import os
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from controller.panels.panel import PanelPool
from controller.service import build_controller
from controller.settings import ControllerSettings
from desired_state.commands import (
    keys,
    nodes,
    payments,
    people,
    purchases,
    requests,
    subscriptions,
    tariffs,
)
from desired_state.commands.errors import CommandError
from desired_state.commands.forgetting import forget
from desired_state.commands.payments import Charge
from desired_state.model.generation import ENDED, JournalState
from desired_state.model.ids import NodeName
from desired_state.model.quantities import Money
from desired_state.store.convert import key_from, node_from
from desired_state.store.tables.desired import KeyRow, NodeRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow
from desired_state.store.unit_of_work import begin
from tests.builders import GIB, make_bundle, make_node_spec, make_policy, make_selector, make_tariff
from tests.data.rows import apply
from tests.fakes.panel import FakePanel
from tests.fakes.pool import FakePool, OneClock
from tests.faults.scenarios import stranger
from tests.stores import opened, settings_for

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
SMALL = 3
"""Keys that fit on the node `a`; the others take any number."""
VERSIONS = {"a": (3, 6, 0), "b": (2, 9, 4), "c": (3, 2, 8), "d": (3, 6, 0)}
NODES = st.sampled_from(sorted(VERSIONS))
SOLD = {"one": 1, "two": 2, "all": None, "try": 1}
TARIFFS = st.sampled_from(["one", "two", "all"])
PEOPLE = st.sampled_from([7001, 7002, 7003])
PRICE = Money("RUB", 100)
QUOTA = 200 * GIB


class Life(RuleBasedStateMachine):
    """Every rule is one thing that somebody does, or that happens; a refused command changes nothing."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.numbers = itertools.count(1)
        path = Path(self.folder.name) / "fleet.db"
        shutil.copy(self.template, path)
        self.store = self.run(self.stack.enter_async_context(opened(f"sqlite:///{path}")))
        self.clock = cast("Any", self.store.clock)
        self.pool = FakePool(self.clock)
        self.charges: dict[str, str] = {}
        self.used: Counter[tuple[str, int]] = Counter()
        self.wiped: set[str] = set()
        self.strangers: dict[str, set[str]] = {name: set() for name in VERSIONS}
        for name in ("a", "b", "c"):
            self._panel(name)
        self.run(apply(self.store, self._bundle("a", "b", "c")))
        self.controller = build_controller(
            self.store,
            cast("PanelPool", self.pool),
            OneClock(self.clock),
            ControllerSettings(store=settings_for(f"sqlite:///{path}")),
        )

    def run(self, coroutine: Any) -> Any:
        """Run in the machine's own loop."""
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        """Leave the fleet alone once more, and close everything."""
        try:
            self.left_alone()
        finally:
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

    @initialize(tariffs=st.tuples(TARIFFS, TARIFFS, TARIFFS))
    def open_shop(self, tariffs: tuple[str, ...]) -> None:
        """Sell a few keys, so that what follows happens to somebody."""
        for telegram, tariff in zip((7001, 7001, 7002), tariffs, strict=True):
            self.sell(telegram, tariff, heard=1, of=3)
        self.left_alone()

    # -- people and money --------------------------------------------------------------------------

    @rule(telegram=PEOPLE, tariff=TARIFFS, heard=st.integers(1, 3), of=st.integers(0, 3))
    def sell(self, telegram: int, tariff: str, heard: int, of: int) -> None:
        """Order, pay, and hear of the payment as often as providers like."""
        person = self.do(people.meet, telegram).person.id
        mine = self._owned(person)
        ordered = self.do(
            purchases.sell, person, tariff, currency="RUB",
            subscription=mine[of] if of < len(mine) else None,
        )  # fmt: skip
        if ordered is None:
            return
        charge = f"charge-{next(self.numbers)}"
        self.charges[charge] = ordered.purchase.id
        for _ in range(heard):
            self.do(
                payments.record, Charge("yookassa", charge), ordered.purchase.price,
                ordered.purchase.id,
            )  # fmt: skip

    @rule(telegram=PEOPLE)
    def trial(self, telegram: int) -> None:
        self.do(purchases.trial, self.do(people.meet, telegram).person.id, "try")

    @rule(telegram=PEOPLE, banned=st.booleans())
    def ban(self, telegram: int, banned: bool) -> None:
        self.do(people.ban if banned else people.unban, self.do(people.meet, telegram).person.id)

    @rule(of=st.integers(0, 3), frozen=st.booleans())
    def freeze(self, of: int, frozen: bool) -> None:
        if name := self._subscription(of):
            self.do(subscriptions.freeze if frozen else subscriptions.unfreeze, name)

    @rule(of=st.integers(0, 3), days=st.integers(1, 40), anew=st.booleans())
    def extend(self, of: int, days: int, anew: bool) -> None:
        if name := self._subscription(of):
            self.do(subscriptions.extend, name, days, new_period=anew)

    @rule(of=st.integers(0, 3), tariff=st.sampled_from(["one", "one", "two", "all"]))
    def change_tariff(self, of: int, tariff: str) -> None:
        if name := self._subscription(of):
            self.do(tariffs.change, name, tariff)

    @rule()
    def a_smaller_tariff(self) -> None:
        """Whoever has the most nodes keeps one, once all of them served."""
        self.left_alone()
        wide = [r.id for r in self._rows(SubscriptionRow) if r.tariff_name in ("two", "all")]
        if wide:
            self.do(tariffs.change, wide[0], "one")
            self.left_alone()

    @rule(number=st.integers(1, 6))
    def refund(self, number: int) -> None:
        self.do(payments.refund, number)

    @rule(of=st.integers(0, 3), what=st.sampled_from(["rotate", "rotate", "revoke"]))
    def change_key(self, of: int, what: str) -> None:
        found = [row.id for row in self._rows(KeyRow)]
        if of < len(found):
            self.do(keys.rotate if what == "rotate" else keys.revoke, found[of])

    @rule(of=st.integers(0, 3), to=NODES)
    def move(self, of: int, to: str) -> None:
        found = [row.id for row in self._rows(KeyRow)]
        if of < len(found):
            self.do(keys.move, found[of], NodeName(to))

    # -- nodes -------------------------------------------------------------------------------------

    @rule(node=NODES, draining=st.sampled_from([True, True, False]))
    def drain(self, node: str, draining: bool) -> None:
        """A drain is begun and followed, or taken back."""
        if not draining or self._open(without=node):
            self.do(nodes.drain if draining else nodes.undrain, NodeName(node))
            if draining:
                self.left_alone()

    @rule(node=NODES)
    def declare(self, node: str) -> None:
        """A node is added, or one that was forgotten is back under its name."""
        if node not in self.pool.panels:
            self._panel(node)
        self.do(nodes.declare, self._spec(node), source="test")

    @rule(node=NODES, dead=st.booleans())
    def kill(self, node: str, dead: bool) -> None:
        """Its panel falls silent, or answers again; somebody else always answers."""
        if node not in self.pool.panels or (dead and not self._open(without=node)):
            return
        (self.pool.dead.add if dead else self.pool.dead.discard)(NodeName(node))

    @rule(node=NODES)
    def lose_for_good(self, node: str) -> None:
        """Its panel falls silent, its manifest vanishes, and a person says that it is gone."""
        self.kill(node, dead=True)
        if node in self.pool.dead:
            self.left_alone(rounds=2)
            if self.do(nodes.orphan, NodeName(node)) is not None:
                self.do(forget, NodeName(node), panel_is_gone=True)
                self.left_alone()

    @rule(node=NODES)
    def wipe(self, node: str) -> None:
        if node in self.pool.panels:
            self.pool.panels[NodeName(node)].wipe()
            self.wiped.add(node)
            self.strangers[node] = set()

    # -- hands on panels, use, time ----------------------------------------------------------------

    @rule(node=NODES, of=st.integers(0, 3), enable=st.booleans(), delete=st.booleans())
    def edit_by_hand(self, node: str, of: int, enable: bool, delete: bool) -> None:
        panel = self.pool.panels.get(NodeName(node))
        found = [] if panel is None else [c.email for c in panel.ours() if "placeh" not in c.email]
        if panel is None or of >= len(found):
            return
        if delete:
            panel.delete_by_hand(found[of])
        else:
            panel.edit_by_hand(found[of], enable=enable)

    @rule(node=NODES)
    def add_by_hand(self, node: str) -> None:
        if node in self.pool.panels and len(self.strangers[node]) < 2:
            client = stranger(next(self.numbers))
            self.pool.panels[NodeName(node)].add_by_hand(client)
            self.strangers[node].add(client.email)

    @rule(of=st.integers(0, 3), gib=st.sampled_from([20, 20, 150]))
    def use(self, of: int, gib: int) -> None:
        """Traffic flows through one client, and is seen before anything else happens."""
        self.left_alone()
        found = [row for row in self._rows(KeyRow) if row.deleted_at is None]
        if of >= len(found):
            return
        row = found[of]
        for name, panel in self.pool.panels.items():
            if name in self.pool.dead or not self._is_declared(name):
                continue
            mine = [c for c in panel.ours() if row.id in c.email and c.enable]
            if mine:
                self.clock.advance(hours=1)
                panel.use(mine[0].email, 0, gib * GIB)
                self.run(self.controller.reconcile())
                self.used[row.subscription_id, self._period(row.subscription_id)] += gib * GIB
                return

    @rule(hours=st.sampled_from([1, 30, 24 * 8, 24 * 31]))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours=hours)

    # -- what must hold ----------------------------------------------------------------------------

    @rule()
    def left_alone(self, rounds: int = 8) -> None:
        """Nobody does anything but approve what is shown; then everything is as it should be."""
        for number in range(rounds):
            report = self.run(self.controller.reconcile())
            approved = self._approve()
            self.clock.advance(minutes=11)
            if number >= 2 and not approved and self._is_calm(report):
                break
        self.wiped.clear()
        if rounds >= 8:
            self._check_keys()
            self._check_nodes()
            self._check_money()

    def _check_keys(self) -> None:
        places: dict[str, set[str]] = {}
        for place in self._rows(PlacementRow):
            if place.leaving is None:
                places.setdefault(place.key, set()).add(place.node)
        owners = {row.id: row for row in self._rows(SubscriptionRow)}
        open_nodes = self._open()
        for row in self._rows(KeyRow):
            served = self._served(row.id, row.generation)
            owner = owners[row.subscription_id]
            if row.deleted_at is not None or not self._is_entitled(owner):
                assert set() == served, (row.id, "is served and nobody is entitled")
                continue
            lives = places.get(row.id, set())
            count = key_from(row).nodes.count
            reachable = {name for name in lives if name not in self.pool.dead}
            assert reachable == served, (row.id, lives, served)
            assert count is None or len(lives) <= count, (row.id, count, lives)
            least = len(open_nodes) if count is None else min(count, len(open_nodes))
            assert len(lives) >= least, (row.id, count, lives, open_nodes)
            assert served, (row.id, "is entitled and not served")
            if count is not None:
                left = {name for name in lives if self._is_to_be_left(name)}
                assert not left or open_nodes <= lives, (row.id, left, "is not left", lives)

    def _served(self, key: str, generation: int) -> set[str]:
        """Declared nodes that answer and serve a key; no other generation of it may be there."""
        found = set()
        for name, panel in self.pool.panels.items():
            if name in self.pool.dead or not self._is_declared(name):
                continue
            mine = [c for c in panel.ours() if f"-{key}-" in c.email]
            assert {f"x3f-{key}-g{generation}"} >= {
                "-".join(c.email.split("-")[:3]) for c in mine
            }, (key, generation, [c.email for c in mine])
            assert len({c.email for c in mine}) == len(mine)
            if any(c.enable for c in mine):
                found.add(str(name))
        return found

    def _check_nodes(self) -> None:
        held = Counter(p.node for p in self._rows(PlacementRow) if p.leaving is None)
        assert held["a"] <= SMALL
        journal = {(row.node, row.email): row for row in self._rows(RemoteGenerationRow)}
        for name, panel in self.pool.panels.items():
            for client in panel.ours():
                row = journal.get((name, client.email))
                assert row is not None, (name, client.email, "was made and is not journalled")
                if not self._is_declared(name):
                    assert row.state == JournalState.WRITTEN_OFF.value
                elif name not in self.pool.dead or row.state != JournalState.WRITTEN_OFF.value:
                    # One that is declared anew and still silent is met with its tombstones when it answers.
                    assert row.state not in {state.value for state in ENDED}, (name, client.email)
            assert self.strangers[name] == {c.email for c in panel.foreign().values()}

    def _check_money(self) -> None:
        known = self._rows(PaymentRow)
        credited = [row.credited_id for row in known if row.credited_id is not None]
        assert len(set(credited)) == len(credited)
        assert sorted(self.charges) == sorted(row.charge for row in known)
        for row in self._rows(PurchaseRow):
            is_paid = row.amount_minor == 0 or row.id in credited
            assert is_paid == (row.fulfilled_at is not None)

    # -- helpers -----------------------------------------------------------------------------------

    def _is_entitled(self, row: SubscriptionRow) -> bool:
        if row.banned or row.suspended:
            return False
        if row.valid_until is not None and row.valid_until <= self.clock.now():
            return False
        return row.quota_bytes is None or self.used[row.id, row.period] < row.quota_bytes

    def _is_calm(self, report: Any) -> bool:
        """Whether nothing was done, and nothing waits."""
        done = report.totals["writes"] + report.totals["waiting"] + report.totals["withheld"]
        return not (done or report.placed or report.ended)

    def _approve(self) -> int:
        sets = [one for row in self._rows(NodeStatusRow) for one in row.blocked_sets]
        return sum(self.do(requests.approve, one["digest"]) is not None for one in sets)

    def _open(self, without: str = "") -> set[str]:
        """Nodes of any capacity that answer and take keys."""
        return {
            row.name
            for row in self._rows(NodeRow)
            if row.name not in ("a", without) and row.name not in self.pool.dead
            if not row.orphaned and not node_from(row).is_draining
        }

    def _is_to_be_left(self, name: str) -> bool:
        """Whether a node drains, or has been silent for long; one that is left alone for a while has."""
        rows = [row for row in self._rows(NodeRow) if row.name == name]
        return name in self.pool.dead or any(node_from(row).is_draining for row in rows)

    def _is_declared(self, name: str) -> bool:
        return any(row.name == name for row in self._rows(NodeRow))

    def _owned(self, person: int) -> list[str]:
        return [row.id for row in self._rows(SubscriptionRow) if row.person_id == person]

    def _subscription(self, of: int) -> str | None:
        found = [row.id for row in self._rows(SubscriptionRow)]
        return found[of] if of < len(found) else None

    def _period(self, subscription: str) -> int:
        return next(r.period for r in self._rows(SubscriptionRow) if r.id == subscription)

    def _rows(self, table: Any) -> list[Any]:
        async def read() -> list[Any]:
            async with self.store.reading() as session:
                key = next(iter(table.__table__.primary_key))
                return list(await session.scalars(select(table).order_by(key)))

        return cast("list[Any]", self.run(read()))

    def _panel(self, name: str) -> None:
        self.pool.panels[NodeName(name)] = FakePanel.of(
            VERSIONS[name], node=name, guid=f"guid-{name}"
        )

    def _spec(self, name: str) -> Any:
        spec = make_node_spec(name, capacity_keys=SMALL if name == "a" else None)
        return replace(spec, labels=())

    def _bundle(self, *names: str) -> Any:
        policy = make_policy(max_delete_floor=1_000, fleet_delete_share=1.0, require_xray=False)
        sold = [
            make_tariff(
                name, nodes=make_selector(count), prices=() if name == "try" else (PRICE,),
                trial=name == "try", traffic_bytes=QUOTA,
            )
            for name, count in SOLD.items()
        ]  # fmt: skip
        return make_bundle(*(self._spec(name) for name in names), *sold, policy)


@pytest.mark.promise("L1")
@pytest.mark.timeout(0 if DEEP else 300)
def test_whoever_is_entitled_is_served_and_nobody_else_whatever_happens(
    sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VERSIONS:
        monkeypatch.setenv(f"{name.upper()}_TOKEN", "t" * 48)
    Life.template = sqlite_template
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=150 if DEEP else 3,
            stateful_step_count=40 if DEEP else 12,
            deadline=None,
            derandomize=not DEEP,
            database=None,
            phases=tuple(Phase) if DEEP else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
