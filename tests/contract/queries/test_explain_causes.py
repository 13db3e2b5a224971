"""Why a key is not on a node: one test a cause, with its step, sentence, event and next try."""

from datetime import timedelta

import pytest

from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import WriteStatus
from controller.core.result import _WARNINGS as READY_ALL_THE_SAME
from controller.core.result import events_of
from controller.runtime.lease import SoleLease
from controller.runtime.records import Records
from controller.runtime.versions import StatusVersions
from desired_state.commands import keys, nodes
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation
from desired_state.model.node import Mode
from desired_state.queries.explain import Step
from desired_state.queries.fleet import list_nodes
from desired_state.queries.key import show_key
from desired_state.queries.retry import Retry, tell_duration, tell_next_try
from desired_state.queries.views import WARNINGS
from desired_state.store.tables.status import NodeLeaseRow, ReplicaRow
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import DATASETS, NL1


@pytest.fixture
def backend():
    return "sqlite"


@pytest.fixture
async def key(store):
    """A key that is wanted, and a fleet that no controller has looked at."""
    scene = await DATASETS["declared, never looked at"](store)
    return scene.keys[0]


async def explain(store, key):
    """Explain the key on one node."""
    async with store.reading() as session:
        detail = await show_key(session, key, store.clock.now())
    (found,) = [one for one in detail.nodes if one.node == NL1]
    return found


async def happen(store, *conditions):
    """Let a node get conditions as a turn records them, its history included."""
    now = store.clock.now()
    held = tuple(Condition(ConditionType(kind), r, "said so", since=now) for kind, r in conditions)
    lease = SoleLease()
    await lease.take(store)
    records = Records(store, StatusVersions(), lease)
    status = NodeStatus(conditions=held)
    events = events_of(NodeStatus(), status)
    effect = WriteStatus(NL1, status, lease.epoch(NL1), events)
    await records.record(effect, now, "c1")
    await lease.release_all()


async def back_off(store, failures, due_s):
    """Store a back-off."""
    due = store.clock.now() + timedelta(seconds=due_s)
    trouble = rows.condition("Unreachable", "Timeout", store.clock.now(), "said so")
    await rows.set_status(store, NL1, trouble, failures=failures, next_look_at=due)


# -- the steps ---------------------------------------------------------------------------------------


async def test_declared_the_key_is_revoked(store, key):
    async with begin(store, "test") as work:
        await keys.revoke(work, key)

    found = await explain(store, key)

    assert (Step.DECLARED, "") == (found.failed, found.next_try)
    assert found.why.startswith("the key is revoked")


async def test_eligible_the_node_is_cordoned(store, key):
    async with begin(store, "test") as work:
        await nodes.cordon(work, NL1)

    found = await explain(store, key)

    assert (Step.ELIGIBLE, "nl-1 is cordoned") == (found.failed, found.why)
    assert ("after a person acts", False) == (found.next_try, found.may_pass)


async def test_eligible_the_node_is_in_trouble_that_may_pass(store, key):
    await happen(store, ("Unreachable", "Timeout"))

    found = await explain(store, key)

    assert (Step.ELIGIBLE, "nl-1 is Unreachable/Timeout") == (found.failed, found.why)
    assert ("condition_came", "at the next reconcile") == (found.event.name, found.next_try)
    assert found.may_pass


async def test_placed_the_scheduler_has_not_come_to_it(store, key):
    found = await explain(store, key)

    assert (Step.PLACED, "the scheduler has not placed it yet") == (found.failed, found.why)


async def test_journalled_the_controller_has_not_been_there(store, key):
    await rows.place(store, key, NL1)

    found = await explain(store, key)

    assert Step.JOURNALLED is found.failed
    assert "the controller has not been at nl-1 since" == found.why


async def test_sent_the_answer_of_its_create_was_lost(store, key):
    await rows.place(store, key, NL1)
    at = store.clock.now()
    await rows.journal(store, key, NL1, state=JournalState.INTENDED, create_unknown_at=at)

    found = await explain(store, key)

    assert Step.SENT is found.failed
    assert f"its create of {at:%Y-%m-%d %H:%M:%S} was not seen yet" == found.why
    assert "generation_journalled" == found.event.name


async def test_verified_a_look_did_not_show_it_as_it_should_be(store, key):
    await rows.place(store, key, NL1)
    await rows.journal(store, key, NL1, Generation(1), projection="")

    found = await explain(store, key)

    assert Step.VERIFIED is found.failed
    assert "the last look did not show it as it should be" == found.why
    assert "generation_live" == found.event.name


# -- the node ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "next_try"),
    [
        ("Unreachable", "Timeout", "at the next reconcile"),
        ("Blocked", "TooManyDeletes", "after a person acts"),
        ("Stalled", "IdentityChanged", "after a person acts"),
        ("Drifted", "XrayFailing", "at the next reconcile"),
    ],
    ids=["unreachable", "blocked", "stalled", "drifted"],
)
async def test_the_nodes_own_trouble_with_the_event_that_told_of_it(
    store, key, kind, reason, next_try
):
    await rows.place(store, key, NL1)
    await happen(store, ("Drifted", "Quarantined"), (kind, reason))

    found = await explain(store, key)

    assert (Step.JOURNALLED, next_try) == (found.failed, found.next_try)
    assert f"nl-1 is {kind}/{reason}: said so" == found.why
    assert ("condition_came", f"{kind}/{reason}") == (found.event.name, found.event.after)


async def test_what_is_only_a_warning_hinders_nothing(store, key):
    """The same reasons as where readiness is decided."""
    await rows.place(store, key, NL1)
    await happen(store, *(("Drifted", reason) for reason in sorted(WARNINGS)), ("Ready", "InSync"))

    found = await explain(store, key)
    async with store.reading() as session:
        (node,) = [one for one in await list_nodes(session) if one.name == NL1]

    assert READY_ALL_THE_SAME == WARNINGS
    assert "the controller has not been at nl-1 since" == found.why
    assert ("Ready", tuple(sorted(WARNINGS))) == (node.worst.type, node.warnings)


@pytest.mark.parametrize(
    ("failures", "due_s", "expected"),
    [
        (4, 190, "in 3 min 10 s, after 4 failures"),
        (1, 4, "in 4 s, after 1 failure"),
        (9, 900, "in 15 min, after 9 failures"),
        (2, -3, "now, after 2 failures"),
    ],
)
async def test_a_node_in_back_off_tells_the_next_try(store, key, failures, due_s, expected):
    await rows.place(store, key, NL1)
    await back_off(store, failures, due_s)

    found = await explain(store, key)
    async with store.reading() as session:
        (node,) = [one for one in await list_nodes(session) if one.name == NL1]

    assert expected == found.next_try == node.next_try(store.clock.now())
    assert "nl-1 is Unreachable/Timeout: said so" == found.why


async def test_a_stalled_node_that_is_probed_slowly_tells_when(store, key):
    await rows.place(store, key, NL1)
    now = store.clock.now()
    trouble = rows.condition("Stalled", "TlsMismatch", now, "said so")
    due = now + timedelta(minutes=14)
    await rows.set_status(store, NL1, trouble, failures=3, next_look_at=due)

    assert "in 14 min, after 3 failures" == (await explain(store, key)).next_try


async def test_refused_credentials_wait_for_a_person(store, key):
    await rows.place(store, key, NL1)
    trouble = rows.condition("Stalled", "CredentialsRefused", store.clock.now(), "said so")
    await rows.set_status(store, NL1, trouble, failures=1)

    assert "after a person acts" == (await explain(store, key)).next_try


async def test_a_paused_node_is_the_cause_whatever_else_is_wrong_with_it(store, key):
    await rows.place(store, key, NL1)
    await back_off(store, 4, 190)
    async with begin(store, "test") as work:
        await nodes.pause(work, NL1)

    found = await explain(store, key)

    assert ("nl-1 is paused", "after a person acts") == (found.why, found.next_try)


# -- replicas ----------------------------------------------------------------------------------------


async def replicate(store, *, state="live", renewed_s=10, holder="ab12"):
    """One of several replicas holds the node, and another one lives."""
    now = store.clock.now()
    common = {"kind": "replica", "pid": 7, "started_at": now}
    async with store.recording() as session:
        for name, lives, ends_s in (("ab12", state, renewed_s), ("cd34", "live", 10)):
            ends = now + timedelta(seconds=ends_s)
            session.add(
                ReplicaRow(id=name, host=f"h-{name}", state=lives, expires_at=ends, **common)
            )
        session.add(NodeLeaseRow(node=NL1, holder=holder, epoch=3))


@pytest.mark.parametrize(
    ("fields", "why", "next_try"),
    [
        (
            {},
            "the controller has not been at nl-1 since; replica ab12 on h-ab12 holds nl-1",
            "at the next reconcile",
        ),
        (
            {"state": "dead"},
            "replica ab12 on h-ab12 held nl-1 and died; another replica takes it over",
            "when another replica has taken it over",
        ),
        (
            {"renewed_s": -1},
            "replica ab12 on h-ab12 held nl-1 and died; another replica takes it over",
            "when another replica has taken it over",
        ),
        (
            {"holder": None},
            "no replica holds nl-1 now; another replica takes it over",
            "when another replica has taken it over",
        ),
    ],
    ids=["another one lives", "declared dead", "not renewed in time", "given back"],
)
async def test_a_lease_elsewhere_is_named(store, key, fields, why, next_try):
    await rows.place(store, key, NL1)
    await replicate(store, **fields)

    found = await explain(store, key)

    assert (Step.JOURNALLED, why, next_try) == (found.failed, found.why, found.next_try)


# -- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (190, "3 min 10 s"),
        (3600, "1 h"), (7261, "2 h 1 min"),
    ],
)  # fmt: skip
def test_durations_are_told_in_two_units(seconds, expected):
    assert expected == tell_duration(seconds)


def test_a_failure_without_a_moment_waits_for_the_next_look():
    """It answers again, and is looked at as often as any other."""
    retry = Retry(failures=3)

    assert "at the next reconcile" == tell_next_try((), Mode.ENFORCE, retry, None)
