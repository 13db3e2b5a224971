"""Two nodes, people, hands on panels, faults and time in any order: the promises hold throughout."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from controller.core import effects as fx
from controller.core.features import Version
from desired_state.model.node import Mode
from desired_state.model.policy import MoveOrder, Policy
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.faults import LOOKS, SINGLE_WRITES, Fault
from tests.fakes.panel import GUIDS_SINCE, FakePanel
from tests.fakes.people import DE, NL
from tests.fakes.world import World
from tests.faults import oracles
from tests.faults.safety import Safety, no_live_tombstone, one_generation
from tests.faults.scenarios import email_of, marked, stranger
from tests.faults.truth import check_truth
from tests.strategies import fault_maps, key_letters, nodes

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
HOUR_S = 3_700
LOOK_FAULTS = st.sampled_from((None, *LOOKS, Fault.CRASH))
WRITE_FAULTS = st.sampled_from((None, *SINGLE_WRITES, Fault.CRASH, Fault.BUSY, Fault.FENCED))


CAUTIOUS = Policy(max_delete_floor=2, max_shrink_floor=2)
"""Guards that trip in a fleet of four keys already."""


class Fleet(RuleBasedStateMachine):
    """People write desired state, hands and jobs change panels, the controller runs under faults."""

    versions: tuple[Version, Version] = ((3, 6, 0), (2, 9, 4))

    def __init__(self) -> None:
        super().__init__()
        here, there = self.versions
        self.world = World.of(
            FakePanel.of(here, node=NL), FakePanel.of(there, node=DE, guid="guid-de")
        )
        self.world.watch = Safety()
        self.world.merciful = True
        self.strangers = 0
        self.asked: set[tuple[str, RequestKind]] = set()
        for row in self.world.store.nodes.values():
            row.policy = CAUTIOUS

    @initialize(letters=st.sets(key_letters(), max_size=2))
    def start(self, letters: set[str]) -> None:
        """Bind both nodes honestly, and sell a few keys: what follows happens to a running fleet."""
        for letter in sorted(letters):
            people.want(self.world.store, letter, NL)
        self.world.round()

    # -- people write desired state ------------------------------------------------------------------

    @rule(k=key_letters(), node=nodes())
    def want(self, k: str, node: str) -> None:
        if not self._is_placed(k):
            people.want(self.world.store, k, node)

    @rule(k=key_letters())
    def unwant(self, k: str) -> None:
        people.unwant(self.world.store, k)

    @rule(k=key_letters())
    def rotate(self, k: str) -> None:
        people.rotate(self.world.store, k)

    @rule(k=key_letters(), to=nodes(), order=st.sampled_from(MoveOrder))
    def move(self, k: str, to: str, order: MoveOrder) -> None:
        people.move(self.world.store, k, to, order)

    @rule(k=key_letters(), hours=st.sampled_from((-200, -1, 24, None)))
    def set_until(self, k: str, hours: int | None) -> None:
        until = None if hours is None else self.world.clock.now + timedelta(hours=hours)
        people.set_until(self.world.store, k, until)

    @rule(k=key_letters(), suspended=st.booleans())
    def suspend(self, k: str, suspended: bool) -> None:
        people.suspend(self.world.store, k, suspended=suspended)

    @rule(k=key_letters(), quota=st.sampled_from((None, 10**9)))
    def set_quota(self, k: str, quota: int | None) -> None:
        people.set_quota(self.world.store, k, quota)

    @rule(node=nodes(), mode=st.sampled_from((Mode.ENFORCE, Mode.UPSERT_ONLY, Mode.OBSERVE)))
    def set_mode(self, node: str, mode: Mode) -> None:
        people.set_mode(self.world.store, node, mode)

    @rule(node=nodes())
    def approve(self, node: str) -> None:
        people.approve(self.world.store, node, self.world.clock.now)

    @rule(node=nodes(), kind=st.sampled_from((RequestKind.REMATCH, RequestKind.REBIND)))
    def ask(self, node: str, kind: RequestKind) -> None:
        self.asked.add((node, kind))
        people.ask(self.world.store, node, kind)

    # -- hands and jobs on the panels ----------------------------------------------------------------

    @precondition(lambda self: self.strangers < 4)
    @rule(node=nodes())
    def stranger_added(self, node: str) -> None:
        self.strangers += 1
        self.world.panels[node].add_by_hand(stranger(self.strangers))

    @precondition(lambda self: self.strangers < 4)
    @rule(node=nodes(), letter=st.sampled_from("xy"))
    def orphan_added(self, node: str, letter: str) -> None:
        """A client with a valid mark of a key that no row knows."""
        panel = self.world.panels[node]
        client = marked(panel.version, letter)
        if not panel.numbers_of(client.email):
            self.strangers += 1
            panel.add_by_hand(client)

    @precondition(lambda self: self.strangers < 4)
    @rule(node=nodes(), k=key_letters(), ahead=st.integers(0, 1))
    def look_alike_added(self, node: str, k: str, ahead: int) -> None:
        """A stranger takes the email that a key has, or will have after its next rotation."""
        panel, row = self.world.panels[node], self.world.store.keys.get(people.key_id(k))
        email = email_of(panel.version, k, (row.generation if row else 1) + ahead)
        if not panel.numbers_of(email):
            self.strangers += 1
            panel.add_by_hand(replace(stranger(50 + self.strangers), email=email))

    @rule(node=nodes(), i=st.integers(0, 5))
    def hand_delete(self, node: str, i: int) -> None:
        email = self._email(node, i)
        if email is not None:
            self.world.panels[node].delete_by_hand(email)

    @rule(
        node=nodes(),
        i=st.integers(0, 5),
        change=st.sampled_from(
            (
                {"enable": False},
                {"enable": True},
                {"total_bytes": 5},
                {"expiry_ms": 1},
                {"limit_ip": 9},
                {"uuid": "11111111-1111-4111-8111-111111111111"},
                {"sub_id": "edited-by-hand"},
                {"raw": {"extra": "x"}},
            )
        ),
    )
    def hand_edit(self, node: str, i: int, change: dict[str, object]) -> None:
        email = self._email(node, i)
        if email is not None:
            self.world.panels[node].edit_by_hand(email, **change)

    @rule(node=nodes(), i=st.integers(0, 5), used=st.sampled_from((1, 10**10)))
    def traffic(self, node: str, i: int, used: int) -> None:
        email = self._email(node, i)
        if email is not None:
            self.world.panels[node].use(email, used, used)

    @rule(node=nodes())
    def backup(self, node: str) -> None:
        self.world.panels[node].back_up()

    @rule(node=nodes())
    def restore(self, node: str) -> None:
        """Suspends the promise of one generation until the world has settled."""
        self.world.panels[node].restore()
        self.world.suspended.add(node)

    @rule(node=nodes(), enable=st.booleans())
    def switch_inbound(self, node: str, enable: bool) -> None:
        panel = self.world.panels[node]
        for inbound in tuple(panel.inbounds.values()):
            panel.set_inbound(replace(inbound, enable=enable))

    @rule(node=nodes())
    def wipe(self, node: str) -> None:
        self.world.panels[node].wipe()

    # -- the controller ------------------------------------------------------------------------------

    @rule(node=nodes(), faults=fault_maps())
    def cycle(self, node: str, faults: dict[int, Fault]) -> None:
        self.world.turn(node, faults)

    @rule(node=nodes())
    def clean_cycle(self, node: str) -> None:
        self.world.turn(node)

    @rule(node=nodes(), fault=LOOK_FAULTS)
    def cycle_with_a_bad_first_look(self, node: str, fault: Fault | None) -> None:
        self.world.turn(node, {} if fault is None else {0: fault})

    @rule(node=nodes(), nth=st.integers(0, 2), write=WRITE_FAULTS, look=LOOK_FAULTS)
    def cycle_with_a_fault_at_a_write(
        self, node: str, nth: int, write: Fault | None, look: Fault | None
    ) -> None:
        """Aimed: a fault at the write that would come, and one at the look that verifies it."""
        effects = self.world.copy().turn(node).effects
        writes = [i for i, effect in enumerate(effects) if isinstance(effect, fx.Write)]
        if len(writes) > nth:
            at = writes[nth]
            plan = {at: write, at + 1: look}
            self.world.turn(node, {i: f for i, f in plan.items() if f is not None})

    @rule(faults=fault_maps())
    def another_panel_answers_for_a_while(self, faults: dict[int, Fault]) -> None:
        """Only panels that have a GUID can be told apart for sure."""
        panel = self.world.panels[NL]
        guid, older = panel.guid, panel._older
        if panel.version >= GUIDS_SINCE:
            panel.set_guid("guid-of-another")
            self.world.turn(NL, faults)
            panel.set_guid(guid)
            panel._older = older

    @rule(k=key_letters(), node=nodes(), f=fault_maps(), g=fault_maps())
    def want_fault_unwant_fault(self, k: str, node: str, f: dict, g: dict) -> None:
        """The compound rule: most of the power."""
        self.want(k, node)
        self.world.turn(node, f)
        people.unwant(self.world.store, k)
        self.world.turn(node, g)

    @rule(k=key_letters(), node=nodes(), f=fault_maps(), g=fault_maps())
    def want_fault_rotate_fault(self, k: str, node: str, f: dict, g: dict) -> None:
        self.want(k, node)
        self.world.turn(node, f)
        people.rotate(self.world.store, k)
        self.world.turn(node, g)

    @rule(k=key_letters(), node=nodes(), look=LOOK_FAULTS, write=WRITE_FAULTS)
    def live_then_rotate_with_an_old_list(
        self, k: str, node: str, look: Fault | None, write: Fault | None
    ) -> None:
        self.want(k, node)
        self.world.turn(node)
        people.rotate(self.world.store, k)
        self.world.turn(node, {i: f for i, f in ((0, look), (5, write)) if f is not None})
        self.world.turn(node)

    @rule(k=key_letters(), to=nodes(), f=fault_maps(), g=fault_maps())
    def move_fault_fault(self, k: str, to: str, f: dict, g: dict) -> None:
        people.move(self.world.store, k, to)
        self.world.turn(NL, f)
        self.world.turn(DE, g)

    # -- time ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((20, 61, HOUR_S, 86_400)))
    def wait(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    # -- liveness, stability, idempotence -------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        """Faults stop, people approve what is shown, an hour passes: everything is as wanted."""
        world = self.world
        for node in (NL, DE):
            people.set_mode(world.store, node, Mode.ENFORCE)
            self.switch_inbound(node, enable=True)
        world.pass_time(HOUR_S)
        for _ in range(2):
            # Two stretches: moves wait for the other node, and approvals for what is shown.
            for _ in range(3):
                world.round()
                for node in (NL, DE):
                    people.approve(world.store, node, world.clock.now)
                    self._ask_again(node)
            world.pass_time(HOUR_S)
        world.round()
        world.suspended.clear()
        for node in (NL, DE):
            check_truth(world, node)
            one_generation(world.panels[node])
        no_live_tombstone(world)
        oracles.check_rows(world)
        oracles.check_idle(world)

    def teardown(self) -> None:
        self.settle()

    # -- helpers -------------------------------------------------------------------------------------

    def _ask_again(self, node: str) -> None:
        """Ask once more where a request was answered from another machine's list: its answer holds."""
        found = {c.reason for c in self.world.store.nodes[node].status.conditions}
        for kind in (RequestKind.REBIND, RequestKind.REMATCH):
            if (node, kind) in self.asked and found & {"IdentityChanged", "InboundMissing"}:
                people.ask(self.world.store, node, kind)

    def _is_placed(self, letter: str) -> bool:
        key = people.key_id(letter)
        return any(
            k == key and p.leaving is None for (k, _), p in self.world.store.placements.items()
        )

    def _email(self, node: str, i: int) -> str | None:
        ours = [client.email for client in self.world.panels[node].ours()]
        return ours[i % len(ours)] if ours else None


class OlderFleet(Fleet):
    """The same where one panel doubles clients that are created again, and one is of the 3.0 family."""

    versions = ((3, 2, 8), (3, 0, 2))


COMMON = settings(
    max_examples=3_000 if DEEP else 120,
    stateful_step_count=40,
    deadline=None,
    derandomize=not DEEP,
    database=None,
    # No explanation phase: it traces every line and takes longer than the search.
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.long
@pytest.mark.timeout(0 if DEEP else 300)
@pytest.mark.promise("L2")
class TestFleet(Fleet.TestCase):
    settings = COMMON


@pytest.mark.long
@pytest.mark.timeout(0 if DEEP else 300)
class TestOlderFleet(OlderFleet.TestCase):
    settings = COMMON
