"""Edits of shadowsocks that a panel's Xray loses: when a restart is owed, when it is paid, what is told."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core import effects as fx
from controller.core.conditions import ConditionType
from controller.core.effects import Verb
from controller.core.features import features_of
from controller.core.observed import XrayState
from controller.core.reconcile import dry_run
from controller.core.restart import NOT_RESTARTED
from controller.runtime.rounds import _owes_restart
from desired_state.model.node import Mode
from tests.fakes import people
from tests.fakes.clock import START
from tests.fakes.faults import Fault
from tests.fakes.panel import SS_2022, VLESS
from tests.fakes.people import NL
from tests.faults.scenarios import V29, V31, V32, V34, V36, email_of, settle, settled

LEGACY = replace(SS_2022, method="aes-256-gcm", password_bytes=None)


def verbs(turn):
    """The calls of a turn, in order."""
    return [effect.verb for effect in turn.effects if isinstance(effect, fx.Write)]


def renewed(version=V29, *inbounds, letters="a", sold="ab"):
    """A settled world whose first keys were just extended."""
    world = settled(version, sold, *(inbounds or (SS_2022,)))
    for letter in letters:
        people.set_until(world.store, letter, START + timedelta(days=30))
    return world


def refused_restart(world):
    """One turn in which the panel refuses the restart, whatever else it does."""
    steps = list(world.copy().turn().effects)
    at = next(n for n, e in enumerate(steps) if getattr(e, "verb", None) is Verb.RESTART)
    return world.turn(faults={at: Fault.REFUSED})


@pytest.mark.parametrize(
    ("version", "cipher", "drops"),
    [
        ((2, 3, 15), "2022-blake3-aes-256-gcm", False),
        ((2, 4, 6), "2022-blake3-aes-256-gcm", False),
        ((2, 4, 7), "2022-blake3-aes-256-gcm", True),
        ((2, 8, 11), "2022-blake3-chacha20-poly1305", True),
        ((2, 8, 11), "aes-256-gcm", False),
        ((2, 9, 2), "aes-128-gcm", False),
        ((2, 9, 3), "aes-128-gcm", True),
        ((2, 9, 4), "aes-256-gcm", True),
        ((2, 9, 4), "chacha20-ietf-poly1305", False),
        ((3, 0, 2), "aes-256-gcm", True),
        ((3, 1, 0), "aes-256-gcm", False),
        ((3, 1, 0), "aes-128-gcm", True),
        ((3, 2, 8), "2022-blake3-aes-128-gcm", True),
        ((3, 4, 1), "2022-blake3-aes-256-gcm", True),
        ((3, 4, 2), "2022-blake3-aes-256-gcm", False),
        ((3, 6, 0), "2022-blake3-aes-256-gcm", False),
    ],
)  # fmt: skip
def test_which_ciphers_are_lost_depends_on_the_version(version, cipher, drops):
    assert drops is (cipher in features_of(version).drops_edited)


def test_one_restart_follows_all_edits_of_a_turn_once_they_are_proved():
    world = renewed(V29, letters="ab", sold="abc")

    turn = world.turn()

    assert [Verb.UPDATE, Verb.UPDATE, Verb.RESTART] == verbs(turn)
    last = [type(effect).__name__ for effect in turn.effects][-4:]
    assert ["Observe", "RecordRows", "Write", "WriteStatus"] == last
    assert turn.result.is_in_sync
    assert not turn.result.status.restart_owed
    assert [] == verbs(world.turn())


@pytest.mark.parametrize(
    ("version", "inbound"),
    [(V29, VLESS), (V34, SS_2022), (V31, LEGACY), ((2, 8, 11), LEGACY)],
    ids=[
        "another protocol",
        "a later version",
        "a cipher that 3.1.0 knows",
        "one that 2.8.11 knows",
    ],
)
def test_nothing_else_restarts_xray(version, inbound):
    assert Verb.RESTART not in verbs(renewed(version, inbound).turn())


def test_a_shared_client_counts_if_only_one_of_its_inbounds_is_shadowsocks():
    vless = replace(VLESS, id=2, port=20002)

    assert [Verb.UPDATE, Verb.RESTART] == verbs(renewed(V32, SS_2022, vless).turn())


def test_a_new_client_is_left_to_the_panel_which_restarts_by_itself():
    world = settled(V29, "a", SS_2022)
    people.want(world.store, "b")

    assert [Verb.CREATE] == verbs(world.turn())


def test_one_that_is_switched_off_is_taken_out_rightly():
    world = settled(V29, "ab", SS_2022)
    people.suspend(world.store, "a")

    off = world.turn()
    people.suspend(world.store, "a", suspended=False)

    assert [Verb.DISABLE] == verbs(off)
    assert [Verb.ENABLE, Verb.RESTART] == verbs(world.turn())


@pytest.mark.parametrize("state", [XrayState.STOP, XrayState.ERROR])
def test_an_xray_that_does_not_run_is_not_started_by_us(state):
    world = renewed(V32)
    world.panel.xray = state
    world.panel._look = None

    turn = world.turn()

    assert [Verb.UPDATE] == verbs(turn)
    assert not turn.result.status.restart_owed


def test_an_xray_that_is_kept_elsewhere_is_left_alone():
    world = renewed(V29)
    row = world.store.nodes[NL]
    row.policy = replace(row.policy, require_xray=False)

    assert [Verb.UPDATE] == verbs(world.turn())


@pytest.mark.promise("S4")
def test_a_debt_is_not_paid_where_nothing_may_be_written():
    world = renewed(V29)
    world.turn(faults={len(world.copy().turn().effects) - 2: Fault.LOST})
    people.set_mode(world.store, NL, Mode.OBSERVE)

    observed = world.turn()
    people.set_mode(world.store, NL, Mode.UPSERT_ONLY)

    assert [] == verbs(observed)
    assert observed.result.status.restart_owed
    assert [Verb.RESTART] == verbs(world.turn())


def test_a_crash_between_edit_and_restart_forgets_nothing():
    world = renewed(V29)
    edit = next(n for n, e in enumerate(world.copy().turn().effects) if isinstance(e, fx.Write))

    world.turn(faults={edit: Fault.CRASH})
    after = world.turn()

    assert [Verb.RESTART] == verbs(after)
    assert not world.panel.process.lost
    assert [] == verbs(world.turn())


def test_a_refused_restart_is_told_stays_owed_and_is_tried_in_the_next_turn_after_the_changes():
    world = renewed(V29)
    result = refused_restart(world).result
    people.set_until(world.store, "b", START + timedelta(days=60))

    again = world.turn()

    drifted = result.status.find(ConditionType.DRIFTED)
    assert NOT_RESTARTED == drifted.reason
    assert "refused" in drifted.message
    assert not result.is_in_sync
    assert result.status.restart_owed
    assert not _owes_restart(result)
    assert [Verb.UPDATE, Verb.RESTART] == verbs(again)
    assert again.result.is_in_sync
    assert again.result.status.find(ConditionType.DRIFTED) is None


def test_what_a_turn_could_not_ask_for_any_more_comes_first_in_the_next_one():
    world = renewed(V29)
    at = len(world.copy().turn().effects) - 2
    cut = world.turn(faults={at: Fault.NOT_SENT}).result
    people.set_until(world.store, "b", START + timedelta(days=60))

    assert cut.status.restart_owed
    assert _owes_restart(cut)
    assert cut.status.find(ConditionType.DRIFTED) is None
    then = world.turn()
    assert [Verb.RESTART, Verb.UPDATE] == verbs(then)
    assert then.result.status.restart_owed
    assert [Verb.RESTART] == verbs(world.turn())


def test_a_client_that_an_upgrade_switched_on_is_out_of_xray_only_after_a_restart():
    world = settled(V29, "abc")
    people.suspend(world.store, "a")
    people.suspend(world.store, "b")
    settle(world)
    world.panel.upgrade(V36)
    people.unwant(world.store, "b")

    turn = world.turn()

    assert [Verb.DELETE, Verb.DISABLE, Verb.RESTART] == verbs(turn)
    assert not world.panel.process.wrong(world.panel)
    assert turn.result.is_in_sync


def test_one_that_a_person_switched_on_is_taken_out_by_the_panel_up_to_3_0_2():
    world = settled(V29, "ab")
    people.suspend(world.store, "a")
    settle(world)
    world.panel.edit_by_hand(email_of(V29, "a"), enable=True)

    assert [Verb.DISABLE] == verbs(world.turn())


def test_a_dry_run_tells_a_debt_and_writes_nothing():
    world = renewed(V29)
    world.turn(faults={len(world.copy().turn().effects) - 2: Fault.NOT_SENT})
    before = world.writes()
    steps = dry_run(world.store.target(NL), world.clock.now)
    result = None
    try:
        while True:
            result = world._execute(NL, steps.send(result), None)
    except StopIteration as end:
        told = end.value

    assert not told.is_in_sync
    assert told.status.restart_owed
    assert before == world.writes()
