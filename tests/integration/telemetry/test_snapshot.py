"""What metrics and alerts read of the fleet, over both databases."""

from datetime import timedelta

import pytest

from controller.jobs.snapshot import read_fleet
from controller.telemetry.snapshot import SeenCondition, Withheld
from desired_state.commands import keys, nodes
from desired_state.commands.sources import tell_followed
from desired_state.model.node import Mode
from desired_state.store.tables.status import PlacementRow
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import DATASETS, DE1, MONTH, NL1, NL2
from tests.fakes.authorizer import writes_refused


@pytest.fixture
async def fleet(store):
    """Three ready nodes; the clock has moved on since."""
    await DATASETS["fleet without keys"](store)
    store.clock.advance(minutes=5)
    return store


async def by_name(store):
    snapshot = await read_fleet(store, store.clock.now())
    return {node.name: node for node in snapshot.nodes}


def down(store, kind="Unreachable"):
    return rows.condition(kind, "Timeout", store.clock.now(), "no answer")


async def test_every_declared_node_is_read_with_its_status(fleet):
    blocked = [{"kind": "deletes", "digest": "ab" * 32, "emails": ["x3f-a-g1", "x3f-b-g1"]}]
    await rows.replace_status(
        fleet, NL1, down(fleet), counts={"live": 3}, failures=2,
        next_look_at=fleet.clock.now(), blocked_sets=blocked,
    )  # fmt: skip
    async with begin(fleet, "test") as work:
        await nodes.pause(work, NL2)

    seen = await by_name(fleet)

    condition = SeenCondition(
        "Unreachable", "Timeout", message="no answer", since=fleet.clock.now()
    )
    one = seen[NL1]
    assert [DE1, NL1, NL2] == list(seen)
    # Nothing is placed here: what is wanted of a node that cannot be reached is counted anew.
    counts = {"live": 3, "desired": 0, "pending": 0}
    assert ((condition,), counts, 2) == (one.conditions, one.counts, one.failures)
    assert (Withheld("deletes", "ab" * 32, 2),) == one.withheld
    assert fleet.clock.now() == one.next_look_at
    assert (Mode.PAUSED, Mode.ENFORCE) == (seen[NL2].mode, seen[DE1].mode)


async def test_a_wake_up_makes_a_node_wanted_at_its_revision(fleet):
    before = await by_name(fleet)

    async with begin(fleet, "test") as work:
        revision = await work.revise(NL1)
        work.audit("tested", "node/nl-1")

    after = await by_name(fleet)
    assert revision == after[NL1].wanted_revision > before[NL1].wanted_revision
    assert before[NL2].wanted_revision == after[NL2].wanted_revision


async def test_what_is_wanted_of_a_node_that_cannot_be_reached_is_counted_as_it_is_now(fleet):
    """A key that never came there, one that lives there, one whose new generation waits, one revoked."""
    arrived, rotated, revoked = [await issue(fleet) for _ in range(3)]
    async with begin(fleet, "test") as work:
        missing = (await keys.issue(work, MONTH, node=NL1)).key.id
        await keys.rotate(work, rotated)
        await keys.revoke(work, revoked)
    await rows.place(fleet, missing, NL1)
    await rows.replace_status(fleet, NL1, down(fleet), counts={"desired": 3, "live": 3})

    counts = (await by_name(fleet))[NL1].counts

    assert arrived != missing
    assert {"desired": 3, "pending": 2, "live": 3} == counts


@pytest.mark.parametrize(
    ("every_s", "minutes", "silent"),
    [(60, 14, False), (60, 16, True), (1800, 89, False), (1800, 91, True)],
)
async def test_a_source_is_silent_when_who_follows_it_was_not_heard_of_for_too_long(
    fleet, every_s, minutes, silent
):
    """A quarter of an hour, or three looks where these are rarer."""
    async with begin(fleet, "test") as work:
        await tell_followed(work, "fleet", every_s)
    told_at = fleet.clock.now()
    fleet.clock.advance(minutes=minutes)

    (seen,) = (await read_fleet(fleet, fleet.clock.now())).sources

    assert (told_at if silent else None) == seen.silent_since


async def test_a_source_that_nobody_promised_to_follow_is_never_silent(fleet):
    fleet.clock.advance(days=30)

    (seen,) = (await read_fleet(fleet, fleet.clock.now())).sources

    assert seen.silent_since is None


async def issue(store, node=NL1):
    """A key that lives on a node."""
    async with begin(store, "test") as work:
        key = (await keys.issue(work, MONTH, node=node)).key.id
    await rows.place(store, key, node)
    await rows.journal(store, key, node)
    return key


async def test_what_is_wanted_on_a_dead_node_is_no_debt(fleet):
    await issue(fleet)
    await rows.replace_status(fleet, NL1, down(fleet))

    assert (0, None) == debt_of(await by_name(fleet), NL1)


def debt_of(seen, node):
    return seen[node].debt, seen[node].debt_since


async def test_a_revoked_key_is_a_debt_since_it_was_revoked(fleet):
    first, second = await issue(fleet), await issue(fleet)
    fleet.clock.advance(hours=1)
    revoked_at = fleet.clock.now()
    async with begin(fleet, "test") as work:
        await keys.revoke(work, first, reason="left")
    fleet.clock.advance(hours=1)
    async with begin(fleet, "test") as work:
        await keys.revoke(work, second, reason="left")
    await rows.replace_status(fleet, NL1, down(fleet))

    assert (2, revoked_at) == debt_of(await by_name(fleet), NL1)


async def test_an_older_generation_is_a_debt_since_the_rotation(fleet):
    key = await issue(fleet)
    fleet.clock.advance(hours=1)
    async with begin(fleet, "test") as work:
        await keys.rotate(work, key)
    await rows.replace_status(fleet, NL1, down(fleet, "Stalled"))

    assert (1, fleet.clock.now()) == debt_of(await by_name(fleet), NL1)


async def test_a_key_that_was_placed_elsewhere_is_a_debt_since_then(fleet):
    key = await issue(fleet)
    fleet.clock.advance(hours=1)
    await rows.place(fleet, key, NL2, replaces=NL1)
    await leave(fleet, key, NL1)
    await rows.replace_status(fleet, NL1, down(fleet))

    assert (1, fleet.clock.now()) == debt_of(await by_name(fleet), NL1)


async def leave(store, key, node):
    async with store.recording() as session:
        (await session.get_one(PlacementRow, (key, node))).leaving = "moved"


async def test_a_node_that_can_be_reached_owes_nothing(fleet):
    """Its deletes are work in hand, not a debt."""
    key = await issue(fleet)
    async with begin(fleet, "test") as work:
        await keys.revoke(work, key, reason="left")

    assert (0, None) == debt_of(await by_name(fleet), NL1)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_reading_writes_nothing(fleet):
    async with writes_refused(fleet, DESIRED, STATUS) as refusals:
        await read_fleet(fleet, fleet.clock.now() + timedelta(hours=1))

    assert [] == refusals.statements
