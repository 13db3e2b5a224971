"""A create that was journalled and then not sent is known not to exist: it is simply sent later."""

import pytest

from controller.core import effects as fx
from desired_state.model.generation import JournalState
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.people import NL
from tests.faults.safety import Safety
from tests.faults.scenarios import email_of, settled

SINGLE = (3, 1, 0)
"""Creates one by one, and may store a client twice that is created again."""


def number_of_write(world, nth):
    """The number of the nth panel write in the turn that would run now."""
    effects = world.copy().turn().effects
    return [i for i, effect in enumerate(effects) if isinstance(effect, fx.Write)][nth]


@pytest.fixture
def cut():
    """A turn of three creates that ended after the first of them."""
    world = settled(SINGLE, "a")
    for name in "bcd":
        people.want(world.store, name)
    world.watch = Safety()
    world.turn(faults={number_of_write(world, 1): Fault.NOT_SENT})
    return world


def test_what_was_not_sent_is_created_by_the_next_turn_without_clearing_its_way(cut):
    turn = cut.turn()

    verbs = [effect.verb for effect in turn.effects if isinstance(effect, fx.Write)]
    assert [fx.Verb.CREATE, fx.Verb.CREATE] == verbs
    assert {email_of(SINGLE, name) for name in "abcd"} == {
        c.email for c in cut.panel.look().clients
    }


def test_what_was_not_sent_waits_for_nothing(cut):
    """A create whose answer was lost waits 60 s; one that never left has nothing to wait for."""
    rows = {row.email: row for row in cut.store.journal.values()}

    assert (JournalState.LIVE, None) == state(rows[email_of(SINGLE, "b")])
    assert (JournalState.INTENDED, None) == state(rows[email_of(SINGLE, "c")])
    assert (JournalState.INTENDED, None) == state(rows[email_of(SINGLE, "d")])


def test_a_create_whose_answer_was_lost_waits_and_its_neighbours_do_not():
    world = settled(SINGLE, "a")
    for name in "bcd":
        people.want(world.store, name)
    world.turn(faults={number_of_write(world, 1): Fault.LOST})

    rows = {row.email: row for row in world.store.journal.values()}

    assert rows[email_of(SINGLE, "c")].create_unknown_at is not None
    assert (JournalState.INTENDED, None) == state(rows[email_of(SINGLE, "d")])
    assert NL in world.panels


def state(row):
    return row.state, row.create_unknown_at
