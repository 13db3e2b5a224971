"""What a run did on a node, as JSON: shown by the cli, stored as the answer to a request.

The shape is documented with the command and kept. Pure. Callers: `requests`, the cli. Not here: text
for people, exit codes.
"""

from collections.abc import Iterator
from typing import Any

from controller.core.result import Result
from controller.runtime.report import NodeReport

LISTED = 200
"""Actions, waiting clients and emails of one stored answer; the counts beside them are whole."""


def state_of(node: NodeReport) -> str:
    """Say in a word how a node is."""
    held = {condition.type.value for condition in node.conditions if condition.status}
    states = (
        ("failed", node.failed),
        ("blocked", node.is_blocked or "Stalled" in held),
        ("paused", "Paused" in held),
        ("to do", node.actions_left > 0 or _inbounds_open(node)),
        ("waiting", node.waiting > 0),
        ("drifted", not node.is_in_sync),
    )
    return next((state for state, holds in states if holds), "in sync")


def _inbounds_open(node: NodeReport) -> bool:
    return node.last is not None and any(one.is_open for one in node.last.inbounds)


def error_of(node: NodeReport) -> str:
    """Say why a node could not be worked on; empty when it could."""
    if node.error:
        return node.error
    if node.last is not None and node.last.not_observed is not None:
        return node.last.not_observed.message
    return ""


def node_document(node: NodeReport) -> dict[str, Any]:
    """Make the JSON of one node of a run."""
    status = node.status
    return {
        "node": node.node,
        "state": state_of(node),
        "error": error_of(node) or None,
        "mode": node.mode and node.mode.value,
        "version": status.version or None,
        "family": status.family or None,
        "xray": status.xray or None,
        "rounds": node.rounds,
        "created": node.created,
        "deleted": node.deleted,
        "updated": node.updated,
        "healed": node.healed,
        "verified": node.verified,
        "withheld": node.withheld,
        "foreign": 0 if node.last is None else len(node.last.remaining.foreign),
        "quarantined": 0 if node.last is None else len(node.last.remaining.quarantined),
        "writes": node.writes,
        "looks": node.looks,
        "duration_s": round(node.duration_s, 3),
        "plan_digest": node.plan_digest or None,
        "actions": [] if node.last is None else list(_actions(node.last)),
        "waiting": []
        if node.last is None
        else [{"email": w.email, "why": w.why} for w in node.last.remaining.waiting],
        "inbounds": [] if node.last is None else list(_inbounds(node.last)),
        "refused": [{"email": email, "cause": cause} for email, cause in node.refused],
        "blocked": [
            {"kind": one.kind, "digest": one.digest, "emails": list(one.emails)}
            for one in node.blocked_sets
        ],
        "conditions": [
            {
                "type": c.type.value,
                "reason": c.reason,
                "message": c.message,
                "status": c.status,
                "since": c.since,
            }
            for c in node.conditions
        ],
    }


def answer_document(node: NodeReport) -> dict[str, Any]:
    """Make what is stored of it as an answer: lists cut, moments as text."""
    document = node_document(node)
    for name in ("actions", "waiting", "refused"):
        document[name] = document[name][:LISTED]
    for blocked in document["blocked"]:
        blocked["emails"] = blocked["emails"][:LISTED]
    for condition in document["conditions"]:
        since = condition["since"]
        condition["since"] = None if since is None else since.isoformat()
    return document | {"in_sync": node.is_in_sync}


def _inbounds(result: Result) -> Iterator[dict[str, Any]]:
    for one in result.inbounds:
        yield {
            "name": one.name,
            "step": one.step.value,
            "changes": list(one.changes),
            "message": one.message or None,
        }


def _actions(result: Result) -> Iterator[dict[str, Any]]:
    withheld = {action for refusal in result.refusals for action in refusal.withheld}
    for action in result.remaining.actions:
        yield {
            "verb": action.verb.value,
            "email": action.email,
            "key": action.key,
            "generation": action.generation,
            "inbounds": list(action.inbound_ids),
            "reason": action.reason,
            "drift": action.drift,
            "withheld": action in withheld,
        }
