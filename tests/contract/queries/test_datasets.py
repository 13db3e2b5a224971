"""Every query runs over every named data set, on both databases, and writes nothing anywhere."""

from dataclasses import fields, is_dataclass

import pytest

from desired_state.model.ids import KeyId, NodeName, PaymentId, PersonId, SubscriptionId
from desired_state.model.payment import PaymentState
from desired_state.model.policy import Policy, policy_for
from desired_state.queries.blocked import list_blocked
from desired_state.queries.events import list_events
from desired_state.queries.fleet import list_nodes
from desired_state.queries.key import show_key
from desired_state.queries.keys import KeyFilter, list_keys
from desired_state.queries.node import show_node
from desired_state.queries.payments import list_payments, show_payment
from desired_state.queries.people import list_people, show_person
from desired_state.queries.placement import read_placement_inputs
from desired_state.queries.requests import open_requests
from desired_state.queries.subscription import show_subscription
from desired_state.queries.subscriptions import SubscriptionFilter, list_subscriptions
from desired_state.queries.tariffs import list_tariffs
from desired_state.scheduling.place import place_keys
from desired_state.store.tables.types import DESIRED, STATUS
from tests.data.datasets import DATASETS
from tests.fakes.authorizer import writes_refused


async def ask_everything(store):
    """Run every query; returns what a person could be shown, by name."""
    now = store.clock.now()
    async with store.reading() as session:
        nodes = await list_nodes(session)
        keys = await list_keys(session, now)
        inputs = await read_placement_inputs(session, store.clock.now())
        return {
            "nodes": nodes,
            "node details": [await show_node(session, node.name) for node in nodes],
            "keys": keys,
            "key details": [await show_key(session, key.key.id, now) for key in keys],
            "keys by filter": [
                await list_keys(session, now, KeyFilter(**chosen))
                for chosen in (
                    {"wanted": True},
                    {"wanted": False},
                    {"node": NodeName("nl-1")},
                    {"tariff": "trial"},
                    {"subscription": keys[0].subscription.id if keys else "none"},
                    {"limit": 1},
                )
            ],
            "blocked": await list_blocked(session),
            "events": await list_events(session),
            "requests": await open_requests(session),
            "tariffs": await list_tariffs(session),
            "inputs": inputs,
            **await ask_the_shop(session, now),
            "nobody": [
                await show_node(session, NodeName("nobody")),
                await show_key(session, KeyId("aaaaaaaaaa"), now),
                await show_subscription(session, SubscriptionId("aaaaaaaaaa"), now),
                await show_person(session, person=PersonId(99)),
                await show_payment(session, PaymentId(99)),
            ],
        }


async def ask_the_shop(session, now):
    """Run every query of people, subscriptions and payments."""
    held = await list_subscriptions(session, now)
    people = await list_people(session)
    payments = await list_payments(session)
    return {
        "subscriptions": held,
        "subscription details": [
            await show_subscription(session, one.subscription.id, now) for one in held
        ],
        "subscriptions by filter": [
            await list_subscriptions(session, now, SubscriptionFilter(**chosen))
            for chosen in (
                {"in_force": True},
                {"in_force": False},
                {"person": PersonId(1)},
                {"tariff": "month-nl"},
                {"limit": 1},
            )
        ],
        "people": people,
        "person details": [await show_person(session, person=one.person.id) for one in people],
        "people by filter": [await list_people(session, banned=b) for b in (True, False)],
        "payments": payments,
        "payment details": [await show_payment(session, one.payment.id) for one in payments],
        "payments by filter": [
            *[await list_payments(session, state=state) for state in PaymentState],
            await list_payments(session, person=PersonId(1)),
            await list_payments(session, limit=1),
        ],
    }


@pytest.mark.story("missing-relationship")
@pytest.mark.parametrize("name", DATASETS)
async def test_every_query_answers_over_a_data_set(store, name):
    scene = await DATASETS[name](store)

    shown = await ask_everything(store)

    assert set(scene.nodes) <= {node.name for node in shown["nodes"]}
    assert set(scene.keys) <= {key.key.id for key in shown["keys"]}
    assert None not in shown["node details"]
    assert None not in shown["key details"]
    assert [None] * 5 == shown["nobody"]
    assert None not in shown["subscription details"]
    assert None not in shown["payment details"]
    every_node = {node.name for node in shown["nodes"]}
    for detail in shown["key details"]:
        assert every_node == {explanation.node for explanation in detail.nodes}
        for explanation in detail.nodes:
            assert bool(explanation.why) == (explanation.failed is not None)


@pytest.mark.story("different-data")
@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("name", DATASETS)
async def test_queries_write_nothing_never_differ_and_hand_out_frozen_values_without_secrets(
    store, name
):
    await DATASETS[name](store)

    async with writes_refused(store, DESIRED, STATUS) as refusals:
        shown = await ask_everything(store)

    assert [] == refusals.statements
    never_say_different_things_of_one_thing(shown)
    shown.pop("inputs")
    are_frozen_and_hold_no_secret(shown)


def never_say_different_things_of_one_thing(shown):
    """Bot, admin and cli ask the same queries; the list and the detail agree on what both show."""
    for summary, detail in zip(shown["nodes"], shown["node details"], strict=True):
        assert summary == detail.summary
        assert detail.blocked == tuple(b for b in shown["blocked"] if b.node == summary.name)
    for summary, detail in zip(shown["keys"], shown["key details"], strict=True):
        assert (summary.key, summary.subscription, summary.ended) == (
            detail.key,
            detail.subscription,
            detail.ended,
        )
        stays = tuple(p.node for p in detail.placements if p.leaving is None)
        assert summary.nodes == stays
        assert summary.live >= sum(node.is_live for node in detail.nodes)
    for summary, detail in zip(shown["subscriptions"], shown["subscription details"], strict=True):
        assert summary == detail.summary
        assert summary.live >= detail.served
        told = {(one.key, one.node) for one in detail.nodes}
        assert {(key.key.id, node) for key in summary.keys for node in key.nodes} <= told
    assert list(shown["people"]) == shown["person details"]
    assert list(shown["payments"]) == shown["payment details"]
    in_force, ended, *_ = shown["subscriptions by filter"]
    assert len(shown["subscriptions"]) == len(in_force) + len(ended)


def are_frozen_and_hold_no_secret(shown):
    """Nothing sealed, no credential and no mark is in what queries hand out."""
    text = repr(shown)
    assert "Sealed" not in text
    assert "seed" not in text
    for value in walk(shown):
        assert value.__dataclass_params__.frozen, type(value)


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("name", DATASETS)
async def test_the_scheduler_can_work_with_what_the_query_reads(store, name):
    await DATASETS[name](store)
    async with store.reading() as session:
        inputs = await read_placement_inputs(session, store.clock.now())

    result = place_keys(
        inputs.keys,
        inputs.nodes,
        inputs.placements,
        policies=inputs.policies,
        moves=inputs.moves,
        live=inputs.live,
    )

    known = {state.node.name for state in inputs.nodes}
    assert {placement.node for placement in result.added} <= known
    assert isinstance(policy_for(inputs.policies, ()), Policy)


def walk(value):
    """Yield every dataclass value inside."""
    if is_dataclass(value):
        yield value
        for one in fields(value):
            yield from walk(getattr(value, one.name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from walk(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from walk(part)
