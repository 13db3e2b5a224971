"""Retention: what is old goes in batches, what is owed or still means something stays."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from controller.jobs.retention import Retention, make_rules
from controller.settings import RetentionSettings
from desired_state.commands import keys, requests
from desired_state.model.generation import JournalState
from desired_state.model.request import RequestKind
from desired_state.store.tables.status import (
    AlertRow,
    ApprovalStartedRow,
    CycleRow,
    DeleteBudgetRow,
    EventRow,
    NotificationRow,
    RemoteGenerationRow,
    RequestAnswerRow,
    RequestProgressRow,
    WebhookDeliveryRow,
)
from desired_state.store.tables.types import DESIRED, STATUS, Base
from desired_state.store.unit_of_work import begin
from tests.data import rows
from tests.data.datasets import MONTH, NL1
from tests.fakes.authorizer import writes_refused
from tests.fakes.clock import START

SETTINGS = RetentionSettings(batch=2)


@pytest.fixture
def add(fleet):
    """Add rows, made at a moment so many days ago."""

    async def store(*made):
        async with fleet.recording() as session:
            session.add_all(made)

    return store


def ago(store, **parts):
    return store.clock.now() - timedelta(**parts)


async def count(store, table):
    async with store.reading() as session:
        return await session.scalar(select(func.count()).select_from(table))


async def prune(store, **settings):
    return await Retention(store, RetentionSettings(**{"batch": 2} | settings), store.clock).run()


def event(store, **columns):
    at = columns.pop("at", ago(store, days=100))
    return EventRow(node=NL1, name="condition_came", at=at, **columns)


async def test_old_events_and_cycles_go_in_batches(fleet, add):
    old, young = ago(fleet, days=31), ago(fleet, days=29)
    await add(
        *(event(fleet, at=at) for at in (old, old, old, old, old, young)),
        *(
            CycleRow(id=f"c{number}", node=NL1, result="InSync", started_at=old, finished_at=at,
                     observed_revision=1)
            for number, at in enumerate((old, young))
        ),
    )  # fmt: skip

    assert {"event": 5, "cycle": 1} == await prune(fleet)
    assert (1, 1) == (await count(fleet, EventRow), await count(fleet, CycleRow))
    assert {} == await prune(fleet)


async def test_a_folded_line_lives_from_its_last_repetition(fleet, add):
    await add(event(fleet, times=7, last_at=ago(fleet, days=1)), event(fleet))

    assert {"event": 1} == await prune(fleet)


async def test_tombstones_go_after_their_days_and_nothing_else_of_the_journal(fleet):
    for days, state in ((31, "gone"), (29, "gone"), (31, "live"), (31, "intended")):
        async with begin(fleet, "test") as work:
            key = (await keys.issue(work, MONTH)).key.id
        row = await rows.journal(fleet, key, NL1, state=JournalState(state))
        async with fleet.recording() as session:
            stored = await session.get_one(RemoteGenerationRow, (NL1, row.email))
            stored.gone_at = ago(fleet, days=days) if state == "gone" else None

    assert {"remote_generation": 1} == await prune(fleet)
    assert 3 == await count(fleet, RemoteGenerationRow)


async def test_tombstones_are_never_kept_shorter_than_reads_look_back():
    with pytest.raises(ValueError, match="tombstones_days"):
        RetentionSettings(tombstones_days=29)


async def test_an_answer_stays_while_its_request_does(fleet, add):
    """Without the answer the request would be done again."""
    async with begin(fleet, "test") as work:
        asked = await requests.ask(work, RequestKind.REBIND, node=NL1)
    old = ago(fleet, days=100)
    tokens = (asked.token, "forgotten")
    await add(*(RequestAnswerRow(token=token, node=NL1, at=old) for token in tokens))
    await add(*(RequestProgressRow(token=token, node=NL1, at=old) for token in tokens))

    assert {"request_answer": 1, "request_progress": 1} == await prune(fleet)
    async with fleet.reading() as session:
        assert [asked.token] == list(await session.scalars(select(RequestAnswerRow.token)))


async def test_the_start_of_an_approval_goes_once_the_approval_is_gone(fleet, add):
    await add(ApprovalStartedRow(approval_id=7, node=NL1, at=ago(fleet, days=100)))

    assert {"approval_started": 1} == await prune(fleet)


async def test_the_delete_budget_is_kept_longer_than_its_window(fleet, add):
    await add(
        *(
            DeleteBudgetRow(node=NL1, deletes=1, owned=9, at=ago(fleet, **parts))
            for parts in ({"hours": 1}, {"hours": 25})
        )
    )

    assert {"delete_budget": 1} == await prune(fleet)


async def test_a_notification_stays_while_its_alert_fires_and_takes_its_deliveries_along(
    fleet, add
):
    old = ago(fleet, days=100)
    texts = {
        "alert": "a",
        "state": "firing",
        "severity": "warning",
        "condition": "x",
        "reason": "y",
    }
    firing, over = (NotificationRow(at=old, **texts) for _ in range(2))
    await add(firing)
    await add(over)
    await add(
        AlertRow(key="a", condition="x", reason="y", came_at=old, notification_id=firing.id),
        *(
            WebhookDeliveryRow(notification_id=one.id, hook="h", state="parked", next_at=old)
            for one in (firing, over)
        ),
    )

    assert {"notification": 1, "webhook_delivery": 1} == await prune(fleet)
    async with fleet.reading() as session:
        assert [firing.id] == list(await session.scalars(select(NotificationRow.id)))


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_retention_writes_status_alone(fleet, add):
    await add(event(fleet))

    async with writes_refused(fleet, DESIRED) as refusals:
        removed = await prune(fleet)

    assert ({"event": 1}, []) == (removed, refusals.statements)


def test_every_table_that_only_grows_has_a_rule():
    """A new table of status joins here, or says why it does not grow."""
    grows = {rule.table.name for rule in make_rules(SETTINGS, START)}
    bounded = {
        "placement", "key_usage", "heal", "alert", "node_wake", "sight",  # a row a thing
        "replica", "node_lease",  # pruned by whoever renews
    }  # fmt: skip
    tables = {t.name for t in Base.metadata.tables.values() if t.schema == STATUS}

    assert tables - bounded == grows


# -- a clock that is doubted -----------------------------------------------------------------------


async def test_nothing_goes_while_the_clock_was_set_not_long_ago(fleet, add):
    """A clock that was set a year ahead would take tombstones and history along, for good."""
    await add(event(fleet))

    removed = await Retention(fleet, SETTINGS, fleet.clock, lambda: True).run()

    assert ({}, 1) == (removed, await count(fleet, EventRow))


@pytest.mark.parametrize(("skewed", "left"), [(2, 1), (1, 0)])
async def test_nothing_goes_while_most_panels_show_another_time(fleet, add, skewed, left):
    """One of three is wrong by itself; two of three say that we are."""
    await add(event(fleet))
    for node in ("nl-1", "nl-2", "de-1")[:skewed]:
        told = rows.condition("Blocked", "ClockSkew", fleet.clock.now())
        await rows.replace_status(fleet, node, told)

    await prune(fleet)

    assert left == await count(fleet, EventRow)
