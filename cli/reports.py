"""A run over the fleet as JSON and as text: what `plan`, `reconcile now` and `nodes probe` show.

Pure. Callers: `reconcile`, `nodes.probe`, `doctor`. Not here: running anything, advice on a
condition (`advice`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.advice import advise, full_name
from cli.exits import Exit
from cli.render import Block, Cell, Grid, Text, Tone, count

if TYPE_CHECKING:
    from controller.core.conditions import BlockedSet, Condition
    from controller.core.plan import Action
    from controller.runtime.report import FleetReport, NodeReport

SHOWN = 20
"""Actions of one node that are listed unless all are asked for."""
_TONES = {
    "in sync": Tone.GOOD,
    "to do": Tone.WARN,
    "waiting": Tone.WARN,
    "drifted": Tone.WARN,
    "paused": Tone.DIM,
    "blocked": Tone.BAD,
    "failed": Tone.BAD,
}
_SIGNS = {"create": "+", "delete": "-", "detach": "-"}


def exit_code(report: "FleetReport") -> Exit:
    """Sum a run up: a node that could not be worked on weighs most, then a guard, then drift."""
    if report.failed:
        return Exit.ERROR
    if _blocked(report):
        return Exit.BLOCKED
    return Exit.DONE if report.in_sync else Exit.DRIFT


def state_of(node: "NodeReport") -> str:
    """Say in a word how a node is."""
    from controller.runtime.documents import state_of as say

    return say(node)


def _blocked(report: "FleetReport") -> int:
    return sum(state_of(node) == "blocked" for node in report.nodes)


# -- JSON ------------------------------------------------------------------------------------------


def fleet_document(report: "FleetReport") -> dict[str, Any]:
    """Make the JSON of a run; documented in docs/cli.md and kept."""
    return {
        "in_sync": report.in_sync,
        "rounds": report.rounds,
        "duration_s": round(report.duration_s, 3),
        "totals": report.totals,
        "nodes": [node_document(node) for node in report.nodes],
        "placed": [
            {"key": p.key, "node": p.node, "reason": p.reason, "replaces": p.replaces}
            for p in report.placed
        ],
        "ended": [
            {"key": p.key, "node": p.node, "reason": p.leaving and p.leaving.value}
            for p in report.ended
        ],
        "unschedulable": [
            {"key": u.key, "missing": u.missing, "reason": u.reason} for u in report.unschedulable
        ],
        "refused_moves": [
            {"key": r.move.key, "to": r.move.to_node, "reason": r.reason}
            for r in report.refused_moves
        ],
    }


def node_document(node: "NodeReport") -> dict[str, Any]:
    """Make the JSON of one node of a run."""
    from controller.runtime.documents import node_document as describe

    return describe(node)


# -- text ------------------------------------------------------------------------------------------


def plan_blocks(report: "FleetReport", *, every: bool) -> Iterator[Block]:
    """Tell what there is to do, node by node, worst first in what needs a person."""
    yield Grid(
        ("NODE", "STATE", "CREATE", "DELETE", "UPDATE", "LIVE", "FOREIGN", "WHY"),
        tuple(_plan_row(node) for node in report.nodes),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )
    for node in report.nodes:
        yield from _action_lines(node, every=every)
    yield from _needs_a_person(report, "would")


def run_blocks(report: "FleetReport") -> Iterator[Block]:
    """Tell what was done, node by node, and what needs a person."""
    yield Grid(
        (
            "NODE", "STATE", "CREATED", "DELETED", "UPDATED", "HEALED", "VERIFIED", "WITHHELD",
            "FOREIGN",
        ),
        tuple(_run_row(node) for node in report.nodes),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )  # fmt: skip
    for node in report.nodes:
        yield from (
            Text(f"{node.node}: the panel refused {email}: {cause}", Tone.WARN)
            for email, cause in node.refused
        )
    yield from _needs_a_person(report, "could")


def summary(report: "FleetReport", *, planned: bool) -> Text:
    """Say the whole in one sentence, and what to do next."""
    failed, blocked = len(report.failed), _blocked(report)
    told = [f"{count(failed, 'node')} could not be worked on"] if failed else []
    told += [f"{count(blocked, 'node')} blocked: a person decides"] if blocked else []
    if told:
        return Text(f"{'; '.join(told)}; see above", Tone.BAD)
    if report.in_sync:
        return Text(f"in sync: {count(len(report.nodes), 'node')}", Tone.GOOD)
    left = sum(node.actions_left + node.waiting for node in report.nodes)
    drifted = sum(state_of(node) == "drifted" for node in report.nodes)
    if not left and drifted:
        return Text(f"{count(drifted, 'node')} drifted: nothing to send, see above", Tone.WARN)
    if planned:
        return Text(f"{count(left, 'action')} to do; x3fleet reconcile now does it", Tone.WARN)
    return Text("not in sync yet; x3fleet plan shows what is left, and why", Tone.WARN)


def _plan_row(node: "NodeReport") -> tuple[Cell, ...]:
    verbs = [] if node.last is None else [a.verb.value for a in node.last.remaining.actions]
    creates, deletes = verbs.count("create"), verbs.count("delete") + verbs.count("detach")
    return (
        node.node, _state(node), creates, deletes, len(verbs) - creates - deletes, node.verified,
        _foreign(node), _why(node),
    )  # fmt: skip


def _run_row(node: "NodeReport") -> tuple[Cell, ...]:
    return (
        node.node, _state(node), node.created, node.deleted, node.updated, node.healed,
        node.verified, node.withheld, _foreign(node),
    )  # fmt: skip


def _state(node: "NodeReport") -> Text:
    state = state_of(node)
    return Text(state, _TONES[state])


def _foreign(node: "NodeReport") -> int:
    return 0 if node.last is None else len(node.last.remaining.foreign)


def _why(node: "NodeReport") -> str:
    reasons = [full_name(c.type.value, c.reason) for c in _told(node)]
    if node.error:
        reasons.insert(0, "broken off")
    if node.waiting and not reasons:
        reasons.append(f"{node.waiting} waiting")
    return ", ".join(dict.fromkeys(reasons))


def _told(node: "NodeReport") -> "Iterator[Condition]":
    """Conditions that say more than the state does."""
    for condition in node.conditions:
        if condition.status and condition.type.value not in ("Ready", "Reconciling", "Paused"):
            yield condition


def _action_lines(node: "NodeReport", *, every: bool) -> Iterator[Block]:
    if node.last is None:
        return
    withheld = {action for refusal in node.last.refusals for action in refusal.withheld}
    actions = node.last.remaining.actions
    shown = actions if every else actions[:SHOWN]
    for action in shown:
        yield Text(
            f"  {node.node}  {_action(action)}{', withheld' if action in withheld else ''}",
            Tone.DIM if action in withheld else Tone.PLAIN,
        )
    if len(actions) > len(shown):
        yield Text(f"  {node.node}  and {len(actions) - len(shown)} more, see --all", Tone.DIM)
    waiting = node.last.remaining.waiting
    for one in waiting if every else waiting[:SHOWN]:
        yield Text(f"  {node.node}  . {one.email} waits: {one.why}", Tone.DIM)
    if len(waiting) > SHOWN and not every:
        yield Text(f"  {node.node}  and {len(waiting) - SHOWN} more wait, see --all", Tone.DIM)


def _action(action: "Action") -> str:
    sign = _SIGNS.get(action.verb.value, "~")
    inbounds = ",".join(map(str, action.inbound_ids))
    drift = ", drift" if action.drift else ""
    again = ", to create it again" if action.recreates else ""
    where = f" on inbound {inbounds}" if inbounds else ""
    return f"{sign} {action.verb.value} {action.email}{where} ({action.reason}{drift}{again})"


def _needs_a_person(report: "FleetReport", verb: str) -> Iterator[Block]:
    for node in report.nodes:
        if node.error:
            yield Text(f"{node.node}: broken off: {node.error}", Tone.BAD)
        for condition in _told(node):
            tone = Tone.WARN if condition.type.value == "Drifted" else Tone.BAD
            kind = full_name(condition.type.value, condition.reason)
            yield Text(f"{node.node}: {kind}: {condition.message}", tone)
            if advice := advise(condition.reason, node.node, condition.message):
                yield f"    {advice}"
        yield from (_approvable(node, one) for one in node.blocked_sets)
    for lost in report.unschedulable:
        missing = count(lost.missing, "node")
        yield Text(f"key {lost.key} {verb} not be placed on {missing}: {lost.reason}", Tone.WARN)
    for refused in report.refused_moves:
        yield Text(f"key {refused.move.key} {verb} not be moved: {refused.reason}", Tone.WARN)


def _approvable(node: "NodeReport", one: "BlockedSet") -> Block:
    emails = ", ".join(one.emails[:3]) + (" ..." if len(one.emails) > 3 else "")
    return (
        f"    {count(len(one.emails), 'client')} ({one.kind}): {emails}\n"
        f"    if that is right: x3fleet approve {one.digest[:12]}, then x3fleet reconcile now "
        f"--node {node.node}"
    )
