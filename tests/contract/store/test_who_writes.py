"""Commands write desired state and nothing else: SQLite's authorizer would refuse it."""

import pytest
from sqlalchemy import func, select

from desired_state.commands import (
    adoption,
    backups,
    devices,
    installation,
    keys,
    manifests,
    nodes,
    payments,
    people,
    purchases,
    rebalance,
    requests,
    sources,
    subscriptions,
    tariffs,
)
from desired_state.commands.adoption_facts import AdoptionWish
from desired_state.commands.retention import prune
from desired_state.commands.settings import PruneSettings
from desired_state.model.adoption import FoundClient
from desired_state.model.credentials import ClientSecrets
from desired_state.model.device import identify_device
from desired_state.model.ids import Email, InboundId, KeyId, SubscriptionId
from desired_state.model.node import Mode
from desired_state.model.quantities import Money
from desired_state.model.request import RequestKind
from desired_state.store.adoption_rows import found_values
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.tables.adoption import AdoptionRow, FoundClientRow
from desired_state.store.tables.desired import NodeRow
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.unit_of_work import UnitOfWork, begin
from tests.builders import make_bundle, make_node_spec, make_tariff
from tests.data.datasets import NL1, NL2
from tests.data.rows import apply, place, set_status
from tests.fakes.authorizer import tables_of, writes_refused


@pytest.fixture
def backend() -> str:
    """SQLite has an authorizer; PostgreSQL's grants are tested with its roles."""
    return "sqlite"


async def use_every_command(work: UnitOfWork, subscription: SubscriptionId) -> None:
    """Call each command at least once, on a fleet that is declared and blocked."""
    await installation.prepare(work)
    bundle = make_bundle(
        make_node_spec("nl-1", weight=2.0), make_node_spec("nl-2"), make_tariff(), revision="r2"
    )
    await manifests.plan_bundle(work.session, bundle)
    await manifests.apply_bundle(work, bundle)
    await nodes.declare(work, make_node_spec("fr-1"))
    for override in (
        nodes.pause,
        nodes.resume,
        nodes.cordon,
        nodes.drain,
        nodes.undrain,
        nodes.uncordon,
    ):
        await override(work, NL2)
    await nodes.set_mode(work, NL2, Mode.OBSERVE)
    await nodes.orphan(work, NL2)
    issued = await keys.issue(work, make_tariff().name, subscription=subscription)
    await keys.rotate(work, issued.key.id)
    await keys.move(work, issued.key.id, NL1)
    await keys.revoke(work, issued.key.id)
    await subscriptions.create(work, make_tariff().name)
    await subscriptions.extend(work, subscription, 1)
    await subscriptions.freeze(work, subscription)
    await subscriptions.unfreeze(work, subscription)
    await use_the_shop(work)
    await requests.ask(work, RequestKind.RECONCILE)
    await backups.ask_for_backup(work)
    await rebalance.rebalance(work)
    await requests.approve(work, "0123456789abcdef")
    fault = sources.SourceFault(sources.FaultReason.UNAVAILABLE, "code", "away")
    await sources.record_fault(work, "fleet", fault)
    await sources.tell_followed(work, "fleet", 30.0)
    await sources.hand_over(work, "fleet", "another")


async def use_the_shop(work: UnitOfWork) -> None:
    """Call each command of the shop, on a fleet with room."""
    await manifests.apply_bundle(
        work,
        make_bundle(
            make_node_spec("nl-1", weight=3.0), make_node_spec("nl-2"), make_tariff(),
            make_tariff("year", days=365), make_tariff("trial", trial=True, prices=()),
            revision="r3",
        ),
    )  # fmt: skip
    met = await people.meet(work, 7001, language="ru")
    ordered = await purchases.sell(work, met.person.id, make_tariff().name, currency="RUB")
    charge = payments.Charge("manual", "a")
    paid = await payments.record(work, charge, ordered.purchase.price, ordered.purchase.id)
    given = await purchases.trial(work, met.person.id, make_tariff("trial").name)
    assert given.purchase.subscription is not None
    await tariffs.change(work, given.purchase.subscription, make_tariff("year").name)
    device = identify_device("a phone")
    await devices.see(work, given.purchase.subscription, device)
    await devices.forget(work, given.purchase.subscription, device)
    await payments.record_refund(work, charge, Money("RUB", 1))
    await payments.refund(work, paid.payment.id)
    await people.ban(work, met.person.id)
    await people.unban(work, met.person.id)


async def test_adopting_and_releasing_write_desired_state_and_nothing_else(store: Store) -> None:
    await apply(store, make_bundle(make_node_spec("nl-1"), make_tariff()))
    found = FoundClient(
        Email("ivan"), (InboundId(1),), (InboundId(1),), ClientSecrets("u", "", ""), ("uuid",),
        tg_id=5,
    )  # fmt: skip
    async with store.recording() as session:
        values = found_values(found, NL1, 0, store.vault)
        session.add(FoundClientRow(**values, found_at=store.clock.now()))
    wish = AdoptionWish(tariff=make_tariff().name)

    async with writes_refused(store, STATUS) as refused, begin(store, "test") as work:
        shown = await adoption.plan(work, NL1, wish)
        await adoption.adopt(work, NL1, wish, shown.digest)
        key = (await work.session.scalars(select(AdoptionRow.key_id))).one()
        await adoption.release(work, KeyId(key))

    assert [] == refused.statements
    assert 1 == shown.clients


def test_no_command_is_left_out() -> None:
    """A command that is added later is added above."""
    helpers = {
        "write_node", "find_node", "find_subscription", "find_tariff", "add_subscription",
        "set_email_template", "begin_subscription", "changed", "add_key", "find_person",
        "find_customer", "find_purchase", "find_payment", "check_tariff",
    }  # fmt: skip
    modules = (
        backups, devices, installation, keys, manifests, nodes, payments, people, purchases, rebalance,
        requests, sources, subscriptions, tariffs,
    )  # fmt: skip
    commands = {
        name
        for module in modules
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
        if hasattr(value, "__code__") and value.__code__.co_flags & 0x80
        if not name.startswith("_")
    }

    used = {*use_every_command.__code__.co_names, *use_the_shop.__code__.co_names}
    used |= {"pause", "resume", "cordon", "uncordon"}
    assert commands - helpers - {"drain", "undrain"} <= used


async def test_commands_write_no_table_of_status(store: Store) -> None:
    await apply(store, make_bundle(make_node_spec("nl-1"), make_node_spec("nl-2"), make_tariff()))
    async with begin(store, "test") as work:
        issued = await keys.issue(work, make_tariff().name)
    await place(store, issued.key.id, NL1)
    blocked = {"kind": "deletes", "digest": "0123456789abcdef" * 4, "emails": ["a"]}
    await set_status(store, NL1, blocked_sets=[blocked])

    async with writes_refused(store, STATUS) as refused, begin(store, "test") as work:
        await use_every_command(work, issued.subscription.id)

    assert [] == refused.statements


async def test_retention_of_desired_state_writes_no_table_of_status(store: Store) -> None:
    await apply(store, make_bundle(make_node_spec("nl-1"), make_tariff()))
    store.clock.advance(days=400)

    async with writes_refused(store, STATUS) as refused:
        removed = await prune(store, PruneSettings())

    assert [] == refused.statements
    assert {"wake", "audit_event"} == set(removed)


async def test_the_guard_sees_a_write_that_it_is_to_refuse(store: Store) -> None:
    async with writes_refused(store, STATUS) as refused:
        with pytest.raises(StoreError):
            await place(store, KeyId("k"), NL1)
    async with writes_refused(store, DESIRED) as refused_too:
        with pytest.raises(StoreError):
            await apply(store, make_bundle(make_tariff()))

    assert ["INSERT placement"] == refused.statements
    assert ["UPDATE revision_counter"] == refused_too.statements
    await place(store, KeyId("k"), NL1)


def test_the_guard_knows_every_table_once() -> None:
    assert not tables_of(DESIRED) & tables_of(STATUS)
    assert {"placement", "node_status"} < tables_of(STATUS)
    assert {"node", "wake"} < tables_of(DESIRED)


async def test_a_clock_that_stands_still_is_what_commands_are_given(store: Store) -> None:
    await apply(store, make_bundle(make_node_spec("nl-1")))

    async with store.reading() as session:
        assert store.clock.now() == await session.scalar(select(func.max(NodeRow.created_at)))
