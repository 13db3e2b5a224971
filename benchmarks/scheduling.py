"""`python -m benchmarks.scheduling`: what the pure scheduler costs, on one core, without a database.

A thousand nodes in ten countries, 100,000 keys: placed for the first time, looked at again when all is
well, one key more, drained, failed over, evened out. Prints a table with the load of the machine beside it.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from desired_state.model.ids import Generation, KeyId, NodeName, SubscriptionId
from desired_state.model.key import Key
from desired_state.model.node import AuthRefs, Node, NodeOverrides, NodeSpec
from desired_state.model.placement import Placement
from desired_state.model.policy import Policy
from desired_state.model.tariff import NodeSelector
from desired_state.scheduling.balance import Balance, Wish
from desired_state.scheduling.eligible import NodeState
from desired_state.scheduling.place import place_keys
from desired_state.scheduling.result import PlacementResult

NODES, KEYS, COUNTRIES = 1_000, 100_000, 10
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICIES = (Policy(max_delete_share=1.0),)


def fleet(nodes: int) -> list[NodeState]:
    """Make nodes of the same size, a tenth of them in each country."""
    states = []
    for number in range(nodes):
        name = NodeName(f"n{number:04}")
        spec = NodeSpec(
            name,
            f"https://{name}.example.net/",
            AuthRefs(),
            f"{name}.example.net",
            labels=(("country", f"c{number % COUNTRIES}"),),
            capacity_keys=1_000,
        )
        states.append(NodeState(Node(spec)))
    return states


def issued(keys: int) -> list[Key]:
    """Make keys, each for one node of one country."""
    selectors = [NodeSelector((("country", f"c{n}"),), 1) for n in range(COUNTRIES)]
    return [
        Key(KeyId(f"k{n:06}"), SubscriptionId(f"s{n}"), Generation(1), selectors[n % COUNTRIES])
        for n in range(keys)
    ]


def timed(what: str, work: Callable[[], PlacementResult]) -> tuple[str, float, PlacementResult]:
    """Run once and tell how long it took, in CPU seconds of this process: others share the machine."""
    started_s = time.process_time()
    result = work()
    return what, time.process_time() - started_s, result


def measure(nodes: int, keys: int) -> list[tuple[str, float, PlacementResult]]:
    """Measure every pass."""
    states, wanted = fleet(nodes), issued(keys)
    rows = [timed("first placing of all", lambda: place_keys(wanted, states, []))]
    placements = list(rows[0][2].added)
    rows.append(timed("a pass that finds nothing", lambda: place_keys(wanted, states, placements)))
    one = replace(wanted[0], id=KeyId("new"))
    rows.append(timed("a node for one key, alone", lambda: place_keys([one], states, [])))
    draining = NodeOverrides(draining=True)
    drained = [replace(s, node=replace(s.node, overrides=draining)) for s in states[:10]]
    rows.append(
        timed(
            "ten nodes drained",
            lambda: place_keys(wanted, [*drained, *states[10:]], placements, policies=POLICIES),
        )
    )
    lost = [
        replace(
            s,
            conditions=("Unreachable/Timeout",),
            unreachable_since=NOW - timedelta(hours=1),
            failures=9,
        )
        for s in states[:10]
    ]
    rows.append(
        timed(
            "ten nodes given up",
            lambda: place_keys(
                wanted, [*lost, *states[10:]], placements, policies=POLICIES, now=NOW
            ),
        )
    )
    crowded = crowd(placements, nodes)
    rows.append(
        timed(
            "a tenth of the nodes new: evened out",
            lambda: place_keys(
                wanted, states, crowded, policies=POLICIES, now=NOW, balance=Balance((Wish(1),))
            ),
        )
    )
    return rows


def crowd(placements: list[Placement], nodes: int) -> list[Placement]:
    """Move the keys of the last tenth of the nodes to the first ones of the same country."""
    first_new = nodes - nodes // 10
    return [
        replace(p, node=NodeName(f"n{int(p.node[1:]) % COUNTRIES:04}"))
        if int(p.node[1:]) >= first_new
        else p
        for p in placements
    ]


def main() -> int:
    """Measure and print."""
    quick = "--quick" in sys.argv
    nodes, keys = (100, 2_000) if quick else (NODES, KEYS)
    table = Table(f"{nodes} nodes, {keys} keys", "CPU s", "added", "ended", "goal")
    goals = {"first placing of all": "2 s", "a node for one key, alone": "0.1 s"}
    for what, seconds, result in measure(nodes, keys):
        counts = str(len(result.added)), str(len(result.ended))
        table.add_row(what, f"{seconds:.3f}", *counts, goals.get(what, ""))
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    console.print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
