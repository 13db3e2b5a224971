"""A run over the fleet as JSON and as text: what `plan`, `reconcile now` and `nodes probe` show.

Pure. Callers: `reconcile`, `nodes.probe`, `doctor`. Not here: running anything, advice on a
condition (`advice`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli import told
from cli.advice import full_name
from cli.exits import Exit
from cli.render import Block, Cell, Grid, Text, Tone, count

if TYPE_CHECKING:
    from controller.core.conditions import Condition
    from controller.core.plan import Action
    from controller.runtime.report import FleetReport, NodeReport

SHOWN = 20
"""Actions of one node that are listed unless all are asked for."""
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


def plan_blocks(
    report: "FleetReport", *, every: bool, stored: told.Stored | None = None
) -> Iterator[Block]:
    """Tell what there is to do, node by node, worst first in what needs a person.

    Args:
        report: of a dry run.
        every: list every action.
        stored: which sets can be approved by now, see `told.needs_a_person`.
    """
    yield Grid(
        ("NODE", "STATE", "CREATE", "DELETE", "UPDATE", "LIVE", "FOREIGN", "WHY"),
        tuple(_plan_row(node) for node in report.nodes),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )
    for node in report.nodes:
        yield from _action_lines(node, every=every)
    yield from told.needs_a_person(fleet_document(report), "would", stored)


def run_blocks(report: "FleetReport") -> Iterator[Block]:
    """Tell what was done, node by node, and what needs a person."""
    return told.run_blocks(fleet_document(report))


def summary(report: "FleetReport", *, planned: bool) -> Text:
    """Say the whole in one sentence, and what to do next."""
    left = sum(node.actions_left + node.waiting for node in report.nodes)
    if not planned or report.failed or _blocked(report) or report.in_sync or not left:
        return told.run_summary(fleet_document(report))
    return Text(f"{count(left, 'action')} to do; x3fleet reconcile now does it", Tone.WARN)


def _plan_row(node: "NodeReport") -> tuple[Cell, ...]:
    verbs = [] if node.last is None else [a.verb.value for a in node.last.remaining.actions]
    creates, deletes = verbs.count("create"), verbs.count("delete") + verbs.count("detach")
    return (
        node.node, _state(node), creates, deletes, len(verbs) - creates - deletes, node.verified,
        _foreign(node), _why(node),
    )  # fmt: skip


def _state(node: "NodeReport") -> Text:
    state = state_of(node)
    return Text(state, told.TONES[state])


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
    for inbound in node.last.inbounds:
        fields = f" ({', '.join(inbound.changes)})" if inbound.changes else ""
        why = f": {inbound.message}" if inbound.message else ""
        yield Text(f"  {node.node}  {inbound.step.value} inbound {inbound.name}{fields}{why}")
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
