"""What a turn says of a node's health: Xray, certificates, clocks; fallen, connected, recovered."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.backoff import Backoff
from controller.core.conditions import ConditionType, check_conditions
from controller.core.effects import Outcome, Verdict
from controller.core.health import ended_seen, ended_unseen, panel_health, still_unproved
from controller.core.observed import NotObserved, NotSeen, XrayState
from controller.core.reconcile import dry_run, reconcile
from desired_state.model.node import Mode
from tests.fakes import people
from tests.fakes.faults import Fault
from tests.fakes.people import NL
from tests.faults.scenarios import V36, settled
from tests.unit.controller_core.cases import NODE, NOW, make_look


def reasons(status, kind=ConditionType.DRIFTED):
    return [c.reason for c in status.conditions if c.type is kind and c.status]


def turn(world, reason=None, **fields):
    """Run one turn; with a reason, its first look shows nothing."""
    look = None if reason is None else NotObserved(NL, reason, "no answer", **fields)
    return answered(world, look)


def answered(world, look=None, chance=0.5):
    """Run one turn with this first look, else with what the panel holds; five seconds pass."""
    steps = reconcile(world.store.target(NL), world.clock.now, 500, chance)
    effect, result = next(steps), look
    if result is None:
        result = world._execute(NL, effect, None)
    try:
        while True:
            effect = steps.send(result)
            result = world._execute(NL, effect, None)
    except StopIteration as end:
        world.pass_time(5)
        return end.value


def told(world):
    """The events of the node's health, in order."""
    return [event.name for _, event in world.store.events if event.name.startswith("node_")]


# -- the panel's server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (XrayState.RUNNING, []),
        (XrayState.UNKNOWN, []),
        (XrayState.STOP, ["XrayStopped"]),
        (XrayState.ERROR, ["XrayFailing"]),
    ],
)
def test_a_stopped_xray_is_told_from_one_that_does_not_start(state, expected):
    look = make_look(xray=state)

    assert expected == [reason for reason, _ in panel_health(look, NOW, require_xray=True)]
    assert [] == list(panel_health(look, NOW, require_xray=False))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (None, []),
        (14.1, []),
        (14, ["CertificateExpiring"]),
        (3.1, ["CertificateExpiring"]),
        (3, ["CertificateExpiringSoon"]),
        (0.1, ["CertificateExpiringSoon"]),
        (0, ["CertificateExpired"]),
        (-400, ["CertificateExpired"]),
    ],
)
def test_a_certificate_is_warned_of_at_14_and_3_days(days, expected):
    until = None if days is None else NOW + timedelta(days=days)
    look = make_look(certificate_until=until)

    assert expected == [reason for reason, _ in panel_health(look, NOW, require_xray=True)]


def test_a_warning_says_the_same_as_long_as_it_holds():
    """Else each look would be a change, and be written."""
    look = make_look(certificate_until=NOW + timedelta(days=14))

    told = {tuple(panel_health(look, NOW + timedelta(hours=h), require_xray=True)) for h in (0, 99)}

    assert 1 == len(told)


@pytest.mark.parametrize("days", [10, 2, -1], ids=["14 days", "3 days", "ended"])
def test_a_certificate_near_its_end_takes_nobodys_readiness_away(days):
    world = settled(V36, "a")
    look = replace(world.panel.look(), certificate_until=world.clock.now + timedelta(days=days))

    result = answered(world, look)
    again = answered(world, look)

    assert 1 == len(reasons(result.status))
    assert reasons(result.status)[0].startswith("Certificate")
    assert result.status.find(ConditionType.READY).status
    assert result.is_in_sync
    assert result.status.certificate_until == look.certificate_until
    assert result.status == again.status


# -- fallen, connected, recovered --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "cut", "left", "expected"),
    [
        ([], False, False, "clean"),
        ([Verdict.APPLIED, Verdict.REJECTED], False, False, "clean"),
        ([Verdict.APPLIED, Verdict.UNKNOWN], False, False, "connected"),
        ([Verdict.NOT_SENT], False, False, "connected"),
        ([], True, False, "connected"),
        ([], False, True, "connected"),
    ],
    ids=["nothing to do", "all answered", "an answer was lost", "not sent", "cut", "work left"],
)
def test_only_a_whole_cycle_is_a_clean_one(outcomes, cut, left, expected):
    ended = ended_seen((Outcome(v) for v in outcomes), is_cut=cut, is_work_left=left)

    assert expected == ended.value


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (NotSeen.UNREACHABLE, "lost"),
        (NotSeen.TIMEOUT, "lost"),
        (NotSeen.BUSY, "lost"),
        (NotSeen.CREDENTIALS_REFUSED, "refused"),
        (NotSeen.TLS_MISMATCH, "permanent"),
        (NotSeen.NOT_A_PANEL, "permanent"),
        (NotSeen.UNSUPPORTED_VERSION, "permanent"),
        (NotSeen.CONTRACT_BROKEN, "permanent"),
        (NotSeen.NOT_CONFIGURED, "permanent"),
    ],
)
def test_each_way_not_to_see_a_panel(reason, expected):
    assert expected == ended_unseen(NotObserved(NODE, reason, "why")).value


def test_every_failed_look_is_stored_with_the_next_try():
    world = settled(V36, "a")
    start = world.clock.now

    turn(world, NotSeen.UNREACHABLE)
    first = world.store.nodes[NL].status.backoff
    turn(world, NotSeen.TIMEOUT, at=start + timedelta(seconds=30))
    second = world.store.nodes[NL].status.backoff

    assert (1, start + timedelta(seconds=2.5)) == (first.failures, first.next_look_at)
    assert (2, start + timedelta(seconds=35)) == (second.failures, second.next_look_at), (
        "the pause begins when the look is over"
    )


def test_a_dry_run_counts_no_failure():
    world = settled(V36, "a")
    steps = dry_run(world.store.target(NL), world.clock.now)
    next(steps)
    effect = steps.send(NotObserved(NL, NotSeen.UNREACHABLE, "no answer"))
    with pytest.raises(StopIteration):
        steps.send(world._execute(NL, effect, None))

    assert Backoff() == world.store.nodes[NL].status.backoff


def test_refused_credentials_write_once_and_then_nothing():
    world = settled(V36, "a")
    turn(world, NotSeen.CREDENTIALS_REFUSED)
    before = world.store.writes

    status = turn(world, NotSeen.CREDENTIALS_REFUSED).status

    assert (1, None) == (status.backoff.failures, status.backoff.next_look_at)
    assert before == world.store.writes
    assert ["node_stalled"] == told(world)


def test_a_node_that_answers_and_is_in_sync_is_recovered_by_that_cycle():
    world = settled(V36, "a")
    for _ in range(3):
        turn(world, NotSeen.UNREACHABLE)
    now = world.clock.now

    status = turn(world).status

    assert Backoff(recovered_at=now) == status.backoff
    assert status.find(ConditionType.READY).status
    assert ["node_unreachable", "node_connected", "node_recovered"] == told(world)


def test_a_node_that_answers_and_loses_an_answer_is_connected_and_not_recovered():
    """Its condition and its events say so, and the failures stay."""
    world = settled(V36, "a")
    turn(world, NotSeen.UNREACHABLE)
    people.want(world.store, "b")

    connected = world.turn(faults={4: Fault.UNANSWERED}).result.status
    recovered = world.turn().result.status

    assert ["Connected"] == reasons(connected, ConditionType.RECONCILING)
    assert 1 == connected.backoff.failures
    assert not connected.find(ConditionType.READY).status
    assert () == check_conditions(connected, world.store.revision)
    assert 0 == recovered.backoff.failures
    assert ["node_unreachable", "node_connected", "node_recovered"] == told(world)


def test_a_node_that_falls_again_before_it_recovered_is_told_of_and_must_prove_itself():
    world = settled(V36, "a")
    turn(world, NotSeen.UNREACHABLE)
    turn(world)
    turn(world, NotSeen.UNREACHABLE)

    waiting = turn(world).status
    world.pass_time(60)
    well = turn(world).status

    assert ["Connected"] == reasons(waiting, ConditionType.RECONCILING)
    assert (1, 1) == (waiting.backoff.failures, waiting.backoff.flaps)
    assert not well.backoff.is_failing
    assert ["node_unreachable", "node_connected", "node_recovered"] == told(world)[:3]
    assert ["node_unreachable", "node_connected", "node_recovered"] == told(world)[3:]


def test_waiting_to_be_recovered_writes_nothing():
    world = settled(V36, "a")
    for _ in range(2):
        turn(world, NotSeen.UNREACHABLE)
        turn(world)
    before = world.store.writes

    turn(world)

    assert before == world.store.writes


def test_a_node_that_nobody_doubts_says_nothing():
    assert still_unproved(Backoff(recovered_at=NOW, flaps=1)) is None
    assert still_unproved(Backoff(failures=2, next_look_at=NOW)) is None


def test_pausing_forgets_the_next_try_and_not_the_failures():
    world = settled(V36, "a")
    turn(world, NotSeen.UNREACHABLE)
    world.store.nodes[NL].mode = Mode.PAUSED

    status = turn(world).status

    assert (1, None) == (status.backoff.failures, status.backoff.next_look_at)
    assert ["node_unreachable"] == told(world)
    assert () == check_conditions(status, world.store.revision)


@pytest.mark.parametrize(("minutes", "side"), [(11, "ahead of"), (-11, "behind")])
def test_a_clock_that_is_wrong_is_written_once(minutes, side):
    """How wrong it is differs with every look."""
    world = settled(V36, "a")
    honest = world.panel.look()
    for seconds in (0, 1, 7):
        skew = timedelta(minutes=minutes) + timedelta(seconds=seconds) * (1 if minutes > 0 else -1)
        status = answered(world, replace(honest, clock_skew=skew)).status

    held = status.find(ConditionType.BLOCKED)
    assert "ClockSkew" == held.reason
    assert f"the panel's clock is more than 600 s {side} ours" == held.message
    assert 1 == sum("Blocked/ClockSkew" in event.detail for _, event in world.store.events)
