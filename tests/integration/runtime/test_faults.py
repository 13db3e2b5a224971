"""Bad input and bad panels through the service: nothing lost, nothing doubled, and said in words."""

import pytest

from controller.core.conditions import ConditionType
from controller.core.observed import NotSeen
from controller.runtime.errors import AlreadyRunning
from desired_state.commands import nodes, requests
from desired_state.model.ids import NodeName
from desired_state.model.node import AuthRefs, Mode, SecretRef
from desired_state.model.policy import Policy
from desired_state.model.request import RequestKind
from desired_state.queries.blocked import list_blocked
from desired_state.queries.requests import follow_request
from simulator import by_hand
from tests.integration.runtime.fleet import Wanted, open_fleet, placements_of, status_of

ONE = NodeName("one")
VERSIONS = ("2.9.4", "3.2.8", "3.6.0")


# Each story with one family of panels, each family with some of them.
@pytest.fixture(params=[pytest.param(v, marks=pytest.mark.sampled(3)) for v in VERSIONS])
async def fleet(request, tmp_path, monkeypatch):
    """One node with two keys in sync."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(request.param)) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        fleet.forget_requests()
        yield fleet


def reason(report, kind, node="one"):
    """The reason of a condition of a node; None when it does not hold."""
    (found,) = [n for n in report.nodes if n.node == node]
    condition = found.status.find(kind)
    return None if condition is None or not condition.status else condition.reason


# -- what people do to panels ----------------------------------------------------------------------


async def test_what_was_changed_by_hand_is_healed_and_strangers_are_left_alone(fleet):
    site = fleet["one"]
    first, second = sorted(site.ours())
    by_hand.delete_client(site.panel, first)
    by_hand.edit_client(site.panel, second, {"enable": False})
    stranger = {"email": "somebody", "id": "1c9b0a3e-0000-4000-8000-000000000001", "subId": "s"}
    by_hand.add_client(site.panel, 1, {**stranger, "enable": True})

    report = await fleet.reconcile()

    assert {first: True, second: True} == site.enabled()
    assert "somebody" in site.clients()
    assert (2, 1) == (report.totals["healed"], report.nodes[0].status.counts.foreign)
    assert report.in_sync
    fleet.forget_requests()
    assert 0 == (await fleet.reconcile()).writes


async def test_what_is_healed_again_and_again_is_left_alone(fleet):
    """Somebody else wants it otherwise: after three times within the hour a person is told."""
    site = fleet["one"]
    first = min(site.ours())
    for _ in range(3):
        by_hand.delete_client(site.panel, first)
        assert 1 == (await fleet.reconcile()).totals["healed"]
    by_hand.delete_client(site.panel, first)

    report = await fleet.reconcile()

    assert first not in site.ours()
    assert "Fighting" == reason(report, ConditionType.DRIFTED)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "kind",
    [
        "lost_request", "lost_response", "lie", "error_500", "error_500_applied", "empty_200",
        "empty_200_applied", "reset", "database_locked", "partial_batch", "duplicate_request",
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_lost_or_false_answer_loses_and_doubles_nothing(
    tmp_path, monkeypatch, version, kind
):
    soon = Policy(unknown_create_wait_s=0)
    async with open_fleet(tmp_path, monkeypatch, policies=(soon,), one=Wanted(version)) as fleet:
        await fleet.issue(1)
        await fleet.reconcile()
        issued = await fleet.issue(3)
        fleet["one"].panel.faults.arm({"kind": kind, "method": "POST"})

        for _ in range(3):
            report = await fleet.reconcile()

        found = sorted(fleet["one"].ours())
        assert 4 == len(found)
        assert [1, 1, 1] == [sum(key in email for email in found) for key in issued]
        assert report.in_sync
        assert 0 == report.writes


# -- what cannot be reached ------------------------------------------------------------------------


async def test_a_dead_panel_stops_no_other_node(tmp_path, monkeypatch):
    async with open_fleet(
        tmp_path, monkeypatch, dead=Wanted("3.6.0"), well=Wanted("3.6.0")
    ) as fleet:
        await fleet.declare("dead", url="http://127.0.0.1:9/")
        await fleet.issue(1, "dead")
        await fleet.issue(1, "well")

        report = await fleet.reconcile()

        assert "Unreachable" == reason(report, ConditionType.UNREACHABLE, "dead")
        assert 1 == len(fleet["well"].ours())
        assert ["dead"] == [node.node for node in report.failed]
        assert not report.in_sync


async def test_a_wrong_password_costs_one_attempt_for_ever(fleet, monkeypatch):
    site = fleet["one"]
    monkeypatch.setenv("TEST_ONE_PASSWORD", "wrong")

    async with fleet.reopened() as again:
        first = await again.reconcile()
        second = await again.reconcile()

    assert 1 == logins(site)
    for report in (first, second):
        assert "CredentialsRefused" == reason(report, ConditionType.STALLED)


async def test_a_new_process_does_not_try_refused_credentials_either(fleet, monkeypatch):
    """The fingerprint of what was refused is stored."""
    site = fleet["one"]
    monkeypatch.setenv("TEST_ONE_PASSWORD", "wrong")
    async with fleet.reopened() as again:
        await again.reconcile()
    fleet.forget_requests()

    async with fleet.reopened() as again:
        await again.reconcile()

    assert [] == site.log()


async def test_looking_only_costs_one_attempt_too(fleet, monkeypatch):
    """Plan, probe and the doctor's look, each a process of its own as on a command line."""
    site = fleet["one"]
    monkeypatch.setenv("TEST_ONE_PASSWORD", "wrong")

    for _ in range(2):
        async with fleet.reopened() as again:
            await again.controller.plan()
        async with fleet.reopened() as again:
            await again.controller.probe(ONE)
        async with fleet.reopened() as again:
            look = await again.controller.look(ONE)

    assert 1 == logins(site)
    assert NotSeen.CREDENTIALS_REFUSED is look.reason


async def test_resume_tries_refused_credentials_once_more(fleet, monkeypatch):
    site = fleet["one"]
    monkeypatch.setenv("TEST_ONE_PASSWORD", "wrong")
    async with fleet.reopened() as again:
        await again.reconcile()
        await again.run(lambda work: nodes.resume(work, ONE))
        await again.reconcile()
        await again.reconcile()

    assert 2 == logins(site)


async def test_corrected_credentials_are_tried_at_once(fleet, monkeypatch):
    monkeypatch.setenv("TEST_ONE_PASSWORD", "wrong")
    async with fleet.reopened() as again:
        await again.reconcile()
        monkeypatch.setenv("TEST_ONE_PASSWORD", "panel-password")

        report = await again.reconcile()

    assert report.in_sync


async def test_a_missing_secret_is_named_before_the_node_is_contacted(fleet):
    site = fleet["one"]
    auth = AuthRefs(token=SecretRef("env", "NOBODY_SET_THIS"))
    await fleet.declare("one", auth=auth)

    report = await fleet.reconcile()

    assert [] == site.log()
    assert "NotConfigured" == reason(report, ConditionType.STALLED)
    message = report.nodes[0].status.find(ConditionType.STALLED).message
    assert "node one" in message
    assert "auth.token" in message
    assert "NOBODY_SET_THIS" in message


# -- modes -----------------------------------------------------------------------------------------


async def test_a_paused_node_is_not_visited(fleet):
    await fleet.issue(1, "one")
    await fleet.run(lambda work: nodes.pause(work, ONE))

    report = await fleet.reconcile()

    assert [] == fleet["one"].log()
    assert "Paused" == reason(report, ConditionType.PAUSED)


async def test_a_paused_node_with_a_missing_secret_is_paused(fleet, monkeypatch):
    await fleet.run(lambda work: nodes.pause(work, ONE))
    monkeypatch.delenv("TEST_ONE_PASSWORD")

    report = await fleet.reconcile()

    assert "Paused" == reason(report, ConditionType.PAUSED)
    assert None is reason(report, ConditionType.STALLED)


async def test_observe_measures_drift_and_writes_nothing_on_the_panel(fleet):
    await fleet.run(lambda work: nodes.set_mode(work, ONE, Mode.OBSERVE))
    await fleet.issue(1, "one")

    report = await fleet.reconcile()

    assert 0 == fleet["one"].writes()
    assert 2 == len(fleet["one"].ours())
    assert "Mode" == reason(report, ConditionType.DRIFTED)
    assert 1 == report.totals["withheld"]


async def test_upsert_only_creates_and_never_deletes(fleet):
    first = (await placements_of(fleet))[0].key
    await fleet.run(lambda work: nodes.set_mode(work, ONE, Mode.UPSERT_ONLY))
    await fleet.revoke(first)
    await fleet.issue(1, "one")

    await fleet.reconcile()

    assert 3 == len(fleet["one"].ours())


# -- guards and approvals --------------------------------------------------------------------------


async def test_many_deletes_wait_for_an_approval_of_exactly_that_set(tmp_path, monkeypatch):
    """The fleet's share does not count what a person approved."""
    policy = Policy(max_delete_floor=1, max_delete_share=0.1)
    async with open_fleet(tmp_path, monkeypatch, policies=(policy,), one=Wanted("3.6.0")) as fleet:
        issued = await fleet.issue(6)
        await fleet.reconcile()
        for key in issued[:4]:
            await fleet.revoke(key)

        blocked = await fleet.reconcile()

        assert 6 == len(fleet["one"].ours())
        assert ["one"] == [node.node for node in blocked.blocked]
        async with fleet.controller.store.reading() as session:
            (waiting,) = await list_blocked(session)
        assert 4 == len(waiting.emails)

        await fleet.approve(waiting.digest)
        report = await fleet.reconcile()

        assert 2 == len(fleet["one"].ours())
        assert report.in_sync


async def test_the_fleets_share_holds_back_deletes_that_each_node_would_allow(
    tmp_path, monkeypatch
):
    policy = Policy(max_delete_floor=2, max_delete_share=1.0, fleet_delete_share=0.1)
    async with open_fleet(
        tmp_path, monkeypatch, policies=(policy,), a=Wanted("3.6.0"), b=Wanted("3.6.0")
    ) as fleet:
        on_a, on_b = await fleet.issue(4, "a"), await fleet.issue(4, "b")
        await fleet.reconcile()
        for key in (*on_a[:2], *on_b[:2]):
            await fleet.revoke(key)

        report = await fleet.reconcile()

        assert 6 == len(fleet["a"].ours()) + len(fleet["b"].ours())
        assert 1 == len(report.blocked)


# -- requests --------------------------------------------------------------------------------------


async def test_a_request_is_answered_by_the_turn_that_handled_it(fleet):
    asked = await fleet.run(lambda work: requests.ask(work, RequestKind.RECONCILE))

    await fleet.reconcile()

    async with fleet.controller.store.reading() as session:
        request = await follow_request(session, asked.token)
    assert request.is_done
    assert ["in sync"] == [answer.outcome for answer in request.answers]


async def test_rematch_binds_what_matches_now(fleet):
    by_hand.add_inbound(fleet["one"].panel, {"protocol": "vless", "port": 34_567})
    await fleet.reconcile()
    before = len(fleet["one"].ours())

    await fleet.run(lambda work: requests.ask(work, RequestKind.REMATCH, node=ONE))
    await fleet.reconcile()

    inbounds = {i for client in fleet["one"]._clients() for i in client["inboundIds"]}
    assert {1, 2} == inbounds
    assert 2 == before


# -- one controller --------------------------------------------------------------------------------


async def test_a_second_run_in_this_process_is_refused_and_names_the_first(fleet):
    started = []

    async def second(_):
        with pytest.raises(AlreadyRunning) as refused:
            await fleet.controller.reconcile()
        started.append(refused.value.holder)

    await fleet.reconcile_while(second)

    assert ["one-shot"] == [holder.kind.value for holder in started]


async def test_a_plan_beside_a_run_needs_no_lock(fleet):
    plans = []

    async def plan(_):
        plans.append(await fleet.controller.plan())

    await fleet.reconcile_while(plan)

    assert [True] == [report.in_sync for report in plans]


async def test_plan_shows_placements_that_were_not_made_and_writes_nothing(fleet):
    (key,) = await fleet.issue(1)
    before = await fleet.database()

    report = await fleet.plan()

    assert before == await fleet.database()
    assert 0 == fleet["one"].writes()
    assert [key] == [placement.key for placement in report.placed]
    assert 1 == report.nodes[0].actions_left
    assert not report.in_sync
    planned = report.nodes[0].plan_digest
    assert planned == (await fleet.reconcile()).nodes[0].plan_digest


async def test_a_probe_tells_what_the_panel_is_and_writes_nothing(fleet):
    before = await fleet.database()

    result = await fleet.controller.probe(ONE)

    assert before == await fleet.database()
    assert 2 == result.verified
    assert (await status_of(fleet, "one")).version == result.status.version


# -- helpers ---------------------------------------------------------------------------------------


def logins(site):
    return sum("login" in line and line.startswith("POST") for line in site.log())
