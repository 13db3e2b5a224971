"""The order of a replacement: gone on the panel, proved, recorded, and only then the new one."""

import pytest

from controller.core import effects as fx
from controller.core.features import Version
from desired_state.model.generation import JournalState
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.scenarios import V29, V32, V36, email_of, settled

VERSIONS = pytest.mark.parametrize("version", [V29, V32, V36], ids=["2.9", "3.2", "3.6"])


def emails(world: World) -> set[str]:
    """What the panel really holds of ours."""
    placeholders = {r.email for r in world.store.journal.values() if r.key is None}
    return {client.email for client in world.panel.ours()} - placeholders


def steps(effects: list[fx.Effect[object]]) -> list[str]:
    """Name the effects that make the order of a replacement."""
    names = {fx.Observe: "look", fx.Finalise: "finalise", fx.JournalIntent: "journal"}
    said = [
        str(effect.verb) if isinstance(effect, fx.Write) else names.get(type(effect), "")
        for effect in effects
    ]
    return [step for step in said if step]


@pytest.mark.story("order-of-replacement")
@pytest.mark.parametrize("version", [V32, V36], ids=["3.2", "3.6"])
def test_a_rotated_key_is_deleted_proved_recorded_and_then_created(version: Version) -> None:
    world = settled(version, "ab")
    people.rotate(world.store, "a")

    turn = world.turn()

    expected = ["look", "delete", "look", "finalise", "journal", "create", "look"]
    assert expected == steps(turn.effects)
    assert {email_of(version, "a", 2), email_of(version, "b")} == emails(world)


@pytest.mark.story("order-of-replacement")
@VERSIONS
def test_the_new_generation_waits_while_the_panel_still_holds_the_old_one(version: Version) -> None:
    world = settled(version, "ab")
    old, new = email_of(version, "a"), email_of(version, "a", 2)
    world.panel.undeletable = frozenset({old})
    people.rotate(world.store, "a")

    waiting = []
    for _ in range(4):
        world.turn()
        waiting.append(emails(world))
    world.panel.undeletable = frozenset()
    for _ in range(3):
        world.turn()

    assert [{old, email_of(version, "b")}] * 4 == waiting
    assert {new, email_of(version, "b")} == emails(world)


@pytest.mark.story("row-deleted-first")
@VERSIONS
@pytest.mark.parametrize(
    "fault", [Fault.LOST, Fault.LIE, Fault.CRASH, Fault.NOT_SENT, Fault.REFUSED]
)
def test_no_row_goes_while_the_panel_still_holds_the_client(version: Version, fault: Fault) -> None:
    """However the delete fails, our record of the client lives at least as long as the client."""
    world = settled(version, "abc")
    leaked = email_of(version, "a")
    people.unwant(world.store, "a")
    effects = world.copy().turn().effects
    delete = next(
        n for n, e in enumerate(effects) if isinstance(e, fx.Write) and e.verb is fx.Verb.DELETE
    )

    for faults in ({delete: fault}, {}, {}, {}):
        world.turn(faults=faults)
        row = world.store.journal[NL, leaked]
        assert leaked not in emails(world) or row.state is not JournalState.GONE

    assert leaked not in emails(world)
    assert JournalState.GONE is world.store.journal[NL, leaked].state
