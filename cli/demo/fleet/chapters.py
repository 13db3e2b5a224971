"""What may become of a fleet, a chapter each: done on the stage, seen on the panels themselves.

A chapter gives the fields that it adds to the last line; a field that is False did not hold. Callers:
`command`. Not here: how anything is done by the service.
"""

from collections import Counter, defaultdict
from time import monotonic
from typing import Any

from cli.demo.fleet.stage import FleetStage
from cli.demo.panels import DemoFailed
from cli.render import Text, Tone, count, show_blocks

Fields = dict[str, Any]
SECRETS = ("id", "password", "auth", "flow", "subId")
SEEN = {"generation_live", "generation_finalised", "condition_came", "quota_used_up"}
"""What the history tells of all this at least."""
FAIR = 0.1
"""How far from its fair share a node may be after a rebalance: the scheduler's own promise."""


def heading(text: str) -> None:
    """Print what comes next."""
    show_blocks(("", Text(f"== {text}", Tone.HEAD)))


def fill(stage: FleetStage, nodes: int, months: int, everywhere: int) -> Fields:
    """Declare nodes, sell keys, and wait until panels hold them."""
    heading(f"{count(nodes, 'node')} declared in a watched folder; {months + everywhere} keys sold")
    stage.until("every node is known", lambda: len(stage.ask("nodes", "list")["nodes"]) == nodes)
    stage.type("keys", "issue", "--tariff", "month", "--count", str(months))
    stage.type("keys", "issue", "--tariff", "everywhere", "--count", str(everywhere))
    wanted = months + nodes * everywhere

    def is_filled() -> bool:
        return sum(map(len, stage.wanted.values())) == wanted and stage.is_in_place()

    took = stage.until("panels hold every key where it is placed", is_filled)
    return {"filled": True, "fill_s": round(took, 1)}


def fail_over(stage: FleetStage) -> Fields:
    """Kill a node: its keys are served elsewhere; let it return: its debts are paid."""
    node, leaving = _fullest(stage)
    heading(f"{node} dies with {count(len(leaving), 'key')} that live nowhere else")
    stage.panels[node].die()

    def is_served_elsewhere() -> bool:
        held = stage.held()
        return all(
            any(held[other].get(key, False) for other in held if other != node) for key in leaving
        )

    took = stage.until("every one of them is live on another node", is_served_elsewhere)
    stage.type("nodes", "show", node)
    heading(f"{node} returns")
    stage.panels[node].return_()

    def is_paid() -> bool:
        return not leaving & set(stage.panels[node].keys())

    back = stage.until("what it owed is deleted from it", is_paid)
    stage.until("and the fleet is in place", stage.is_in_place)
    return {"failed_over": True, "failover_s": round(took, 1), "debts_paid_s": round(back, 1)}


def rebuild(stage: FleetStage) -> Fields:
    """Wipe a panel: nothing is written before a person says so, then the same credentials return."""
    node, _ = _fullest(stage)
    panel = stage.panels[node]
    before = _secrets(stage, node)
    heading(f"{node} is wiped: {count(len(panel.keys()), 'key')} are gone")
    panel.wipe()
    stage.until("it is blocked and says so", lambda: _reason(stage, node) not in ("InSync", ""))
    if panel.keys():
        raise DemoFailed(f"{node} was filled before anybody approved it")
    shown = stage.ask("nodes", "rebuild", node)
    show_blocks((f"nodes rebuild {node} shows {count(shown['to_create'], 'client')} to create",))
    approved = monotonic()
    stage.type("nodes", "rebuild", node, "--approve", str(shown["digest"]), "--wait")
    stage.until("the same credentials are back", lambda: _secrets(stage, node) == before)
    return {"rebuilt": True, "rebuild_s": round(monotonic() - approved, 1)}


def drain(stage: FleetStage) -> Fields:
    """Drain a node to zero of what can live elsewhere."""
    node, movable = _fullest(stage)
    heading(f"{node} is drained of {count(len(movable), 'key')}")
    stage.type("nodes", "drain", node)

    def is_drained() -> bool:
        held = stage.held()
        return not held[node] and movable <= {key for keys in held.values() for key in keys}

    took = stage.until("its panel holds no key of ours, and each of them lives", is_drained)
    stage.type("moves", "list")
    stage.type("nodes", "undrain", node)
    return {"drained": True, "drain_s": round(took, 1)}


def rebalance(stage: FleetStage) -> Fields:
    """Even the nodes out, the drained one among them."""
    heading("The drained node is back, and empty: the fleet is evened out")
    stage.type("rebalance")
    stage.type("moves", "list")
    worst = 1.0

    def is_even() -> bool:
        nonlocal worst
        held = Counter({node: len(keys) for node, keys in stage.held().items()})
        fair = held.total() / len(held)
        # A whole key is the least that can be moved.
        worst = max(max(abs(n - fair) - 1, 0) / fair for n in held.values())
        return worst <= FAIR and stage.is_in_place()

    took = stage.until("every node is within 10 % of its fair share", is_even)
    return {"rebalanced": True, "rebalance_s": round(took, 1), "worst_share": round(worst, 3)}


def grow(stage: FleetStage) -> Fields:
    """Add a node by its manifest alone."""
    eligible = {key for key, nodes in stage.wanted.items() if len(nodes) == len(stage.panels)}
    node = stage.declare_node()
    heading(f"{node}: a manifest is put into the folder, and nothing else is done")
    took = stage.until(
        "it holds every key that is sold for every country",
        lambda: eligible <= {key for key, on in stage.panels[node].keys().items() if on},
    )
    return {"new_node_filled": bool(eligible), "new_node_s": round(took, 1)}


def use_up(stage: FleetStage) -> Fields:
    """Let a key use its quota up on one node: it goes dark everywhere, and returns when it is renewed."""
    everywhere = next(one for one in stage.listed() if len(one["nodes"]) == len(stage.panels))
    key, subscription = str(everywhere["key"]), str(everywhere["subscription"])
    node = next(iter(stage.panels))
    heading(f"key {key} uses up its quota on {node}")
    stage.panels[node].use(key, 2**30, 11 * 2**30)

    def is_dark() -> bool:
        on = stage.nodes_of(key)
        return len(on) == len(stage.panels) and not any(on.values())

    dark = stage.until("it is off on every node", is_dark)
    stage.type("subscriptions", "extend", subscription, "--days", "30", "--new-period")
    back = stage.until(
        "it is on again on every node",
        lambda: sum(stage.nodes_of(key).values()) == len(stage.panels),
    )
    return {"dark_s": round(dark, 1), "dark_over_quota": True, "back_s": round(back, 1)}


def choose(nodes: int = 1000, keys: int = 10_000) -> Fields:
    """Measure how long choosing a node for one more key takes in a large fleet."""
    from cli.demo.fleet.choosing import measure_choice

    heading(f"choosing a node among {nodes}, with {keys} keys placed")
    took = measure_choice(nodes, keys)
    show_blocks((f"chosen in {took * 1000:.0f} ms",))
    return {"choosing_ms": round(took * 1000, 1), "chosen_in_time": took < 0.1}


def look_back(stage: FleetStage) -> Fields:
    """What happened can be seen: in the history, in metrics, on the nodes and keys."""
    heading("All of it can be seen afterwards")
    stage.type("nodes", "list")
    stage.type("events", "--limit", "8")
    told = {one["name"] for one in stage.ask("events", "--limit", "10000")["events"]}
    metrics = stage.metrics()
    shown = [f'x3fleet_node_placed_keys{{node="{node}"}}' in metrics for node in stage.panels]
    return {"visible": all(shown) and told >= SEEN, "kinds_of_events": len(told)}


def _fullest(stage: FleetStage) -> tuple[str, set[str]]:
    """Find the node with the most keys that live nowhere else, and those keys."""
    alone: dict[str, set[str]] = defaultdict(set)
    for key, nodes in stage.wanted.items():
        if len(nodes) == 1:
            alone[next(iter(nodes))].add(key)
    return max(alone.items(), key=lambda item: len(item[1]))


def _secrets(stage: FleetStage, node: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (_, email), client in stage.panels[node].clients().items():
        if email.startswith("x3f-"):
            found.setdefault(email.rsplit("-i", 1)[0], []).append(
                "|".join(str(client.get(name)) for name in SECRETS)
            )
    return {email: sorted(values) for email, values in found.items()}


def _reason(stage: FleetStage, node: str) -> str:
    nodes = stage.ask("nodes", "list")["nodes"]
    return next((str(one["reason"]) for one in nodes if one["node"] == node), "")
