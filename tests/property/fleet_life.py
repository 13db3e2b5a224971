"""The machine of a fleet's life: what people, hands, panels and time do to it.

Every rule is one thing that somebody does, or that happens; a refused command changes nothing. Callers:
the test that plays lives at random, and `fleet_lives`, which plays short ones as written. Not here: what must
hold (`fleet_oracles`).
"""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

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
from desired_state.commands.forgetting import forget
from desired_state.commands.payments import Charge
from desired_state.model.ids import NodeName
from desired_state.model.policy import MoveOrder
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow
from tests.builders import GIB
from tests.faults.scenarios import stranger
from tests.property.fleet import DAYS, VERSIONS
from tests.property.fleet_oracles import Watched

NODES = st.sampled_from(sorted(VERSIONS))
TARIFFS = st.sampled_from(["one", "two", "all"])
PEOPLE = st.sampled_from([7001, 7002, 7003])


class Life(Watched, RuleBasedStateMachine):
    """A fleet that anything may happen to."""

    def teardown(self) -> None:
        """Leave the fleet alone once more, and close everything."""
        try:
            self.left_alone()
        finally:
            self.close()

    @initialize(
        sold=st.tuples(TARIFFS, TARIFFS, TARIFFS),
        order=st.sampled_from([MoveOrder.DELETE_FIRST, MoveOrder.CREATE_FIRST]),
    )
    def open_shop(self, sold: tuple[str, ...], order: MoveOrder) -> None:
        """Sell a few keys, so that what follows happens to somebody."""
        self.declare_all(order)
        for telegram, tariff in zip((7001, 7001, 7002), sold, strict=False):
            self.sell(telegram, tariff, heard=1, of=3)
        self.left_alone()

    # -- people and money --------------------------------------------------------------------------

    @rule(telegram=PEOPLE, tariff=TARIFFS, heard=st.integers(1, 3), of=st.integers(0, 3))
    def sell(self, telegram: int, tariff: str, heard: int, of: int) -> None:
        """Order, pay, and hear of the payment as often as providers like."""
        person = self.do(people.meet, telegram).person.id
        mine = self.owned(person)
        ordered = self.do(
            purchases.sell, person, tariff, currency="RUB",
            subscription=mine[of] if of < len(mine) else None,
        )  # fmt: skip
        if ordered is None:
            return
        purchase, charge = ordered.purchase, f"charge-{next(self.numbers)}"
        self.ledger.charges[charge] = purchase.id
        for _ in range(heard):
            self.do(payments.record, Charge("yookassa", charge), purchase.price, purchase.id)
        row = self._purchase(purchase.id)
        if row.fulfilled_at is not None:
            self._give(row.subscription_id, purchase.id, DAYS)

    @rule(telegram=PEOPLE)
    def trial(self, telegram: int) -> None:
        person = self.do(people.meet, telegram).person.id
        ordered = self.do(purchases.trial, person, "try")
        if ordered is not None:
            self._give(self._purchase(ordered.purchase.id).subscription_id, None, DAYS)

    @rule(telegram=PEOPLE, banned=st.booleans())
    def ban(self, telegram: int, banned: bool) -> None:
        person = self.do(people.meet, telegram).person.id
        if self.do(people.ban if banned else people.unban, person) is not None:
            (self.ledger.banned.add if banned else self.ledger.banned.discard)(person)

    @rule(of=st.integers(0, 3), frozen=st.booleans())
    def freeze(self, of: int, frozen: bool) -> None:
        if name := self.subscription(of):
            self.do(subscriptions.freeze if frozen else subscriptions.unfreeze, name)

    @rule(of=st.integers(0, 3), days=st.integers(1, 40), anew=st.booleans())
    def extend(self, of: int, days: int, anew: bool) -> None:
        name = self.subscription(of)
        if name and self.do(subscriptions.extend, name, days, new_period=anew) is not None:
            self._give(name, None, days)

    @rule(of=st.integers(0, 3), tariff=st.sampled_from(["one", "one", "two", "all"]))
    def change_tariff(self, of: int, tariff: str) -> None:
        if name := self.subscription(of):
            self.do(tariffs.change, name, tariff)

    @rule()
    def a_smaller_tariff(self) -> None:
        """Whoever has the most nodes keeps one, once all of them served."""
        self.left_alone()
        wide = [r.id for r in self.rows(SubscriptionRow) if r.tariff_name in ("two", "all")]
        if wide:
            self.do(tariffs.change, wide[0], "one")
            self.left_alone()

    @rule(number=st.integers(1, 6))
    def refund(self, number: int) -> None:
        """A payment is given back; what it bought is nobody's any more, unless more was built on it."""
        paid = next((row for row in self.rows(PaymentRow) if row.id == number), None)
        if self.do(payments.refund, number) is None or paid is None or paid.credited_id is None:
            return
        row = self._purchase(paid.credited_id)
        if not row.keeps:
            self.ledger.sources[row.subscription_id].discard(row.id)

    @rule(of=st.integers(0, 3), what=st.sampled_from(["rotate", "rotate", "revoke"]))
    def change_key(self, of: int, what: str) -> None:
        name = self.key(of)
        if name and what == "rotate":
            self.do(keys.rotate, name)
        elif name and self.do(keys.revoke, name) is not None:
            self.ledger.revoked.add(name)

    @rule(of=st.integers(0, 3), to=NODES)
    def move(self, of: int, to: str) -> None:
        if name := self.key(of):
            self.do(keys.move, name, NodeName(to))

    # -- nodes -------------------------------------------------------------------------------------

    @rule(node=NODES, draining=st.sampled_from([True, True, False]))
    def drain(self, node: str, draining: bool) -> None:
        """A drain is begun and followed, or taken back."""
        if not draining or self.open_nodes(without=node):
            self.do(nodes.drain if draining else nodes.undrain, NodeName(node))
            if draining:
                self.left_alone()

    @rule(node=NODES)
    def drain_into_silence(self, node: str) -> None:
        """A node is drained while nobody else answers; then all do again."""
        if node in self.pool.panels and self.open_nodes(without=node):
            before = set(self.pool.dead)
            self.pool.dead |= set(self.pool.panels) - {NodeName(node)}
            self.do(nodes.drain, NodeName(node))
            self.left_alone(rounds=1)
            self.pool.dead = before
            self.left_alone()

    @rule(node=NODES)
    def fall_after_taking(self, node: str) -> None:
        """Keys of a node that is drained and silent live elsewhere, and there falls who took the first."""
        before = set(self.homes())
        self.kill(node, dead=True)
        if node in self.pool.dead:
            self.do(nodes.drain, NodeName(node))
            self.left_alone(rounds=1)
            took = [name for name in self.homes() if name != node]
            self.relay(next((name for name in took if name not in before), (took or [node])[0]))
            self.left_alone()

    @rule(node=NODES, cordoned=st.sampled_from([True, True, False]))
    def cordon(self, node: str, cordoned: bool) -> None:
        """A node keeps what it has and takes no more, until that is taken back."""
        if cordoned and not self.open_nodes(without=node):
            return
        if self.do(nodes.cordon if cordoned else nodes.uncordon, NodeName(node)) is None:
            return
        self.ledger.cordoned.pop(node, None)
        if cordoned:
            held = {row.key for row in self.rows(PlacementRow) if row.node == node}
            self.ledger.cordoned[node] = held

    @rule(node=NODES)
    def declare(self, node: str) -> None:
        """A node is added, or one that was forgotten is back under its name."""
        if node not in self.pool.panels:
            self.add_panel(node)
        self.do(nodes.declare, self.spec(node), source="test")

    @rule(node=NODES, dead=st.booleans())
    def kill(self, node: str, dead: bool) -> None:
        """Its panel falls silent, or answers again; somebody else always answers."""
        if node not in self.pool.panels or (dead and not self.open_nodes(without=node)):
            return
        (self.pool.dead.add if dead else self.pool.dead.discard)(NodeName(node))

    @rule(node=NODES)
    def outlast(self, node: str) -> None:
        """Its panel falls silent for longer than anybody waits, and answers again."""
        self.kill(node, dead=True)
        if node in self.pool.dead:
            self.left_alone()
            self.kill(node, dead=False)
            self.left_alone()

    @rule(node=NODES)
    def relay(self, node: str) -> None:
        """One panel falls silent in the moment in which all others are back."""
        if node in self.pool.panels:
            self.pool.dead.clear()
            self.kill(node, dead=True)

    @rule(node=NODES)
    def lose_for_good(self, node: str) -> None:
        """Its panel falls silent, its manifest vanishes, and a person says that it is gone."""
        self.kill(node, dead=True)
        if node in self.pool.dead:
            self.left_alone(rounds=2)
            if self.do(nodes.orphan, NodeName(node)) is not None:
                if self.do(forget, NodeName(node), panel_is_gone=True) is not None:
                    # Whoever declares that name again declares another node.
                    self.ledger.cordoned.pop(node, None)
                self.left_alone()

    @rule(node=NODES)
    def wipe(self, node: str) -> None:
        if node in self.pool.panels:
            self.pool.panels[NodeName(node)].wipe()
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

    @rule(of=st.integers(0, 3), gib=st.sampled_from([20, 20, 250]))
    def use(self, of: int, gib: int) -> None:
        """Traffic flows through one client, and is seen before anything else happens."""
        self.left_alone()
        found = [row for row in self.rows(KeyRow) if row.deleted_at is None]
        if of >= len(found):
            return
        row = found[of]
        for name, panel in self.pool.panels.items():
            if name in self.pool.dead or not self.is_declared(name):
                continue
            mine = [c for c in panel.ours() if row.id in c.email and c.enable]
            if mine:
                self.clock.advance(hours=1)
                panel.use(mine[0].email, 0, gib * GIB)
                self.run(self.controller.reconcile())
                place = row.subscription_id, self.period(row.subscription_id)
                self.ledger.used[place] += gib * GIB
                return

    @rule(node=NODES, of=st.integers(0, 3))
    def counters_go_back(self, node: str, of: int) -> None:
        """Its panel is restored to what it was before somebody used a key there."""
        panel = self.pool.panels.get(NodeName(node))
        if panel is not None and node not in self.pool.dead:
            self.left_alone()
            panel.back_up()
            self.use(of, 20)
            panel.restore()
            self.left_alone()

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
        self.check_sent()
        if rounds >= 8:
            self.check()

    def _is_calm(self, report: Any) -> bool:
        """Whether nothing was done, and nothing waits."""
        done = report.totals["writes"] + report.totals["waiting"] + report.totals["withheld"]
        return not (done or report.placed or report.ended)

    def _approve(self) -> int:
        sets = [one for row in self.rows(NodeStatusRow) for one in row.blocked_sets]
        return sum(self.do(requests.approve, one["digest"]) is not None for one in sets)

    def _purchase(self, name: str) -> PurchaseRow:
        return next(row for row in self.rows(PurchaseRow) if row.id == name)

    def _give(self, subscription: str, source: str | None, days: int) -> None:
        self.ledger.given[subscription] += timedelta(days=days)
        self.ledger.sources[subscription].add(source)
