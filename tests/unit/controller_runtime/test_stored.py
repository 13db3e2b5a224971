"""A status survives its columns, through JSON as the databases keep it."""

import json
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.backoff import Backoff
from controller.core.conditions import (
    BlockedSet,
    Condition,
    ConditionType,
    Counts,
    NodeStatus,
)
from controller.core.desired import BoundInbound
from controller.runtime.stored import inbound_from, inbound_values, status_from, status_values
from controller.runtime.tables import NODE_STATUS
from desired_state.model.ids import Digest, InboundId, Revision

moments = st.none() | st.datetimes(timezones=st.just(UTC))
texts = st.text(max_size=20)
conditions = st.builds(
    Condition,
    type=st.sampled_from(ConditionType),
    reason=texts,
    message=texts,
    status=st.booleans(),
    since=moments,
)
statuses = st.builds(
    NodeStatus,
    conditions=st.lists(conditions, max_size=3).map(tuple),
    version=texts,
    family=texts,
    guid=st.none() | texts,
    xray=texts,
    observed_revision=st.integers(0, 10**9).map(Revision),
    counts=st.builds(Counts, desired=st.integers(0, 9), foreign=st.integers(0, 9)),
    owned_seen=st.integers(0, 9),
    placed_seen=st.integers(0, 9),
    blocked_sets=st.lists(
        st.builds(BlockedSet, kind=texts, digest=texts.map(Digest), emails=st.tuples(texts, texts)),
        max_size=2,
    ).map(tuple),
    plan_digest=texts.map(Digest),
    refused_fingerprint=texts,
    restart_owed=st.booleans(),
)


@given(statuses)
def test_a_status_comes_back_equal(status):
    stored = json.loads(json.dumps(status_values(status)))

    assert status == status_from(stored)


backoffs = st.builds(
    Backoff,
    failures=st.integers(0, 99),
    next_look_at=moments,
    connected_at=moments,
    recovered_at=moments,
    flaps=st.integers(0, 5),
    tried_revision=st.integers(0, 10**9).map(Revision),
)


@given(backoffs, moments)
def test_a_back_off_comes_back_equal(backoff, until):
    status = NodeStatus(backoff=backoff, certificate_until=until)

    assert status == status_from(status_values(status))


@pytest.mark.parametrize("field", fields(Backoff), ids=lambda field: field.name)
def test_every_field_of_a_back_off_has_a_column(field):
    assert field.name in NODE_STATUS.c


def test_a_status_that_was_never_written_is_the_empty_one():
    assert NodeStatus() == status_from(status_values(NodeStatus()))


@pytest.mark.parametrize(
    "inbound",
    [
        BoundInbound(InboundId(1), "vless", 443, "tag", "xtls-rprx-vision", carries_flow=True),
        BoundInbound(InboundId(2), "shadowsocks", 8443, password_bytes=16, method="2022"),
    ],
    ids=["with a flow", "with a size of password"],
)
def test_a_bound_inbound_comes_back_equal(inbound):
    assert inbound == inbound_from(inbound_values(inbound))


def test_a_moment_keeps_its_zone():
    at = datetime(2026, 11, 2, 12, tzinfo=UTC)
    status = NodeStatus(conditions=(Condition(ConditionType.READY, "InSync", since=at),))

    assert at == status_from(status_values(status)).conditions[0].since
