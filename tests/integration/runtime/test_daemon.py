"""The service: what wakes a node, what it leaves alone, what changes without a restart."""

import asyncio

import pytest
import structlog
from sqlalchemy import select, update

from controller.daemon import Daemon
from controller.runtime import worker as worker_module
from controller.runtime.errors import AlreadyRunning
from controller.settings import TurnSettings
from desired_state.commands import nodes
from desired_state.model.ids import NodeName
from desired_state.model.node import AuthRefs, Mode, SecretRef, Tls, TlsKind
from desired_state.model.policy import Policy
from desired_state.model.request import RequestKind
from desired_state.queries.node import node_target
from desired_state.store.errors import StoreUnreachable
from desired_state.store.tables.desired import RevisionCounterRow
from desired_state.store.tables.status import NodeStatusRow
from simulator import by_hand
from simulator.app import PanelOptions, create_panel
from simulator.server import running
from tests.integration.runtime.fleet import Wanted, open_fleet, placements_of, status_of
from tests.integration.runtime.serving import EAGER, eventually, serving

ONE = NodeName("one")


async def test_a_key_reaches_every_node_and_leaves_it_again_without_anybody_asking(
    tmp_path, monkeypatch
):
    """Commands wake the scheduler, the scheduler its nodes; nothing else looks for an hour."""
    async with (
        open_fleet(
            tmp_path, monkeypatch, count=None, one=Wanted("2.9.4"), two=Wanted("3.6.0")
        ) as fleet,
        serving(fleet),
    ):
        (key,) = await fleet.issue()
        await eventually(lambda: len(fleet["one"].ours()) == len(fleet["two"].ours()) == 1)
        await fleet.revoke(key)
        await eventually(lambda: not fleet["one"].ours() and not fleet["two"].ours())


async def test_a_moved_key_is_created_as_soon_as_its_old_place_is_proved_empty(
    tmp_path, monkeypatch
):
    """Finalising wakes the node that waits; it does not wait for its own next look."""
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0"), two=Wanted("3.6.0")) as fleet,
        serving(fleet),
    ):
        (key,) = await fleet.issue(node="one")
        await eventually(fleet["one"].ours)

        await fleet.move(key, "two")
        await eventually(fleet["two"].ours)

        assert {} == fleet["one"].ours()


async def test_damage_by_hand_is_healed_at_the_next_look(tmp_path, monkeypatch):
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet, EAGER),
    ):
        await fleet.issue()
        await eventually(fleet["one"].ours)
        (email,) = fleet["one"].ours()

        by_hand.delete_client(fleet["one"].panel, email)
        await eventually(fleet["one"].ours)

        assert [email] == list(fleet["one"].ours())


async def test_a_converged_fleet_is_looked_at_and_nothing_is_written_anywhere(
    tmp_path, monkeypatch
):
    """Looks go on at their period; panel and database stay as they are."""
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet, EAGER),
    ):
        await fleet.issue(3)
        await eventually(lambda: len(fleet["one"].ours()) == 3)
        looks = _looks(fleet["one"])
        await eventually(lambda: _looks(fleet["one"]) > looks + 2)

        before, writes = await fleet.database(), fleet["one"].writes()
        looks = _looks(fleet["one"])
        await eventually(lambda: _looks(fleet["one"]) > looks + 3)

        assert before == await fleet.database()
        assert writes == fleet["one"].writes()


async def test_a_node_that_is_declared_later_joins_and_is_filled(tmp_path, monkeypatch):
    async with open_fleet(
        tmp_path, monkeypatch, count=None, one=Wanted("3.6.0"), two=Wanted("2.9.4")
    ) as fleet:
        late = fleet.sites.pop("two")
        async with serving(fleet):
            await fleet.run(lambda work: nodes.pause(work, late.name))
            await fleet.issue(2)
            await eventually(lambda: len(fleet["one"].ours()) == 2)
            assert {} == late.ours()

            await fleet.run(lambda work: nodes.resume(work, late.name))
            await eventually(lambda: len(late.ours()) == 2)


async def test_two_services_on_one_database_never_run_at_once(tmp_path, monkeypatch):
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet),
        fleet.reopened() as other,
    ):
        with pytest.raises(AlreadyRunning, match="daemon"):
            await other.reconcile()


# -- what is asked ---------------------------------------------------------------------------------


async def test_reconcile_is_answered_when_its_turns_have_done_what_they_can(tmp_path, monkeypatch):
    """Each node tells what it did, and how it is now."""
    async with (
        open_fleet(
            tmp_path, monkeypatch, count=None, one=Wanted("2.9.4"), two=Wanted("3.6.0")
        ) as fleet,
        serving(fleet) as served,
    ):
        await fleet.issue(2)
        await served.ask(RequestKind.RECONCILE)
        await served.idle()
        for site in fleet.sites.values():
            for email in site.ours():
                by_hand.delete_client(site.panel, email)

        view = await served.ask(RequestKind.RECONCILE)

        assert [("one", "in sync"), ("two", "in sync")] == [
            (a.node, a.outcome) for a in view.answers
        ]
        assert [2, 2] == [answer.detail["created"] for answer in view.answers]
        assert [2, 2] == [len(site.ours()) for site in fleet.sites.values()]


async def test_a_move_that_two_nodes_share_is_done_before_either_waits_in_its_answer(
    tmp_path, monkeypatch
):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0"), two=Wanted("3.6.0")) as fleet:
        (key,) = await fleet.issue(node="one")
        await fleet.reconcile()
        # The move and the question are there before anybody is at work.
        await fleet.move(key, "two")
        from desired_state.commands import requests  # noqa: PLC0415 - used by this test alone

        asked = await fleet.run(lambda work: requests.ask(work, RequestKind.RECONCILE))
        async with serving(fleet) as served:
            view = await served.answered(asked.token)

    assert [("one", "in sync"), ("two", "in sync")] == [(a.node, a.outcome) for a in view.answers]
    assert ([], 1) == (list(fleet["one"].ours()), len(fleet["two"].ours()))


async def test_a_panel_that_cannot_be_reached_is_an_answer_too(tmp_path, monkeypatch):
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet) as served,
    ):
        await fleet.declare("one", url="http://127.0.0.1:9/")

        view = await served.ask(RequestKind.RECONCILE, "one")

        assert ["failed"] == [answer.outcome for answer in view.answers]
        assert "refuses connections" in view.answers[0].detail["error"]


async def test_a_probe_and_a_connection_test_look_and_write_nothing(tmp_path, monkeypatch):
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet) as served,
    ):
        await served.ask(RequestKind.RECONCILE, "one")
        fleet.forget_requests()

        probed = await served.ask(RequestKind.PROBE, "one")
        tested = await served.ask(RequestKind.TEST, "one")

        logins = [line for line in fleet["one"].log() if line.endswith("/login")]
        assert (0, 1) == (fleet["one"].writes(), len(logins))
        assert ("in sync", "answers") == (probed.answers[0].outcome, tested.answers[0].outcome)
        assert "3.6.0" == tested.answers[0].detail["version"]
        assert [30_000] == [inbound["port"] for inbound in tested.answers[0].detail["inbounds"]]


async def test_rematch_binds_what_fits_now_and_rebind_accepts_another_panel(tmp_path, monkeypatch):
    """Both are answered by the turn that did it."""
    async with (
        open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet,
        serving(fleet) as served,
    ):
        await fleet.issue()
        await eventually(fleet["one"].ours)
        by_hand.add_inbound(fleet["one"].panel, {"protocol": "trojan", "port": 30_050})

        await served.ask(RequestKind.REMATCH, "one")

        (client,) = fleet["one"].ours().values()
        assert 2 == len(client["inboundIds"])

        fleet["one"].panel.state.guid = "another-machine"
        seen = await served.ask(RequestKind.RECONCILE, "one")
        assert "blocked" == seen.answers[0].outcome
        await served.ask(RequestKind.REBIND, "one")
        assert "another-machine" == (await status_of(fleet, "one")).bound_guid


# -- what changes without a restart ----------------------------------------------------------------


async def test_a_changed_address_is_used_from_the_next_write_on_in_the_middle_of_a_cycle(
    tmp_path, monkeypatch
):
    """The old panel gets nothing more, the old connection is closed, the identity guard has its say."""
    async with open_fleet(
        tmp_path, monkeypatch, policies=(Policy(unknown_create_wait_s=0),), one=Wanted("2.9.4", (
            {"protocol": "vless"}, {"protocol": "trojan"},
        )),
    ) as fleet:  # fmt: skip
        other = create_panel("2.9.4", seed=7, options=PanelOptions(password="panel-password"))
        by_hand.add_inbound(other, {"protocol": "vless", "port": 30_000})
        by_hand.add_inbound(other, {"protocol": "trojan", "port": 30_001})
        await fleet.issue(2)
        begun, may_go_on = _hold_first_write(monkeypatch)
        async with running(other, control_port=None) as elsewhere, serving(fleet):
            await begun.wait()
            await fleet.declare("one", url=elsewhere.url)
            may_go_on.set()

            await eventually(lambda: _clients(other) == 4)

            # One call was on its way, the second inbound never heard of the keys.
            assert 2 == len(fleet["one"].ours())
            assert 1 == sum("addClient" in line for line in fleet["one"].log())


async def test_a_changed_tls_setting_begins_with_a_new_connection_in_the_middle_of_a_cycle(
    tmp_path, monkeypatch
):
    """The write after the change is withheld; the next turn logs in anew and goes on."""
    async with open_fleet(
        tmp_path, monkeypatch, one=Wanted("2.9.4", ({"protocol": "vless"}, {"protocol": "trojan"}))
    ) as fleet:
        await fleet.issue(2)
        begun, may_go_on = _hold_first_write(monkeypatch)
        async with serving(fleet):
            await begun.wait()
            before = await fleet.controller.pool.panel(await _target(fleet))
            await fleet.declare("one", tls=Tls(TlsKind.OFF))
            may_go_on.set()
            await eventually(lambda: len(fleet["one"].ours()) == 4)
            after = await fleet.controller.pool.panel(await _target(fleet))

        assert before is not after
        assert 2 == _logins(fleet["one"])
        assert 2 == sum("addClient" in line for line in fleet["one"].log())


async def test_a_changed_password_is_used_at_once_and_lifts_the_stall(tmp_path, monkeypatch):
    """Refused credentials are tried once; a corrected reference is enough to go on."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        right = fleet["one"].spec.auth
        monkeypatch.setenv("WRONG", "not-the-password")
        wrong = AuthRefs(username=right.username, password=SecretRef("env", "WRONG"))
        await fleet.declare("one", auth=wrong)
        await fleet.issue()
        async with serving(fleet, EAGER):
            await eventually(lambda: _logins(fleet["one"]))
            refused = _logins(fleet["one"])

            await fleet.declare("one", auth=right)
            await eventually(fleet["one"].ours)

        assert (1, 2) == (refused, _logins(fleet["one"]))


async def test_a_mode_that_forbids_writes_holds_from_the_next_write_on(tmp_path, monkeypatch):
    async with open_fleet(
        tmp_path, monkeypatch, one=Wanted("2.9.4", ({"protocol": "vless"}, {"protocol": "trojan"}))
    ) as fleet:
        await fleet.issue(2)
        begun, may_go_on = _hold_first_write(monkeypatch)
        async with serving(fleet):
            await begun.wait()
            await fleet.run(lambda work: nodes.set_mode(work, ONE, Mode.OBSERVE))
            may_go_on.set()
            await eventually(lambda: _looks(fleet["one"]) >= 3)
            in_the_middle = len(fleet["one"].ours())

            await fleet.run(lambda work: nodes.set_mode(work, ONE, None))
            await eventually(lambda: len(fleet["one"].ours()) == 4)

        assert 2 == in_the_middle


# -- back-off and defects --------------------------------------------------------------------------


async def test_a_dead_panel_is_not_tried_again_for_every_change_that_concerns_it(
    tmp_path, monkeypatch
):
    """The back-off holds against customers' changes; what a person declares or asks lifts it."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        keys = await fleet.issue(3)
        await fleet.reconcile()
        good = fleet["one"].url
        door = await asyncio.start_server(lambda _, writer: _count(writer), "127.0.0.1", 0)
        async with door, serving(fleet) as served:
            port = door.sockets[0].getsockname()[1]
            await fleet.declare("one", url=f"http://127.0.0.1:{port}/")
            await served.ask(RequestKind.RECONCILE, "one")
            await _hold_back(fleet, served)
            knocks = len(_KNOCKS)
            for key in keys:
                await fleet.rotate(key)
            await served.idle()
            knocks_for_changes = len(_KNOCKS) - knocks

            await fleet.declare("one", url=good)
            await eventually(lambda: _generations(fleet["one"]) == ["g2", "g2", "g2"])

        assert 0 == knocks_for_changes


async def test_a_defect_in_one_turn_is_contained(tmp_path, monkeypatch):
    """One node breaks in a way that nobody foresaw; the others are served, and it comes again."""
    async with open_fleet(
        tmp_path, monkeypatch, count=None, one=Wanted("3.6.0"), two=Wanted("3.6.0")
    ) as fleet:
        turn = fleet.controller.worker.turn
        broken = []

        async def breaks_once(node):
            if node == ONE and not broken:
                broken.append(node)
                raise ZeroDivisionError
            return await turn(node)

        monkeypatch.setattr(fleet.controller.worker, "turn", breaks_once)
        async with serving(fleet):
            await fleet.issue()
            await eventually(fleet["two"].ours)
            # A customer's change does not wait for the slow look after a defect.
            await fleet.issue()
            await eventually(lambda: len(fleet["one"].ours()) == 2)

        assert [ONE] == broken


async def test_nodes_that_are_claimed_while_the_database_falls_are_taken_up_when_it_is_back(
    tmp_path, monkeypatch
):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        sweep, tried = Daemon._sweep, []

        async def falls(daemon):
            tried.append(len(tried))
            if tried == [0, 1]:
                raise StoreUnreachable("the database does not answer")
            return await sweep(daemon)

        monkeypatch.setattr(Daemon, "_sweep", falls)
        with structlog.testing.capture_logs() as lines:
            # The first is the start's own, the second that of what the start claimed.
            async with serving(fleet):
                await eventually(lambda: tried == [0, 1, 2])

        told = [line["event"] for line in lines if line["log_level"] in {"warning", "error"}]
        assert ["part_waits"] == told


async def test_the_back_off_that_an_earlier_process_left_is_kept(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.reconcile()
        later = fleet.controller.clock.now().replace(year=2100)
        async with fleet.controller.store.recording() as session:
            tried = await session.scalar(select(RevisionCounterRow.value))
            failed = {"failures": 3, "next_look_at": later, "tried_revision": tried}
            await session.execute(update(NodeStatusRow).values(failed))
        fleet.forget_requests()
        async with serving(fleet, EAGER) as served:
            await fleet.issue()
            await eventually(lambda: _is_placed(fleet, 1))
            await served.idle()
            left_alone = fleet["one"].log()

            await served.ask(RequestKind.RECONCILE, "one")

        assert ([], 1) == (left_alone, len(fleet["one"].ours()))


async def test_what_time_cuts_short_goes_on_by_itself(tmp_path, monkeypatch):
    """A call takes two seconds and a turn may begin one within three: the third waits for the next."""
    listeners = ({"protocol": "vless"}, {"protocol": "trojan"}, {"protocol": "vmess"})
    async with (
        open_fleet(
            tmp_path,
            monkeypatch,
            turns=TurnSettings(writing_s=3),
            one=Wanted("2.9.4", listeners),
        ) as fleet,
        serving(fleet),
    ):
        slow = {"kind": "slow", "method": "POST", "path": "addClient", "delay_ms": 2_000}
        fleet["one"].panel.faults.arm(slow | {"count": None})
        await fleet.issue(2)

        await eventually(lambda: len(fleet["one"].ours()) == 6)


# -- helpers ---------------------------------------------------------------------------------------

_KNOCKS: list[int] = []


async def _count(writer) -> None:
    _KNOCKS.append(1)
    writer.close()


async def _hold_back(fleet, served) -> None:
    """Let the back-off of a node be as long as it would be after many failures."""
    until_s = fleet.controller.clock.monotonic() + 3600
    served.daemon._turns._memory(ONE).until_s = until_s


def _generations(site) -> list[str]:
    return [email.rpartition("-")[2] for email in site.ours()]


async def _is_placed(fleet, keys: int) -> bool:
    return len(await placements_of(fleet)) == keys


async def _target(fleet):
    async with fleet.controller.store.reading() as session:
        return await node_target(session, ONE, fleet.controller.store.vault)


def _looks(site) -> int:
    return sum("inbounds/list" in line or "clients/list" in line for line in site.log())


def _logins(site) -> int:
    return sum(line.endswith("/login") for line in site.log())


def _clients(panel) -> int:
    return sum(len(inbound.settings.clients) for inbound in panel.state.inbounds.values())


def _hold_first_write(monkeypatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Stop the first call that creates just after the panel did it, until it may go on."""
    begun, may_go_on = asyncio.Event(), asyncio.Event()
    act = worker_module.Panel.act

    async def held(panel, write):
        outcome = await act(panel, write)
        if not begun.is_set():
            begun.set()
            await may_go_on.wait()
        return outcome

    monkeypatch.setattr(worker_module.Panel, "act", held)
    return begun, may_go_on
