"""What a rebuild of a panel would do, as the document that a person is shown and approves.

Its digest covers the panel that answered and every client that it lost: nothing else is let pass by it.
Pure. Callers: `probing`, the service. Not here: looking, approving (`desired_state.commands.rebuild`).
"""

from collections import Counter
from typing import Any

from controller.core.conditions import ConditionType
from controller.core.effects import Verb
from controller.core.plan import digest_of
from controller.core.result import Result
from controller.runtime.worker import TurnReport

_EXPECTED = frozenset({"ShrunkObservation"})
"""What a rebuild is there to let pass."""


def preview_document(turn: TurnReport) -> dict[str, Any]:
    """Make the document of a look that planned as if the panel had been accepted.

    `state`: `to rebuild`, `whole` (nothing is lost), `blocked` (by something that a rebuild does not let
    pass) or `failed`.
    """
    result = turn.result
    if result is None or result.not_observed is not None:
        seen = None if result is None else result.not_observed
        message = turn.error if seen is None else seen.message
        return {"node": turn.node, "state": "failed", "error": message}
    plan, hindrances = result.plan, _hindrances(result)
    missing = sorted(email.lower() for email in plan.missing)
    verbs = Counter(action.verb for action in plan.actions)
    state = "blocked" if hindrances else "to rebuild" if missing else "whole"
    return {
        "node": turn.node,
        "state": state,
        "error": "; ".join(hindrances) or None,
        "version": result.status.version,
        "guid": result.status.guid,
        "digest": digest_of(
            [["rebuild", result.status.guid or ""], *(["shrink", email] for email in missing)]
        ),
        "missing": len(missing),
        "emails": missing,
        "to_create": verbs[Verb.CREATE] + sum(action.recreates for action in plan.actions),
        "to_delete": sum(a.verb is Verb.DELETE and not a.recreates for a in plan.actions),
        "foreign": len(plan.foreign),
        "inbounds": [
            {"id": one.id, "protocol": one.protocol, "port": one.port, "tag": one.tag}
            for one in plan.survey.bound
        ],
    }


def _hindrances(result: Result) -> list[str]:
    found = [
        f"{refusal.condition.type.value}/{refusal.condition.reason}: {refusal.condition.message}"
        for refusal in result.refusals
        if refusal.condition.reason not in _EXPECTED
        and refusal.condition.type in (ConditionType.BLOCKED, ConditionType.STALLED)
    ]
    if not result.plan.survey.bound or result.plan.survey.missing:
        found.append(
            "the panel shows no inbound that the node's match chooses: make them first, or, where "
            "manifests declare them, x3fleet nodes rebind accepts the panel and makes them"
        )
    return found
