"""What could not be read is an error, never a number: no page shows 0 days after a failure."""

import json

import pytest
from sqlalchemy import text

from cli.main import main
from desired_state.model.ids import SubscriptionId
from desired_state.queries.subscription import show_subscription
from desired_state.queries.subscriptions import list_subscriptions
from desired_state.store.errors import StoreError
from desired_state.store.tables.types import DESIRED, STATUS
from tests.data.datasets import build_trial
from tests.fakes.authorizer import tables_of

READ = sorted(
    tables_of(DESIRED, STATUS)
    & {
        "subscription", "person", "tariff", "key", "key_usage", "placement", "remote_generation",
        "node", "node_status", "policy", "purchase", "payment", "device", "event",
    }
)  # fmt: skip


async def held(store):
    """The one subscription of the data set."""
    async with store.reading() as session:
        [one] = await list_subscriptions(session, store.clock.now())
    return one


async def break_table(store, table):
    """Have every read of a table fail, as in a database that was restored by half."""
    async with store.engine.begin() as connection:
        await connection.execute(text("PRAGMA foreign_keys = OFF"))
        await connection.execute(text(f"ALTER TABLE {table} RENAME TO away"))


@pytest.mark.story("zero-days-after-an-error")
@pytest.mark.parametrize("table", READ)
async def test_whatever_cannot_be_read_there_is_no_answer_and_not_an_empty_one(sqlite_store, table):
    await build_trial(sqlite_store)
    name = (await held(sqlite_store)).subscription.id
    await break_table(sqlite_store, table)

    with pytest.raises(StoreError):
        async with sqlite_store.reading() as session:
            await show_subscription(session, name, sqlite_store.clock.now())


@pytest.mark.story("zero-days-after-an-error")
async def test_nothing_of_that_id_and_no_time_left_are_told_apart(sqlite_store):
    await build_trial(sqlite_store)
    name = (await held(sqlite_store)).subscription.id
    sqlite_store.clock.advance(days=3)

    async with sqlite_store.reading() as session:
        now = sqlite_store.clock.now()
        ended = await show_subscription(session, name, now)
        nothing = await show_subscription(session, SubscriptionId("aaaaaaaaaa"), now)

    assert ended is not None
    assert (0, "expired") == (ended.summary.days_left, ended.summary.ended)
    assert nothing is None


@pytest.mark.story("zero-days-after-an-error")
def test_the_command_shows_an_error_and_no_days(sqlite_template, tmp_path, monkeypatch, capsys):
    """A file that is damaged in the middle: exit 1, one document, and `error` is all that is in it."""
    damaged = tmp_path / "damaged.db"
    content = sqlite_template.read_bytes()
    damaged.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    monkeypatch.setenv("X3FLEET_DATABASE__URL", f"sqlite:///{damaged}")

    code = main(["subscriptions", "list", "--output", "json"])

    out = capsys.readouterr().out
    assert (1, ["error"]) == (code, list(json.loads(out)))
