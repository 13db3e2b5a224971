"""A dead panel slows nobody else down."""

import pytest

from controller.runtime.report import Stage
from desired_state.model.ids import NodeName
from tests.integration.runtime.fleet import Wanted, open_fleet


@pytest.mark.promise("L3")
async def test_healthy_nodes_are_served_while_a_dead_one_keeps_its_turn_waiting(
    tmp_path, monkeypatch
):
    """Three of ten panels hang: every other node is finished before the first of them answers."""
    wanted = {f"n{number}": Wanted("3.6.0") for number in range(10)}
    async with open_fleet(tmp_path, monkeypatch, **wanted) as fleet:
        for name in wanted:
            await fleet.issue(1, name)
        hanging = {"n0", "n4", "n7"}
        for name in hanging:
            fleet[name].panel.faults.arm(
                {"kind": "slow", "delay_s": 3, "method": "GET", "path": "list", "count": 1}
            )
        finished = []

        def note(progress):
            if progress.stage is Stage.FINISHED and progress.round == 1:
                finished.append(progress.node)

        await fleet.controller.reconcile(on_event=note)

        assert set(finished[:7]) == {NodeName(name) for name in wanted} - hanging
        assert set(finished[7:]) == hanging
