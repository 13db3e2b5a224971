"""Binding, chunk sizes, conditions and calls: the small pure parts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.core.binding import match_digest, needs_binding, resolve_matches
from controller.core.chunks import next_size
from controller.core.compose import compose_record, compose_row, cut_writes
from controller.core.conditions import (
    Condition,
    ConditionType,
    NodeStatus,
    check_conditions,
    keep_since,
)
from controller.core.desired import NodeRequest
from controller.core.effects import ClientRecord, Outcome, Verb, Verdict
from controller.core.features import features_of, parse_version
from desired_state.model.credentials import derive_secrets
from desired_state.model.node import Credentials, Match, Mode, NodeTarget, Tls
from desired_state.model.request import RequestKind
from tests.unit.controller_core.cases import (
    NODE,
    NOW,
    OWNERSHIP,
    V2,
    V310,
    V328,
    V360,
    converge,
    make_desired,
    make_inbound,
    make_key,
    make_look,
    plan,
    seed_of,
)  # fmt: skip

TARGET = NodeTarget(NODE, "https://nl1.example.net/", Credentials(), Tls(), Mode.ENFORCE)


class TestBinding:
    def test_the_default_takes_enabled_inbounds_that_carry_clients(self):
        inbounds = (
            make_inbound(3, "trojan"),
            make_inbound(1),
            make_inbound(2, enable=False),
            make_inbound(4, "wireguard"),
            make_inbound(5, "shadowsocks", method="2022-blake3-chacha20-poly1305"),
            make_inbound(6, carries_clients=False),
        )

        assert [b.id for b in resolve_matches((), inbounds)] == [1, 3]

    @pytest.mark.parametrize(
        ("match", "expected"),
        [
            (Match(port=20002), [2]),
            (Match(tag="in-1"), [1]),
            (Match(remark="eu"), [2]),
            (Match(protocol="trojan"), [2]),
            (Match(protocol="trojan", port=1), []),
        ],
        ids=["port", "tag", "remark", "protocol", "both-must-fit"],
    )
    def test_a_match_chooses_by_what_it_names(self, match, expected):
        inbounds = (make_inbound(1), make_inbound(2, "trojan", remark="eu"))

        assert [b.id for b in resolve_matches((match,), inbounds)] == expected

    @pytest.mark.parametrize(
        ("inbound", "match", "flow"),
        [
            (make_inbound(), Match(), "xtls-rprx-vision"),
            (make_inbound(), Match(flow=""), ""),
            (make_inbound(security="tls"), Match(), "xtls-rprx-vision"),
            (make_inbound(security="none"), Match(), ""),
            (make_inbound(network="ws"), Match(), ""),
            (make_inbound(protocol="trojan"), Match(), ""),
        ],
        ids=["reality", "asked-for-none", "tls", "plain", "websocket", "trojan"],
    )
    def test_the_flow_is_vision_where_one_is_carried(self, inbound, match, flow):
        (bound,) = resolve_matches((match,), (inbound,))

        assert bound.flow == flow

    def test_it_is_resolved_once_when_declared_anew_and_when_asked(self):
        desired = make_desired()

        assert not needs_binding(desired)
        assert needs_binding(replace(desired, bound=None))
        assert needs_binding(replace(desired, matches=(Match(port=1),)))
        assert needs_binding(replace(desired, requests=(NodeRequest("t", RequestKind.REMATCH),)))

    def test_the_digest_of_matches_ignores_their_order(self):
        one, two = Match(port=1), Match(port=2)

        assert match_digest((one, two)) == match_digest((two, one))


class TestChunks:
    @pytest.mark.parametrize(
        ("size", "outcome", "expected"),
        [
            (500, Outcome(Verdict.APPLIED, duration_s=1), 1000),
            (2000, Outcome(Verdict.APPLIED, duration_s=1), 2500),
            (500, Outcome(Verdict.APPLIED, duration_s=3), 500),
            (500, Outcome(Verdict.APPLIED, duration_s=9), 250),
            (500, Outcome(Verdict.APPLIED, sent_bytes=3 * 2**20), 500),
            (500, Outcome(Verdict.UNKNOWN), 250),
            (500, Outcome(Verdict.REJECTED), 500),
            (1, Outcome(Verdict.UNKNOWN), 1),
        ],
        ids=["quick", "widest", "steady", "slow", "body", "unknown", "refused", "never-zero"],
    )
    def test_the_next_width_follows_the_last_answer(self, size, outcome, expected):
        assert next_size(size, outcome) == expected


class TestCalls:
    def records(self, count, inbound=(1,)):
        return [(ClientRecord(f"e{i}", inbound), 2) for i in range(count)]

    @pytest.mark.parametrize(
        ("version", "verb", "sizes"),
        [
            (V2, Verb.CREATE, [2, 1]),
            (V2, Verb.DELETE, [1, 1, 1]),
            (V310, Verb.CREATE, [1, 1, 1]),
            (V328, Verb.DELETE, [2, 1]),
            (V328, Verb.DISABLE, [1, 1, 1]),
            (V360, Verb.DISABLE, [2, 1]),
            (V360, Verb.UPDATE, [1, 1, 1]),
        ],
    )
    def test_the_widest_call_that_the_version_has(self, version, verb, sizes):
        writes = cut_writes(TARGET, verb, self.records(3), features_of(version))

        assert [len(w.members) for w in writes] == sizes

    def test_up_to_302_a_create_is_of_one_inbound(self):
        records = [*self.records(2, (1,)), *self.records(2, (2,))]

        writes = list(cut_writes(TARGET, Verb.CREATE, records, features_of(V2)))

        assert [(w.inbound_id, len(w.members)) for w in writes] == [(1, 2), (2, 2)]

    def test_a_record_carries_the_generation_s_own_credentials_and_mark(self):
        desired = make_desired(make_key())
        (action,) = plan(desired, make_look()).actions
        seeds = {(action.key, action.generation): seed_of(action.key, 1)}

        record = compose_record(action, desired, seeds)
        row = compose_row(action, record, desired, NOW)

        assert record.uuid == derive_secrets(seed_of(action.key, 1)).uuid
        assert record.sub_id == row.sub_id == OWNERSHIP.mark(action.email)
        assert row.create_unknown_at == NOW

    def test_a_generation_without_a_seed_is_deleted_by_what_is_seen(self):
        desired, look = converge(make_desired(make_key()), make_look(version=V2))
        desired = replace(desired, keys=(make_key(generation=2),))
        (delete,) = plan(desired, look).of(Verb.DELETE)

        record = compose_record(delete, desired, {})

        assert record.uuid == look.clients[0].uuid


class TestConditions:
    READY = Condition(ConditionType.READY, "InSync")

    @pytest.mark.parametrize(
        ("conditions", "faults"),
        [
            ((READY,), 0),
            ((), 1),
            ((READY, Condition(ConditionType.BLOCKED, "x")), 1),
            (
                (
                    replace(READY, status=False),
                    Condition(ConditionType.RECONCILING, "x"),
                    Condition(ConditionType.STALLED, "x"),
                ),
                1,
            ),
        ],
        ids=["sound", "ready-missing", "ready-and-blocked", "working-and-stalled"],
    )
    def test_the_checker_finds_contradictions(self, conditions, faults):
        assert len(check_conditions(NodeStatus(conditions=conditions), 7)) == faults

    def test_a_revision_from_the_future_is_a_contradiction(self):
        status = NodeStatus(conditions=(self.READY,), observed_revision=8)

        assert check_conditions(status, 7) == ("observed revision above the revision",)

    def test_since_is_kept_while_a_condition_holds(self):
        earlier = NOW - timedelta(hours=1)
        before = (replace(self.READY, since=earlier),)

        assert keep_since((self.READY,), before, NOW)[0].since == earlier
        assert keep_since((replace(self.READY, status=False),), before, NOW)[0].since == NOW

    def test_a_node_stays_out_of_reach_since_its_first_reason(self):
        """A failover counts from there: refused, then too slow, is one and the same fall."""
        fell = Condition(ConditionType.UNREACHABLE, "Unreachable", since=NOW - timedelta(minutes=9))
        slow = Condition(ConditionType.UNREACHABLE, "Timeout")

        assert keep_since((slow,), (fell,), NOW)[0].since == fell.since


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3.2.8", (3, 2, 8)), ("v2.9.4", (2, 9, 4)), ("3.6.0-beta", (3, 6, 0)), ("x", None)],
)
def test_a_version_is_read(text, expected):
    assert parse_version(text) == expected
