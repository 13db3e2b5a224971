"""Retention of desired state: what is old and needed by nothing goes; everything else stays."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from desired_state.commands import keys, notifications, requests, subscriptions
from desired_state.commands.retention import prune
from desired_state.commands.settings import PruneSettings, load_prune_settings
from desired_state.model.errors import ConfigError
from desired_state.model.request import RequestKind
from desired_state.store.tables.desired import (
    AuditEventRow,
    KeyGenerationRow,
    KeyRow,
    MoveRow,
    NotificationReplayRow,
    RequestRow,
    RevisionCounterRow,
    WakeRow,
)
from desired_state.store.tables.status import (
    KeyUsageRow,
    NotificationRow,
    RemoteGenerationRow,
    RequestAnswerRow,
)
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_tariff
from tests.data.datasets import NL1
from tests.data.rows import apply, place

SETTINGS = PruneSettings()
TOLD = dict.fromkeys(("alert", "state", "severity", "node", "condition", "reason", "message"), "x")


@pytest.fixture
async def fleet(store):
    await apply(store, make_bundle(make_node_spec("nl-1"), make_tariff()))
    return store


async def all_of(store, column):
    async with store.reading() as session:
        return list(await session.scalars(select(column).order_by(column)))


async def issue(store, count=1):
    async with begin(store, "test") as work:
        issued = [await keys.issue(work, make_tariff().name) for _ in range(count)]
    return [one.key.id for one in issued]


async def revoke(store, *names):
    async with begin(store, "test") as work:
        for name in names:
            await keys.revoke(work, name)


async def test_wake_ups_and_old_audit_lines_go(fleet) -> None:
    fleet.clock.advance(days=200)
    await issue(fleet)
    fleet.clock.advance(hours=25)

    first = await prune(fleet, SETTINGS)
    fleet.clock.advance(days=165)
    second = await prune(fleet, SETTINGS)

    assert [] == await all_of(fleet, WakeRow.id)
    assert first["wake"] > 0
    assert "audit_event" not in first
    assert second["audit_event"] > 0
    assert {"key_issued", "subscription_created"} == set(await all_of(fleet, AuditEventRow.action))


async def test_a_young_database_is_left_alone_and_nobody_is_woken(fleet) -> None:
    await issue(fleet)
    before = await all_of(fleet, WakeRow.id), await all_of(fleet, RevisionCounterRow.value)

    assert {} == await prune(fleet, SETTINGS)
    assert before == (
        await all_of(fleet, WakeRow.id),
        await all_of(fleet, RevisionCounterRow.value),
    )


async def test_many_rows_go_in_batches(fleet) -> None:
    async with begin(fleet, "test") as work:
        work.session.add_all(WakeRow(revision=1, node=None, at=work.now) for _ in range(25))
        await work.revise()
        work.audit("test", "wake/many")
    fleet.clock.advance(days=2)

    removed = await prune(fleet, PruneSettings(batch=10))

    assert removed["wake"] >= 25
    assert [] == await all_of(fleet, WakeRow.id)


async def test_a_request_goes_when_it_was_answered_long_ago_not_while_a_node_still_owes_it(
    fleet,
) -> None:
    async with begin(fleet, "test") as work:
        for token in ("answered", "owed"):
            await requests.ask(work, RequestKind.PROBE, node=NL1, token=token)
        await requests.ask(work, RequestKind.RECONCILE, token="of everybody")
    async with fleet.recording() as session:
        session.add(RequestAnswerRow(token="answered", node=NL1, at=fleet.clock.now()))

    fleet.clock.advance(days=29)
    assert "request" not in await prune(fleet, SETTINGS)
    fleet.clock.advance(days=2)
    await prune(fleet, SETTINGS)

    assert ["owed"] == await all_of(fleet, RequestRow.token)


async def test_a_wish_for_a_replay_goes_when_it_is_old(fleet) -> None:
    async with fleet.recording() as session:
        session.add(NotificationRow(id=1, at=fleet.clock.now(), **TOLD))
    async with begin(fleet, "test") as work:
        await notifications.replay(work, 1)
    fleet.clock.advance(days=29)
    young = await prune(fleet, SETTINGS)
    fleet.clock.advance(days=2)

    old = await prune(fleet, SETTINGS)

    assert "notification_replay" not in young
    assert 1 == old["notification_replay"]
    assert [] == await all_of(fleet, NotificationReplayRow.id)


async def test_a_key_deleted_long_ago_goes_with_its_seeds_and_moves(fleet) -> None:
    gone, kept = await issue(fleet, 2)
    async with begin(fleet, "test") as work:
        await keys.move(work, gone, NL1)
    await revoke(fleet, gone)
    fleet.clock.advance(days=91)

    removed = await prune(fleet, SETTINGS)

    assert 1 == removed["key"]
    assert [kept] == await all_of(fleet, KeyRow.id)
    assert [kept] == await all_of(fleet, KeyGenerationRow.key_id)
    assert [] == await all_of(fleet, MoveRow.key_id)
    async with fleet.reading() as session:
        line = await session.scalar(
            select(AuditEventRow).where(AuditEventRow.action == "keys_forgotten")
        )
    assert line is not None
    assert {"keys": [gone]} == line.detail


async def on_a_panel(session, key, now) -> None:
    session.add(
        RemoteGenerationRow(
            node=NL1, email=f"{key}@x", key=key, generation=1, inbound_ids=[1], sub_id="s",
            password_bytes=0, state="gone", gone_at=now, changed_at=now,
        )
    )  # fmt: skip


async def counted(session, key, now) -> None:
    session.add(KeyUsageRow(key=key, node=NL1, period=1, booked_bytes=5, changed_at=now))


@pytest.mark.parametrize("leave", [on_a_panel, counted])
async def test_a_deleted_key_stays_while_a_trace_of_it_counts(fleet, leave) -> None:
    """A tombstone knows it; its traffic counts against its subscription's quota."""
    (name,) = await issue(fleet)
    await revoke(fleet, name)
    async with fleet.recording() as session:
        await leave(session, name, fleet.clock.now())
    fleet.clock.advance(days=91)

    assert "key" not in await prune(fleet, SETTINGS)
    assert [name] == await all_of(fleet, KeyRow.id)


async def test_a_deleted_key_that_is_still_placed_stays(fleet) -> None:
    (name,) = await issue(fleet)
    await place(fleet, name, NL1)
    await revoke(fleet, name)
    fleet.clock.advance(days=91)

    assert "key" not in await prune(fleet, SETTINGS)


async def test_a_wanted_key_never_goes(fleet) -> None:
    names = await issue(fleet)
    fleet.clock.advance(days=timedelta(weeks=1_000).days)

    await prune(fleet, SETTINGS)

    assert names == await all_of(fleet, KeyRow.id)


def test_a_wrong_setting_is_named_without_its_value(monkeypatch) -> None:
    monkeypatch.setenv("X3FLEET_RETENTION__AUDIT_DAYS", "hunter2")

    with pytest.raises(ConfigError, match="X3FLEET_RETENTION__AUDIT_DAYS") as caught:
        load_prune_settings()

    assert "hunter2" not in str(caught.value)


async def test_tokens_of_callers_go_when_nobody_repeats_what_they_asked_for(fleet) -> None:
    async with begin(fleet, "test") as work:
        sold = await subscriptions.create(work, make_tariff().name)
        await subscriptions.extend(work, sold.id, 300, token="gift")
    fleet.clock.advance(days=89)
    before = await prune(fleet, SETTINGS)
    async with begin(fleet, "test") as work:
        repeated = await subscriptions.extend(work, sold.id, 300, token="gift")
    fleet.clock.advance(days=2)

    after = await prune(fleet, SETTINGS)

    assert ({"wake"}, False) == (set(before), repeated.changed)
    assert {"command_token": 1} == after
