"""What fails once is tried again, and a panel that does not answer is known and named."""

import pytest

from controller.core import effects as fx
from controller.core.conditions import ConditionType
from controller.core.features import Version
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.scenarios import V29, V32, V36, email_of, settled

VERSIONS = pytest.mark.parametrize("version", [V29, V32, V36], ids=["2.9", "3.2", "3.6"])
WAIT_S = 61  # a create without an answer may still be on its way for 60 s


def held(world: World) -> set[ConditionType]:
    """Types of the conditions that are stored of the node and hold."""
    return {c.type for c in world.store.nodes[NL].status.conditions if c.status}


@pytest.mark.story("no-retry")
@VERSIONS
@pytest.mark.parametrize(
    "fault", [Fault.LOST, Fault.LIE, Fault.REFUSED, Fault.NOT_SENT, Fault.CRASH]
)
def test_a_create_that_failed_is_made_good_without_being_asked(
    version: Version, fault: Fault
) -> None:
    world = settled(version, "ab")
    people.want(world.store, "c")
    effects = world.copy().turn().effects
    create = next(
        n for n, e in enumerate(effects) if isinstance(e, fx.Write) and e.verb is fx.Verb.CREATE
    )

    world.turn(faults={create: fault})
    world.pass_time(WAIT_S)
    for _ in range(3):
        world.turn()

    ours = {client.email for client in world.panel.ours()}
    assert {email_of(version, letter) for letter in "abc"} <= ours
    assert 1 == len([email for email in ours if email == email_of(version, "c")])


@pytest.mark.story("no-health-check")
@VERSIONS
def test_a_panel_that_does_not_answer_is_unreachable_and_then_ready_again(version: Version) -> None:
    world = settled(version, "a")
    before = held(world)

    world.turn(faults={0: Fault.UNSEEN})
    silent = held(world)
    world.turn()

    assert ConditionType.READY in before
    assert ConditionType.UNREACHABLE in silent
    assert ConditionType.READY not in silent
    assert before == held(world)
