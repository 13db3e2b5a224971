"""Keys leave nodes: drained ones, dead ones, full ones; the running service does it, by commands alone."""

import asyncio
import time

import pytest

from simulator.by_hand import add_inbound
from tests.e2e.operator import node
from tests.e2e.service import serving, until

ONE_NODE = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: all}
spec:
  title: {ru: "Один", en: "One"}
  days: 30
  nodes: {count: %s}
"""
POLICY = """\
apiVersion: x3fleet/v1
kind: Policy
metadata: {name: fleet}
spec:
  failoverAfter: %s
  moveOrder: %s
  guards:
    fleetDeletes: {share: %s, window: 1m}
"""


def tariff(
    count: object = 1,
    *,
    failover: str = "10m",
    order: str = "delete-first",
    share: float = 1,
) -> str:
    """Write a tariff of so many nodes, and a policy beside it."""
    return "---\n".join((ONE_NODE % count, POLICY % (failover, order, share)))


async def declared(operator, *nodes: str, keys: int, **options: object) -> list[str]:
    """Make a database, declare nodes with a tariff and a policy, and issue keys."""
    fleet = operator.declare(*nodes, tariff=tariff(**options))
    await operator.ask("db", "upgrade")
    await operator.ask("manifests", "apply", str(fleet))
    if not keys:
        return []
    issued = await operator.ask("keys", "issue", "--tariff", "all", "--count", str(keys))
    return [key["key"] for key in issued["keys"]]


async def done(operator) -> dict:
    """Wait until the last wish to rebalance is fulfilled, and give it."""
    while True:
        (wish, *_) = (await operator.ask("moves", "list"))["rebalances"]
        if wish["done_at"] is not None:
            return wish


def keys_on(*sites) -> list[str]:
    """Which keys live on these panels, each as often as it does."""
    return sorted(email.split("-")[1] for site in sites for email in site.emails)


async def test_a_drained_node_runs_empty_and_every_key_lives_on_elsewhere(
    operator, start_panel
) -> None:
    """One command, no approval for any slice; afterwards the node may be given keys again."""
    one, other = await start_panel("3.6.0"), await start_panel("2.9.4")
    keys = await declared(operator, node("a", one.url), node("b", other.url), keys=12)
    async with serving(operator):
        await until(lambda: len(keys_on(one, other)) == 12)

        answer = await operator.ask("nodes", "drain", "a")
        await until(lambda: len(keys_on(other)) == 12 and not keys_on(one))
        shown = await operator.ask("nodes", "show", "a")
        await operator.ask("nodes", "undrain", "a")
        back = await operator.ask("nodes", "show", "a")

    assert (True, True, False) == (answer["changed"], answer["draining"], answer["schedulable"])
    assert sorted(keys) == keys_on(other)
    assert (True, 0, 0) == (shown["draining"], shown["keys"], shown["leaving"])
    assert (False, True) == (back["draining"], back["schedulable"])


async def test_a_drain_never_lets_a_key_live_on_two_nodes_unless_create_first_is_asked_for(
    operator, start_panel
) -> None:
    """Create-first: a key leaves only once it is proved to live elsewhere."""
    one, other = await start_panel("3.6.0"), await start_panel("3.2.8")
    keys = await declared(
        operator, node("a", one.url), node("b", other.url), keys=8, order="create-first"
    )
    async with serving(operator):
        await until(lambda: len(keys_on(one, other)) == 8)
        seen: list[set[str]] = []

        await operator.ask("nodes", "drain", "a")
        while keys_on(one):
            seen.append(set(keys_on(one, other)))
            await asyncio.sleep(0.02)
        await until(lambda: len(keys_on(other)) == 8)

    assert all(set(keys) == served for served in seen)


@pytest.mark.long
async def test_keys_of_a_killed_node_live_elsewhere_and_its_debts_are_paid_on_its_return(
    operator, start_panel, report_count
) -> None:
    """Complaint 1.2: a delete that a dead node owes is kept, shown with its age, and done."""
    one, other = await start_panel("3.6.0"), await start_panel("2.9.4")
    keys = await declared(
        operator, node("a", one.url), node("b", other.url), keys=10, failover="15s"
    )
    async with serving(operator):
        await until(lambda: len(keys_on(one, other)) == 10)
        on_one = keys_on(one)

        one.panel.faults.arm({"kind": "lost_request", "count": None})
        killed_s = time.monotonic()
        await until(lambda: len(keys_on(other)) == 10)
        took_s = time.monotonic() - killed_s
        moves = await operator.ask("moves", "list")
        shown = await operator.ask("nodes", "show", "a")
        one.panel.faults.clear()
        await operator.ask("reconcile", "now", "--node", "a")
        await until(lambda: not keys_on(one))
        after = await operator.ask("moves", "list")

    report_count({"seconds until the keys of a killed node lived elsewhere": round(took_s)})
    assert on_one
    assert sorted(keys) == keys_on(other)
    owed = [move for move in moves["moves"] if move["stage"] == "owed"]
    assert [(key, "a", "b") for key in on_one] == sorted(
        (move["key"], move["from"], move["to"]) for move in owed
    )
    assert len(on_one) == shown["debt"]["keys"]
    assert shown["debt"]["since"] is not None
    assert [] == after["moves"]


async def test_a_rebalance_brings_a_new_node_its_fair_share(operator, start_panel) -> None:
    """Nobody approves anything: moves go on as guards let them pass."""
    one, other = await start_panel("3.6.0"), await start_panel("3.6.0")
    keys = await declared(operator, node("a", one.url), keys=20)
    async with serving(operator):
        await until(lambda: len(keys_on(one)) == 20)
        fleet = operator.declare(node("a", one.url), node("b", other.url), tariff=tariff())
        await operator.ask("manifests", "apply", str(fleet))

        await operator.ask("rebalance")
        wish = await done(operator)
        await until(lambda: len(keys_on(one, other)) == 20)

    assert sorted(keys) == keys_on(one, other)
    assert ((10, 10), 10, 0) == (
        (len(keys_on(one)), len(keys_on(other))),
        wish["made"],
        wish["waiting"],
    )


async def test_a_node_that_joins_the_running_service_gets_every_key_that_is_to_live_everywhere(
    operator, start_panel
) -> None:
    """Complaint 1.1: a second panel is added, and clients are created there. No restart, no command."""
    one, other = await start_panel("3.6.0"), await start_panel("2.9.4")
    keys = await declared(operator, node("a", one.url), keys=6, count="all")
    async with serving(operator):
        await until(lambda: len(keys_on(one)) == 6)

        fleet = operator.declare(node("a", one.url), node("b", other.url), tariff=tariff("all"))
        await operator.ask("manifests", "apply", str(fleet))
        await until(lambda: len(keys_on(other)) == 6)

    assert sorted(keys) == keys_on(other)


def credentials(site) -> list[tuple[object, ...]]:
    """What customers' links hold of each client on a panel."""
    return sorted(
        tuple(entry.data.get(name, "") for name in ("email", "id", "password", "subId"))
        for inbound in site.panel.state.inbounds.values()
        for entry in inbound.settings.clients
    )


@pytest.mark.parametrize(
    "version", ["2.9.4", pytest.param("3.2.8", marks=pytest.mark.slow), "3.6.0"]
)
async def test_a_wiped_panel_is_rebuilt_with_the_same_credentials_after_one_approval(
    operator, start_panel, version
) -> None:
    """Complaint 1.9: nothing returns by itself, and what returns is what customers' links hold."""
    panel = await start_panel(version)
    await declared(operator, node("a", panel.url), keys=8)
    async with serving(operator):
        await until(lambda: len(keys_on(panel)) == 8)
        before = credentials(panel)
        whole = await operator.ask("nodes", "rebuild", "a")

        panel.panel.wipe()
        add_inbound(panel.panel, {"protocol": "vless", "port": 21_643})
        held = await operator.ask("reconcile", "now", "--node", "a", code=3)
        shown = await operator.ask("nodes", "rebuild", "a", code=3)
        wrong = await operator.ask("nodes", "rebuild", "a", "--approve", "0" * 64, code=1)
        stayed_empty = keys_on(panel)
        done = await operator.ask(
            "nodes", "rebuild", "a", "--approve", shown["digest"][:12], "--wait"
        )

    assert "whole" == whole["state"]
    assert "blocked" == held["nodes"][0]["state"]
    assert ("to rebuild", 8, 8, 0) == (
        shown["state"],
        shown["missing"],
        shown["to_create"],
        shown["to_delete"],
    )
    assert "plan_stale" == wrong["error"]["code"]
    assert [] == stayed_empty
    assert ("in sync", 8, 8) == (done["state"], done["created"], done["verified"])
    assert before == credentials(panel)


async def test_a_key_is_created_moved_and_deleted_over_two_families_while_panels_misbehave(
    operator, start_panel
) -> None:
    """Complaints 1.1 and 1.2: nothing is missing, nothing lives on, whatever was answered."""
    one, other = await start_panel("2.9.4"), await start_panel("3.6.0")
    await declared(operator, node("a", one.url), node("b", other.url), keys=0)
    async with serving(operator) as service:
        # Logged in: a refused login would wait for a person.
        for name in ("a", "b"):
            await service.logged("cycle_finished", node=name)
        misbehave(one, other)
        issued = await operator.ask("keys", "issue", "--tariff", "all", "--node", "a")
        key = issued["keys"][0]["key"]
        await until(lambda: keys_on(one) == [key])

        misbehave(one, other)
        await operator.ask("keys", "move", key, "--to", "b")
        # Where the last client of an inbound cannot be deleted, a placeholder stays.
        await until(lambda: key not in keys_on(one) and keys_on(other) == [key])
        moved = await settled(operator, key)

        misbehave(one, other)
        await operator.ask("keys", "revoke", key)
        await until(lambda: key not in keys_on(one, other))

    assert {"a": False, "b": True} == {n["node"]: n["live"] for n in moved["nodes"]}


def misbehave(*sites) -> None:
    """Let every panel lose the answer of its next write, refuse one, and never see one."""
    for site in sites:
        for kind in ("lost_response", "database_locked", "lost_request"):
            site.panel.faults.arm({"kind": kind, "method": "POST", "count": 1})


async def settled(operator, key: str) -> dict:
    """Wait until a key is proved live somewhere, and give what is known of it."""
    while True:
        shown = await operator.ask("keys", "show", key)
        if any(one["live"] for one in shown["nodes"]):
            return shown
