"""Letting a world settle before something happens to it.

Callers: scenarios. Not here: what happens then, faults.
"""

from collections import Counter

from tests.fakes.world import World

SETTLING_ROUNDS = 6


def settle(world: World) -> World:
    """Run rounds until one writes nothing; then forget what was counted."""
    for _ in range(SETTLING_ROUNDS):
        before = world.writes()
        world.round()
        if world.writes() == before:
            break
    else:
        raise AssertionError(f"a world without faults did not settle in {SETTLING_ROUNDS} rounds")
    for panel in world.panels.values():
        panel.created, panel.deleted, panel.updated = Counter(), Counter(), Counter()
        panel.added, panel.dropped = Counter(), Counter()
    return world
