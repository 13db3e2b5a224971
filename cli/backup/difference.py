"""What a restored database would do to each panel, and what the panels know that it does not.

Pure. Callers: `restore`. Not here: looking; what is let pass (`controller.core.modes`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.render import Block, Grid, Text, Tone, count

if TYPE_CHECKING:
    from controller.core.plan import Action, Plan
    from controller.runtime.report import FleetReport, NodeReport
    from desired_state.queries.recovery import RecoveryView

SHOWN = 20
_GROUPS = ("create", "update", "shorten", "switch_off", "delete")
_KNOWN = ("unknown", "newer")


def difference_document(recovery: "RecoveryView", report: "FleetReport") -> dict[str, Any]:
    """Make the JSON: by node, emails of what would be done and of what our database does not know."""
    stages = dict(recovery.nodes)
    return {
        "recovery": recovery.backup,
        "taken_at": recovery.taken_at,
        "restored_at": recovery.restored_at,
        "replaced": recovery.replaced or None,
        "nodes": [{"stage": stages[node.node].value, **_node(node)} for node in report.nodes],
    }


def difference_blocks(recovery: "RecoveryView", document: dict[str, Any]) -> Iterator[Block]:
    """Tell it: one row a node, then what would take something away, then what nobody knows."""
    yield Text(
        f"the database is {recovery.backup}, of {recovery.taken_at:%Y-%m-%d %H:%M:%S} UTC;"
        " against the panels:",
        Tone.HEAD,
    )
    nodes = document["nodes"]
    yield Grid(
        ("NODE", "STAGE", "CREATE", "UPDATE", "SHORTEN", "OFF", "DELETE", "UNKNOWN", "NEWER", "WHY"),
        tuple(
            (
                node["node"], node["stage"], *(len(node[g]) for g in (*_GROUPS, *_KNOWN)),
                node["error"] or "",
            )
            for node in nodes
        ),
    )  # fmt: skip
    for node in nodes:
        for group, sign, why in (
            ("delete", "-", "would be deleted"),
            ("switch_off", "~", "would be switched off"),
            ("shorten", "~", "would end sooner, or be allowed less, than the panel says"),
            ("newer", "?", "is newer than our row: the database does not know of its rotation"),
            ("unknown", "?", "is ours, and the database does not know why: never deleted"),
        ):
            for email in node[group][:SHOWN]:
                yield f"  {node['node']}  {sign} {email} {why}"
            if len(node[group]) > SHOWN:
                rest = count(len(node[group]) - SHOWN, "more")
                yield Text(f"  {node['node']}  and {rest.removesuffix('s')}", Tone.DIM)


def _node(node: "NodeReport") -> dict[str, Any]:
    found: dict[str, Any] = {"node": node.node, "error": _error(node)}
    plan = None if node.last is None else node.last.remaining
    actions = () if plan is None else plan.actions
    for group in _GROUPS:
        found[group] = [action.email for action in actions if _group(action) == group]
    return found | _strangers(plan)


def _strangers(plan: "Plan | None") -> dict[str, Any]:
    if plan is None:
        return {"unknown": [], "newer": []}
    return {"unknown": list(plan.quarantined), "newer": list(plan.newer)}


def _group(action: "Action") -> str:
    from controller.core.modes import shortens, switches_off
    from controller.core.plan import deletes

    if action.verb.value == "create":
        return "create"
    if deletes(action):
        return "delete"
    if switches_off(action):
        return "switch_off"
    return "shorten" if shortens(action) else "update"


def _error(node: "NodeReport") -> str | None:
    if node.error:
        return node.error
    if not node.failed:
        return None
    told = [c.message for c in node.conditions if c.status and c.type.value != "Ready"]
    return told[0] if told else "it could not be looked at"
