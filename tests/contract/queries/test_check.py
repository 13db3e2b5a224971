"""`check` names every disagreement, says nothing of what agrees, and is documented kind by kind."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from desired_state.commands import payments, people
from desired_state.commands.payments import Charge
from desired_state.model.generation import JournalState
from desired_state.model.ids import Generation, NodeName
from desired_state.queries.check import find_disagreements
from desired_state.queries.disagreements import RULES, Disagreement, Kind, Winner
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.unit_of_work import begin
from tests.data import rows, shop
from tests.data.datasets import DATASETS, MONTH, NL1, build_fleet
from tests.fakes.authorizer import writes_refused

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
ON, OFF = "1|0|0|0||1", "0|0|0|0||1"
FOUND = {
    "declared, never looked at": {Kind.KEY_WITHOUT_NODE},
    "expired": {Kind.ENDED_BUT_SERVED},
    "over quota": {Kind.ENDED_BUT_SERVED},
    "banned": {Kind.BANNED_BUT_SERVED},
    "refunded": {Kind.ENDED_BUT_SERVED, Kind.REFUND_NOT_MADE},
    "key on all nodes": {Kind.NOT_ON_PANEL},
    "half-moved": {Kind.NOT_ON_PANEL, Kind.DELETE_OWED},
    "rotated": {Kind.NOT_ON_PANEL, Kind.DELETE_OWED},
    "unschedulable": {Kind.KEY_WITHOUT_NODE},
    "debt on a dead node": {Kind.DELETE_OWED},
    "orphaned payment": {
        Kind.PAYMENT_WITHOUT_CREDIT, Kind.PAID_WITHOUT_KEY, Kind.SUBSCRIPTION_WITHOUT_KEY,
    },
    "adopted and foreign clients": {Kind.UNKNOWN_KEYS_ON_PANEL},
    "blocked": {Kind.DELETE_OWED},
}  # fmt: skip
"""What is found in each data set; in the others everything agrees."""


async def found(store):
    async with store.reading() as session:
        return await find_disagreements(session, store.clock.now())


async def kinds(store):
    return [one.kind for one in await found(store)]


async def served(store, **options):
    """A key that was bought and paid for, and is served on one node."""
    await build_fleet(store)
    issued = await shop.buy(store, MONTH)
    await rows.place(store, issued.key.id, NL1)
    await rows.journal(store, issued.key.id, NL1, **options)
    return issued


async def by_hand(store, statement):
    """Change a row behind every command's back."""
    async with store.engine.begin() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize("name", DATASETS)
async def test_what_a_data_set_disagrees_in(store, name):
    await DATASETS[name](store)

    assert FOUND.get(name, set()) == set(await kinds(store))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("name", DATASETS)
async def test_the_check_writes_nothing(store, name):
    await DATASETS[name](store)

    async with writes_refused(store, DESIRED, STATUS) as refusals:
        await found(store)

    assert [] == refusals.statements


async def test_what_is_sold_paid_and_served_agrees(store):
    await served(store)

    assert () == await found(store)


async def test_a_disagreement_says_both_sides_who_wins_and_what_to_do(store):
    issued = await served(store, projection=OFF)

    [one] = await found(store)

    assert (
        Disagreement(
            Kind.IN_FORCE_BUT_OFF,
            f"key/{issued.key.id}@nl-1",
            "it is in force, and nl-1 was last seen to have it switched off",
        )
        == one
    )
    assert Winner.DESIRED is one.rule.winner


async def test_a_key_that_was_switched_off_by_a_ban_is_no_disagreement_any_more(store):
    issued = await served(store, projection=OFF)
    async with begin(store, "admin:ann") as work:
        row = await work.session.get_one(SubscriptionRow, issued.subscription.id)
        await people.ban(work, row.person_id)

    assert () == await found(store)


async def test_what_was_given_without_a_payment_is_named(store):
    await served(store)
    await by_hand(store, delete(PaymentRow))

    assert [Kind.FULFILLED_WITHOUT_PAYMENT] == await kinds(store)


async def test_a_ban_that_a_subscription_does_not_say_is_named(store):
    await served(store)
    await by_hand(store, update(SubscriptionRow).values(banned=True))

    assert Kind.BAN_NOT_CARRIED in await kinds(store)


async def test_a_debt_that_is_given_back_is_none(store):
    await build_fleet(store)
    await shop.pay(store, None, "nobody-knows")
    before = await kinds(store)
    await shop.refund(store, "nobody-knows", by_provider=True)

    assert ([Kind.PAYMENT_WITHOUT_CREDIT], []) == (before, await kinds(store))


async def test_what_was_given_back_and_kept_is_named(store):
    issued = await served(store)
    async with begin(store, "bot") as work:
        row = await work.session.get_one(SubscriptionRow, issued.subscription.id)
        row.valid_until, row.revision = None, await work.revise()
        work.audit("made_endless", f"subscription/{row.id}")
    async with begin(store, "bot") as work:
        await payments.record_refund(work, Charge(shop.PROVIDER, "charge"), shop.PRICE)

    assert [Kind.REFUNDED_AND_KEPT] == await kinds(store)


async def test_an_older_generation_and_an_undeclared_node_are_named(store):
    issued = await served(store)
    await rows.journal(store, issued.key.id, NodeName("gone-1"))

    assert [Kind.ON_UNKNOWN_NODE] == await kinds(store)


async def test_tombstones_are_no_debt(store):
    issued = await served(store)
    await rows.journal(store, issued.key.id, NodeName("nl-2"), state=JournalState.GONE)

    assert () == await found(store)


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ({"live": 0}, Kind.FEWER_ON_PANEL),
        ({"live": 1, "drift": 2}, Kind.DRIFT_ON_PANEL),
        ({"live": 1, "quarantined": 3}, Kind.UNKNOWN_KEYS_ON_PANEL),
        ({"live": 1, "foreign": 9}, None),
    ],
)
async def test_what_the_last_look_counted_is_compared_with_the_journal(store, counts, kind):
    await served(store)
    await rows.replace_status(store, NL1, counts=counts)

    assert ([] if kind is None else [kind]) == await kinds(store)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_key_whose_subscription_is_lost_is_named(store):
    """Only a database that was mended by hand holds one: foreign keys forbid it."""
    issued = await served(store)
    with closing(sqlite3.connect(store.engine.url.database)) as connection, connection:
        connection.execute(
            "UPDATE key SET subscription_id = 'nobody' WHERE id = ?", (issued.key.id,)
        )

    assert {Kind.KEY_WITHOUT_SUBSCRIPTION, Kind.PAID_WITHOUT_KEY} == set(await kinds(store))


async def test_a_generation_that_was_rotated_away_is_owed_until_it_is_gone(store):
    issued = await served(store)
    await by_hand(store, update(KeyRow).values(generation=2))
    await rows.journal(store, issued.key.id, NL1, Generation(2))

    assert [Kind.DELETE_OWED] == await kinds(store)


def test_every_kind_has_a_rule_and_stands_in_the_manual() -> None:
    section = MANUAL.read_text().split("### `x3fleet check`")[1].split("\n## ")[0]
    told = {
        name: row.rsplit("|", 2)[1].strip()
        for row in section.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }

    assert set(Kind) == set(RULES)
    assert {kind.value: rule.winner.value for kind, rule in RULES.items()} == told
