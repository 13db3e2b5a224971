"""A turn in one line: for the log, and for the table of cycles.

Pure but for the logger that is handed in. Callers: the worker. Not here: what happened (`core.result`).
"""

from datetime import datetime
from typing import Any

from structlog.typing import FilteringBoundLogger

from controller.core.conditions import ConditionType
from controller.core.effects import Effect, WriteStatus
from controller.core.observed import PERMANENT
from controller.core.result import Result
from controller.telemetry import events


def name_result(result: Result) -> str:
    """Say in one word how a turn ended: the reason of the node's readiness, in snake case."""
    ready = result.status.find(ConditionType.READY)
    return "unknown" if ready is None else ready.reason


def counts_of(result: Result) -> dict[str, int]:
    """Everything that is counted of a turn, by plural nouns."""
    return {
        "created": result.created,
        "deleted": result.deleted,
        "updated": result.updated,
        "healed": result.healed,
        "verified": result.verified,
        "withheld": result.withheld,
        "refused": len(result.refused),
        "waiting": len(result.remaining.waiting),
        "foreign": len(result.remaining.foreign),
        "quarantined": len(result.remaining.quarantined),
        "writes": result.writes,
        "looks": result.looks,
    }


def cycle_values(
    result: Result, cycle: str, started_at: datetime, finished_at: datetime
) -> dict[str, Any]:
    """The columns of `cycle` for one turn."""
    return {
        "id": cycle,
        "node": result.node,
        "result": name_result(result),
        "started_at": started_at,
        "finished_at": finished_at,
        "observed_revision": result.status.observed_revision,
        "plan_digest": result.plan.digest if result.plan.actions else "",
        "counts": counts_of(result),
    }


def log_health(log: FilteringBoundLogger, effect: Effect[Any]) -> None:
    """Tell of a node that answers again, and of one that is recovered, once each."""
    for event in effect.events if isinstance(effect, WriteStatus) else ():
        if event.name == events.NODE_CONNECTED:
            log.info(events.NODE_CONNECTED, detail=event.detail)
        elif event.name == events.NODE_RECOVERED:
            log.info(events.NODE_RECOVERED, detail=event.detail)


def log_turn(log: FilteringBoundLogger, result: Result, duration_s: float) -> None:
    """Write the canonical line of a turn, and a louder one where a person is needed."""
    seen = result.not_observed
    if seen is not None and seen.reason in PERMANENT:
        log.error(events.NODE_STALLED, reason=seen.reason.value, message=seen.message)
    elif seen is not None:
        log.warning(events.NODE_UNREACHABLE, reason=seen.reason.value, message=seen.message)
    for blocked in result.status.blocked_sets:
        log.warning(
            events.PLAN_BLOCKED,
            kind=blocked.kind,
            plan=blocked.digest[:12],
            emails=len(blocked.emails),
        )
    log.info(
        events.CYCLE_FINISHED,
        mode=result.mode.value,
        result=name_result(result),
        plan=result.plan.digest[:12] if result.plan.actions else "",
        duration_s=round(duration_s, 3),
        cut=result.cut,
        **counts_of(result),
    )
