"""Properties of the plan, over fleets that anything may have happened to."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core import effects as fx
from controller.core.desired import Desired
from controller.core.draw import make_plan
from controller.core.effects import Verb
from controller.core.guards import check_guards
from controller.core.observed import Observation
from controller.core.plan import Action, Plan, deletes, reason_of
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason
from tests.fakes import people
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults import oracles
from tests.faults.safety import Safety, parts_of
from tests.faults.truth import check_truth
from tests.strategies import situations

FEW = settings(max_examples=80)


def read(world: World) -> tuple[Desired, Observation]:
    """Take what a plan is made of, as a turn would."""
    desired = world.store.read_desired(fx.ReadDesired(NL), world.clock.now)
    return desired, world.panel.look()


def plan_of(world: World) -> Plan:
    desired, look = read(world)
    return make_plan(desired, look, world.clock.now)


def converge(world: World) -> None:
    """Let the controller work with a person at hand who approves what is shown."""
    world.pass_time(3_700)
    for _ in range(5):
        world.round()
        people.approve(world.store, NL, world.clock.now)


@FEW
@given(world=situations())
def test_applying_plans_reaches_the_desired_state_within_what_is_ours(world: World) -> None:
    world.watch = Safety()
    strangers = world.panel.foreign()

    converge(world)

    check_truth(world, NL)
    assert strangers == world.panel.foreign()


@FEW
@given(world=situations())
def test_a_second_plan_is_empty(world: World) -> None:
    converge(world)

    assert () == plan_of(world).actions
    oracles.check_idle(world)


@given(world=situations())
def test_a_foreign_client_is_never_in_a_plan(world: World) -> None:
    foreign = set(world.panel.foreign().values())

    plan = plan_of(world)

    assert not foreign & {action.current for action in plan.actions}
    held = {client.email.lower() for client in foreign}
    assert not held & {action.email.lower() for action in plan.actions}


@given(world=situations(), seed=st.integers(0, 10**6))
def test_a_plan_does_not_depend_on_the_order_of_its_inputs(world: World, seed: int) -> None:
    desired, look = read(world)
    shuffled = random.Random(seed)

    def mixed(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(shuffled.sample(items, len(items)))

    plan = make_plan(desired, look, world.clock.now)
    other = make_plan(
        _fresh(desired, keys=mixed(desired.keys), journal=mixed(desired.journal)),
        _fresh(look, clients=mixed(look.clients), inbounds=mixed(look.inbounds)),
        world.clock.now,
    )

    assert plan.digest == other.digest
    assert plan.actions == other.actions


@given(world=situations(), used=st.integers(1, 10**6))
def test_a_digest_does_not_depend_on_counters(world: World, used: int) -> None:
    before = plan_of(world).digest

    for client in world.panel.look().clients:
        if not client.total_bytes:
            world.panel.use(client.email, used, used)

    assert before == plan_of(world).digest


@given(world=situations(), seconds=st.integers(1, 50))
def test_a_digest_does_not_depend_on_the_moment(world: World, seconds: int) -> None:
    """No due date lies that close in these fleets, and no create is on its way."""
    desired, look = read(world)
    now = world.clock.now

    plans = [make_plan(desired, look, at) for at in (now, _later(now, seconds))]

    assert plans[0].digest == plans[1].digest


@given(world=situations())
def test_what_was_remembered_of_a_reading_changes_no_plan(world: World) -> None:
    """A reading carries what earlier plans derived from it; a new one starts without."""
    desired, look = read(world)
    first = make_plan(desired, look, world.clock.now)

    again = make_plan(desired, look, world.clock.now)

    assert first == again == make_plan(_fresh(desired), look, world.clock.now)


@given(world=situations())
def test_every_delete_has_a_reason_and_a_row(world: World) -> None:
    for action in plan_of(world).actions:
        if deletes(action):
            assert isinstance(reason_of(action), DeleteReason)
            assert action.row is not None


@given(world=situations())
def test_deletes_come_first_and_creates_last(world: World) -> None:
    verbs = [action.verb for action in plan_of(world).actions]

    assert verbs == sorted(verbs, key=list(dict.fromkeys(verbs)).index)
    if Verb.DELETE in verbs:
        assert Verb.DELETE is verbs[0]
    if Verb.CREATE in verbs:
        assert Verb.CREATE is verbs[-1]


@given(world=situations())
def test_no_generation_is_created_while_an_older_one_has_a_row(world: World) -> None:
    desired, _ = read(world)

    for action in plan_of(world).of(Verb.CREATE):
        rows = [r for r in desired.journal if r.key == action.key and r.key is not None]
        assert [] == [r.email for r in rows if r.generation < action.generation]


@given(world=situations())
def test_only_keys_that_are_in_force_are_created(world: World) -> None:
    for action in plan_of(world).of(Verb.CREATE):
        parts = parts_of(action.email)
        if action.key is not None and parts is not None:
            subscription = world.store.subscriptions[world.store.keys[action.key].subscription]
            assert subscription.ended_by(world.clock.now) is None


@pytest.mark.parametrize(
    ("mode", "forbidden"),
    [
        (Mode.UPSERT_ONLY, (Verb.DELETE, Verb.DETACH)),
        (Mode.OBSERVE, tuple(Verb)),
        (Mode.PAUSED, tuple(Verb)),
    ],
    ids=["upsert-only", "observe", "paused"],
)
@given(world=situations())
@settings(max_examples=40)
def test_modes_withhold_their_verbs(mode: Mode, forbidden: tuple[Verb, ...], world: World) -> None:
    people.set_mode(world.store, NL, mode)
    desired, look = read(world)
    plan = make_plan(desired, look, world.clock.now)

    allowed = check_guards(plan, desired, look, world.clock.now).allowed

    assert () == allowed.of(*forbidden)


@given(world=situations(keys="abcdefgh"))
def test_more_deletes_than_the_limit_are_withheld_altogether(world: World) -> None:
    desired, look = read(world)
    plan = make_plan(desired, look, world.clock.now)
    checked = check_guards(plan, desired, look, world.clock.now)
    going = {a.email.lower() for a in checked.allowed.actions if _takes_away(a)}
    limit = max(desired.policy.max_delete_floor, desired.policy.max_delete_share * plan.owned)

    assert len(going) <= limit


def _takes_away(action: Action) -> bool:
    return deletes(action) and not action.recreates


def _later(now: datetime, seconds: int) -> datetime:
    return now + timedelta(seconds=seconds)


def _fresh(value: Desired | Observation, **changes: object) -> Desired | Observation:
    """Copy a value with changes; a reading loses what plans remembered of it."""
    if isinstance(value, Desired):
        return replace(value, memo={}, **changes)
    return replace(value, **changes)
