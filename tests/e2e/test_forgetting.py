"""A node dies for good: a person writes off what it owed, and what comes back of it is met as ours."""

import pytest

from tests.e2e.operator import node
from tests.e2e.service import serving, until
from tests.e2e.test_moves import declared, keys_on, tariff


@pytest.mark.slow
async def test_a_dead_node_is_forgotten_and_its_panel_comes_back_under_another_name(
    operator, start_panel
) -> None:
    """Complaint 1.2: a client that cannot be deleted, since its node was removed first."""
    one, other = await start_panel("3.6.0"), await start_panel("2.9.4")
    keys = await declared(
        operator, node("a", one.url), node("b", other.url), keys=12, failover="15s"
    )
    async with serving(operator):
        await until(lambda: len(keys_on(one, other)) == 12)
        left = keys_on(one)
        one.panel.faults.arm({"kind": "lost_request", "count": None})
        early = await operator.ask("nodes", "forget", "a", code=1)
        await until(lambda: len(keys_on(other)) == 12)
        only_b = operator.declare(node("b", other.url), tariff=tariff(failover="15s"))
        await operator.ask("manifests", "apply", str(only_b))
        refused = await operator.ask("nodes", "forget", "a", code=1)

        said = await operator.ask("nodes", "forget", "a", "--yes-its-panel-is-gone")
        shown = await settled(operator)
        moves = await operator.ask("moves", "list")
        told = await operator.ask("events", "--node", "a")

        one.panel.faults.clear()
        still_there = keys_on(one)
        both = operator.declare(
            node("back", one.url), node("b", other.url), tariff=tariff(failover="15s")
        )
        await operator.ask("manifests", "apply", str(both))
        await until(lambda: keys_on(one) == [])
        await operator.ask("reconcile", "now", "--node", "back")
        after = await operator.ask("nodes", "show", "back")

    assert "conflict" == early["error"]["code"]
    assert "--yes-its-panel-is-gone" in refused["error"]["hint"]
    assert (len(left), len(left)) == (said["clients"], said["keys"])
    assert (len(left), len(left)) == (shown["clients"], shown["unseen"])
    assert [] == moves["moves"]
    assert "debts_written_off" in {event["name"] for event in told["events"]}
    assert left == still_there
    assert sorted(keys) == keys_on(other)
    assert ("Ready", 0) == (after["state"], after["quarantined"])


async def settled(operator) -> dict:
    """Wait until the controller has written off what the last forgotten node owed."""
    while True:
        (last, *_) = (await operator.ask("nodes", "forgotten"))["forgotten"]
        if last["written_off_at"] is not None:
            return last


async def test_a_node_of_the_policy_drain_goes_by_itself_once_it_is_empty(
    operator, start_panel, tmp_path
) -> None:
    """Nobody says anything: its manifest vanishes, its keys leave, and then the node goes."""
    one, other = await start_panel("3.6.0"), await start_panel("3.6.0")
    leaving = node("a", one.url) + "  deletionPolicy: Drain\n"
    await declared(operator, leaving, node("b", other.url), keys=6)
    async with serving(operator, "run") as service:
        await until(lambda: len(keys_on(one, other)) == 6)

        fleet = operator.declare(node("b", other.url), tariff=tariff())
        diff = await operator.ask("manifests", "diff", str(fleet), code=2)
        await operator.ask("manifests", "apply", str(fleet))
        await service.logged("node_removed", node="a")
        nodes = await operator.ask("nodes", "list")

    assert ["drain"] == [d["verb"] for d in diff["differences"] if d["name"] == "a"]
    assert ["b"] == [one["node"] for one in nodes["nodes"]]
    assert ([], 6) == (keys_on(one), len(keys_on(other)))
