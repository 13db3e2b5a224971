"""A run over the fleet told from its document: what was done, what needs a person, how it ends.

One text for a run of our own and for one that a controller answered, whose document is stored. Pure.
Callers: `reports`, `following`. Not here: making the document (`reports`, `controller.runtime`).
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from cli.advice import advise, full_name
from cli.exits import Exit
from cli.render import Block, Cell, Grid, Text, Tone, count

Document = dict[str, Any]
Stored = AbstractSet[tuple[str, str]]
"""Sets that the controller keeps as withheld: each its node and its digest."""

TONES = {
    "in sync": Tone.GOOD,
    "to do": Tone.WARN,
    "waiting": Tone.WARN,
    "drifted": Tone.WARN,
    "paused": Tone.DIM,
    "blocked": Tone.BAD,
    "failed": Tone.BAD,
}
_QUIET = ("Ready", "Reconciling", "Paused")
"""Conditions that say no more than the state does."""


def run_exit(document: Document) -> Exit:
    """Sum a run up: a node that could not be worked on weighs most, then a guard, then drift."""
    states = [node["state"] for node in document["nodes"]]
    if "failed" in states:
        return Exit.ERROR
    if "blocked" in states:
        return Exit.BLOCKED
    return Exit.DONE if document["in_sync"] else Exit.DRIFT


def run_blocks(document: Document) -> Iterator[Block]:
    """Tell what was done, node by node, and what needs a person."""
    yield Grid(
        (
            "NODE", "STATE", "CREATED", "DELETED", "UPDATED", "HEALED", "VERIFIED", "WITHHELD",
            "FOREIGN",
        ),
        tuple(_row(node) for node in document["nodes"]),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )  # fmt: skip
    for node in document["nodes"]:
        yield from (
            Text(f"{node['node']}: the panel refused {one['email']}: {one['cause']}", Tone.WARN)
            for one in node["refused"]
        )
    yield from needs_a_person(document, "could")


def run_summary(document: Document) -> Text:
    """Say the whole in one sentence, and what to do next."""
    states = [node["state"] for node in document["nodes"]]
    failed, blocked = states.count("failed"), states.count("blocked")
    told = [f"{count(failed, 'node')} could not be worked on"] if failed else []
    told += [f"{count(blocked, 'node')} blocked: a person decides"] if blocked else []
    if told:
        return Text(f"{'; '.join(told)}; see above", Tone.BAD)
    if document["in_sync"]:
        return Text(f"in sync: {count(len(states), 'node')}", Tone.GOOD)
    drifted = states.count("drifted")
    if drifted and not {"to do", "waiting"} & set(states):
        return Text(f"{count(drifted, 'node')} drifted: nothing to send, see above", Tone.WARN)
    return Text("not in sync yet; x3fleet plan shows what is left, and why", Tone.WARN)


def needs_a_person(document: Document, verb: str, stored: Stored | None = None) -> Iterator[Block]:
    """Tell what waits for somebody: conditions with advice, sets to approve, keys without a place.

    Args:
        document: of the run.
        verb: could or would.
        stored: which sets can be approved by now; None after a run, which stores what it withholds.
    """
    for node in document["nodes"]:
        yield from _node_needs(node, stored)
    for lost in document["unschedulable"]:
        missing = count(lost["missing"], "node")
        told = f"key {lost['key']} {verb} not be placed on {missing}: {lost['reason']}"
        yield Text(told, Tone.WARN)
    for move in document["refused_moves"]:
        yield Text(f"key {move['key']} {verb} not be moved: {move['reason']}", Tone.WARN)


def _node_needs(node: Document, stored: Stored | None) -> Iterator[Block]:
    held = [c for c in node["conditions"] if c["status"] and c["type"] not in _QUIET]
    # A panel that did not show itself has a condition that says so.
    if node["error"] and node["error"] not in [c["message"] for c in held]:
        yield Text(f"{node['node']}: broken off: {node['error']}", Tone.BAD)
    for condition in held:
        tone = Tone.WARN if condition["type"] == "Drifted" else Tone.BAD
        kind = full_name(condition["type"], condition["reason"])
        yield Text(f"{node['node']}: {kind}: {condition['message']}", tone)
        if advice := advise(condition["reason"], node["node"], condition["message"]):
            yield f"    {advice}"
    for one in node["blocked"]:
        emails = ", ".join(one["emails"][:3]) + (" ..." if len(one["emails"]) > 3 else "")
        run = f"x3fleet reconcile now --node {node['node']}"
        steps = [f"x3fleet approve {one['digest'][:12]}", run]
        # A look alone stores nothing: what it would withhold cannot be approved yet.
        if stored is not None and (node["node"], one["digest"]) not in stored:
            steps.insert(0, f"{run} first, which does the rest")
        yield (
            f"    {count(len(one['emails']), 'client')} ({one['kind']}): {emails}\n"
            f"    if that is right: {', then '.join(steps)}"
        )


def _row(node: Document) -> tuple[Cell, ...]:
    state = node["state"]
    return (
        node["node"], Text(state, TONES[state]), node["created"], node["deleted"],
        node["updated"], node["healed"], node["verified"], node["withheld"], node["foreign"],
    )  # fmt: skip
