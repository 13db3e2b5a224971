"""What a turn's last look tells of a node's load reaches its status, and costs no request."""

import pytest

from controller.panels.api.clock import SystemClock
from controller.settings import TurnSettings
from desired_state.model.policy import LoadWeights, Policy
from tests.integration.runtime.fleet import Wanted, open_fleet, status_of

EACH = TurnSettings(sample_s=0)


class StepClock(SystemClock):
    """Monotonic time that a test moves on."""

    moved = 0.0

    def monotonic(self):
        return super().monotonic() + self.moved


@pytest.mark.parametrize(
    ("version", "cpu", "memory"), [("2.9.4", None, None), ("3.6.0", 0.01, 0.25)]
)
async def test_a_look_tells_the_traffic_and_the_host_of_its_node(
    tmp_path, monkeypatch, version, cpu, memory
):
    """CPU and memory come with the status that a look has from 3.1.0 on; below, nobody asks."""
    clock = StepClock()
    async with open_fleet(
        tmp_path, monkeypatch, turns=EACH, clock=clock, one=Wanted(version)
    ) as fleet:
        await fleet.issue()
        await fleet.reconcile()
        (email,) = fleet["one"].ours()

        fleet["one"].panel.background.count(email, 200_000_000, 400_000_000)
        clock.moved += 3000
        await fleet.reconcile()
        status = await status_of(fleet, "one")

        assert pytest.approx(200_000, rel=0.05) == status.traffic_rate_bps
        assert (cpu, memory) == (status.cpu_share, status.memory_share)
        assert status.sampled_at is not None


@pytest.mark.promise("I1")
@pytest.mark.parametrize(("version", "gets"), [("2.9.4", 1), ("3.6.0", 3)])
async def test_sampling_asks_nothing_more_and_an_idle_node_writes_nothing(
    tmp_path, monkeypatch, version, gets
):
    async with open_fleet(tmp_path, monkeypatch, turns=EACH, one=Wanted(version)) as fleet:
        await fleet.issue()
        await fleet.reconcile()
        await fleet.reconcile()
        before = await fleet.database()
        fleet.forget_requests()

        await fleet.reconcile()

        assert before == await fleet.database()
        assert gets == len(fleet["one"].log())


@pytest.mark.parametrize(
    ("version", "call"),
    [("2.3.15", "POST /server/status"), ("2.9.4", "GET /panel/api/server/status"),
     ("3.0.2", "GET /panel/api/server/status")],
)  # fmt: skip
async def test_a_host_that_looks_do_not_tell_of_is_asked_seldom_where_somebody_weighs_it(
    tmp_path, monkeypatch, version, call
):
    """A look stays one GET: the host is asked once in five minutes."""
    clock = StepClock()
    weighed = Policy(load=LoadWeights(cpu=1.0))
    async with open_fleet(
        tmp_path, monkeypatch, turns=EACH, clock=clock, policies=(weighed,), one=Wanted(version)
    ) as fleet:
        await fleet.issue()
        await fleet.reconcile()
        # A panel that nobody has asked lately does not know yet.
        fleet["one"].panel.clock.advance(10)
        clock.moved += 301
        await fleet.reconcile()
        fleet.forget_requests()
        await fleet.reconcile()
        between = list(fleet["one"].log())
        clock.moved += 301
        await fleet.reconcile()
        status = await status_of(fleet, "one")

        assert 1 == len(between)
        assert [call] == [line for line in fleet["one"].log()[1:] if "status" in line]
        assert (0.01, 0.25) == (status.cpu_share, status.memory_share)
