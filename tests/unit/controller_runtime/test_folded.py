"""What a turn read comes back as it was after it was folded, and so does what was derived from it."""

import pickle
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.draw import make_plan
from controller.core.memo import memo_of
from controller.runtime.folded import Kept, fold, unfold
from desired_state.model.adoption import AdoptedClient
from desired_state.model.generation import JournalState
from desired_state.model.ids import Email, InboundId, KeyId, SubscriptionId
from desired_state.model.placement import DeleteReason
from tests.unit.controller_core.cases import (
    NODE,
    NOW,
    converge,
    make_desired,
    make_key,
    make_look,
    make_row,
    make_subscription,
)

MANY = 500
subscriptions = st.builds(
    make_subscription,
    id=st.sampled_from(["s1", "s2", "s3"]).map(SubscriptionId),
    valid_until=st.none() | st.integers(-90, 90).map(lambda days: NOW + timedelta(days=days)),
    quota_bytes=st.none() | st.integers(0, 2**40),
    devices=st.none() | st.integers(1, 9),
    suspended=st.booleans(),
    used_bytes=st.integers(0, 2**40),
    lost=st.booleans(),
)
fleet_keys = st.lists(
    st.builds(
        make_key,
        letter=st.sampled_from("abcdefg"),
        generation=st.integers(1, 3),
        subscription=subscriptions,
        placed=st.booleans(),
        leaving=st.none() | st.sampled_from(DeleteReason),
        counter_base_bytes=st.integers(0, 2**40),
    ),
    max_size=6,
    unique_by=lambda key: key.key,
)
journal = st.lists(
    st.builds(
        make_row,
        email=st.text(min_size=1, max_size=9).map(Email),
        key=st.none() | st.just(KeyId("a" * 10)),
        state=st.sampled_from(JournalState),
        create_unknown_at=st.none() | st.just(NOW),
        delete_attempts=st.integers(0, 3),
        delete_reason=st.none() | st.sampled_from(DeleteReason),
    ),
    max_size=5,
).map(tuple)


def converged(count=MANY):
    """A node with so many keys, each in its own subscription, and its panel as it should be."""
    keys = [
        replace(
            make_key(subscription=make_subscription(id=SubscriptionId(f"s{number}"))),
            key=KeyId(f"k{number:09}"),
        )
        for number in range(count)
    ]
    return converge(make_desired(*keys), make_look())


@settings(max_examples=50)
@given(fleet_keys, journal, journal)
def test_what_was_read_comes_back_equal(keys, rows, tombstones):
    desired = make_desired(
        *keys,
        journal=rows,
        tombstones=tombstones,
        generations={key.key: key.generation for key in keys},
    )

    assert desired == unfold(fold(desired))


def test_keys_of_one_subscription_share_it_again():
    shared = make_subscription()
    desired = make_desired(make_key("a", subscription=shared), make_key("b", subscription=shared))

    first, second = unfold(fold(desired)).keys

    assert first.subscription is second.subscription


def test_a_number_and_a_truth_value_that_are_equal_stay_apart():
    """A column that is the same in every row is kept once: 1 == True must not be taken for the same."""
    desired = make_desired(
        make_key("a", subscription=make_subscription(devices=1)),
        make_key("b", subscription=make_subscription(devices=True)),
    )

    assert [int, bool] == [type(key.subscription.devices) for key in unfold(fold(desired)).keys]


def test_the_plan_of_what_was_folded_is_the_same_and_derives_nothing_anew():
    desired, look = converged(5)
    before = make_plan(desired, look, NOW)
    wants = memo_of(desired).wants

    again = unfold(fold(desired))

    assert before == make_plan(again, look, NOW)
    assert wants.compared is memo_of(again).wants.compared
    assert wants.by_email == memo_of(again).wants.by_email


def test_what_was_derived_of_other_keys_is_not_taken_along():
    desired, look = converged(2)
    make_plan(desired, look, NOW)
    fewer = replace(desired, keys=desired.keys[:1])

    assert memo_of(unfold(fold(fewer))).wants is None


def test_adopted_clients_are_wanted_as_found_after_folding_too():
    key = make_key()
    ids = (InboundId(1),)
    client = AdoptedClient(NODE, Email("somebody"), key.key, ids, "sub", "uuid..")
    desired = make_desired(key, adopted=(client,))
    before = make_plan(desired, make_look(), NOW)

    assert before == make_plan(unfold(fold(desired)), make_look(), NOW)


def test_folding_keeps_a_tenth():
    desired, look = converged()
    make_plan(desired, look, NOW)

    assert len(pickle.dumps(desired)) > 3 * len(fold(desired).many)


def test_what_is_kept_is_folded_once_while_nothing_new_is_derived():
    desired, look = converged(3)
    kept = Kept(desired)
    make_plan(kept.open(), look, NOW)
    kept.fold()
    first = kept._folded

    make_plan(kept.open(), look, NOW)
    kept.fold()

    assert first is kept._folded


def test_what_was_derived_anew_is_folded_anew():
    """A due date passed: from then on something else is wanted, and that is what comes back."""
    desired, look = converged(3)
    later = NOW + timedelta(days=11)
    kept = Kept(desired)
    make_plan(kept.open(), look, NOW)
    kept.fold()
    make_plan(kept.open(), look, later)
    kept.fold()

    assert memo_of(kept.open()).wants.since == later


def test_two_readers_of_one_node_see_the_same():
    desired, _ = converged(2)
    kept = Kept(desired)
    kept.fold()

    assert kept.open() is kept.open()
