"""One key's whole life over two API families, with every fault at every effect of it.

Created on one panel, moved delete-first to the other, deleted there; each step begins when the one before is
seen to be done, as a person does it. Not here: pairs of faults, other stories (`test_explorer`).
"""

import os
from collections.abc import Callable, Iterator, Mapping

import pytest

from controller.core.features import Version
from desired_state.model.generation import JournalState
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.panel import FakePanel
from tests.fakes.people import DE, NL, key_id
from tests.fakes.world import Turn, World
from tests.faults import oracles
from tests.faults.explorer import Run, impossible
from tests.faults.safety import Safety, Violation, no_live_tombstone, one_generation
from tests.faults.scenarios import Scenario, stranger
from tests.faults.settling import settle

DEEP = bool(os.environ.get("X3FLEET_TEST_DEEP"))
BOTH_WAYS = [((2, 9, 4), (3, 6, 0)), ((3, 6, 0), (2, 9, 4)), ((3, 0, 2), (3, 2, 8))]
MOST_ROUNDS = 6
"""After these a step that was hit by one fault is done, whatever the fault."""
A_MINUTE_S = 61
Plan = Mapping[int, Fault]


def two_families(here: Version, there: Version) -> World:
    """Two settled panels, a neighbour and a stranger on each."""
    panels = FakePanel.of(here), FakePanel.of(there, node=DE, guid="guid-de")
    world = World.of(*panels)
    for number, panel in enumerate(panels):
        panel.add_by_hand(stranger(number + 1))
    people.want(world.store, "b")
    people.want(world.store, "c", DE)
    return settle(world)


def create(world: World) -> None:
    people.want(world.store, "a")


def move(world: World) -> None:
    people.move(world.store, "a", DE)


def delete(world: World) -> None:
    people.unwant(world.store, "a")


STEPS: tuple[tuple[Callable[[World], None], frozenset[str]], ...] = (
    (create, frozenset({NL})),
    (move, frozenset({DE})),
    (delete, frozenset()),
)
"""What a person does, and where the key lives once that is done."""


def lives(world: World) -> frozenset[str]:
    """Nodes on whose panel the key is; the journal must know of all of them, and of no other."""
    there = {n for n, panel in world.panels.items() for c in panel.ours() if key_id("a") in c.email}
    known = {
        node
        for (node, _), row in world.store.journal.items()
        if row.key == key_id("a") and row.state is JournalState.LIVE
    }
    return frozenset(there) if there == known else frozenset({"not recorded"})


def live(world: World, plan: Plan, run: Run) -> None:
    """Go through all steps under a plan of faults.

    Raises:
        Violation: a step was not done in time.
    """
    number = 0
    for act, home in STEPS:
        act(world)
        for _ in range(MOST_ROUNDS):
            for name in world.panels:
                turn = Turn()
                run.turns.append(turn)
                world.turn(name, plan, number, turn)
                number += len(turn.effects)
            if lives(world) == home and not world.in_flight:
                break
            world.pass_time(A_MINUTE_S)
        else:
            raise Violation(f"L1: {act.__name__}: the key is on {sorted(lives(world))}")
    world.pass_time(A_MINUTE_S)
    for _ in range(2):
        world.round()


def plans(base: World) -> Iterator[Plan]:
    """No fault, and every fault at every effect of the life without faults."""
    world, run = base.copy(), Run()
    world.recording = True
    live(world, {}, run)
    yield {}
    for at, faults in enumerate(run.options):
        for fault in faults:
            yield {at: fault}


def judge(world: World, wanted: tuple[object, ...]) -> None:
    """Ask the oracles; `wanted`: all clients that stand after a life without faults.

    Raises:
        Violation: says what is not as promised.
    """
    for panel in world.panels.values():
        one_generation(panel)
    no_live_tombstone(world)
    oracles.check_rows(world)
    oracles.check_idle(world)
    if oracles.facts(world).clients != wanted:
        raise Violation("L1: the clients are others than after a life without faults")


@pytest.mark.promise("L1")
@pytest.mark.parametrize(
    ("here", "there"),
    [
        pytest.param(*ways, marks=[] if number == 0 else pytest.mark.slow)
        for number, ways in enumerate(BOTH_WAYS)
    ],
)
def test_created_moved_and_deleted_over_two_families_under_every_single_fault(
    here: Version, there: Version, report_count: Callable[..., None]
) -> None:
    """Nothing is left behind, nothing is lost, and nobody else is touched."""
    base = two_families(here, there)
    base.watch = Safety()
    story = Scenario("life", lambda _: base)
    clean = base.copy()
    live(clean, {}, Run())
    wanted = oracles.facts(clean).clients
    broken, tried, excluded = [], 0, 0
    for plan in plans(base):
        world, run = base.copy(), Run()
        tried += 1
        try:
            live(world, plan, run)
            judge(world, wanted)
        except Violation as violation:
            if impossible(plan, run, story, here, str(violation)) is not None:
                excluded += 1
                continue
            broken.append(({at: fault.name for at, fault in plan.items()}, str(violation)))

    report_count({"fault plans": tried, "violations": len(broken)})
    assert [] == broken[:5]
    assert tried - excluded > 100
