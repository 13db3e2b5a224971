"""What a turn says of the health of its node: conditions of the panel's server, and how it fares.

Step: the end of a turn. Callers: `result`, `reconcile`. Pure. Not here: guards (they withhold; these
only tell), when to look again (`backoff`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from controller.core.backoff import Backoff, Ended, probation_s
from controller.core.conditions import Condition, ConditionType, NodeStatus
from controller.core.effects import Event, Outcome
from controller.core.observed import PERMANENT, NotObserved, NotSeen, Observation, XrayState

CERTIFICATE_STAGES = (
    (timedelta(0), "CertificateExpired"),
    (timedelta(days=3), "CertificateExpiringSoon"),
    (timedelta(days=14), "CertificateExpiring"),
)
"""Time that is left, and the warning from then on: renewals are due at 30 days, so at 14 one failed."""
CERTIFICATE_WARNINGS = frozenset(reason for _, reason in CERTIFICATE_STAGES)
_XRAY = {
    XrayState.STOP: ("XrayStopped", "Xray is stopped: the panel serves no key"),
    XrayState.ERROR: ("XrayFailing", "Xray does not start: the panel serves no key"),
}


def panel_health(
    look: Observation, now: datetime, *, require_xray: bool
) -> Iterable[tuple[str, str]]:
    """Name what is wrong with the panel's server; a message does not change while its reason holds."""
    if require_xray and look.xray in _XRAY:
        yield _XRAY[look.xray]
    if look.certificate_until is not None:
        left = look.certificate_until - now
        reason = next((reason for limit, reason in CERTIFICATE_STAGES if left <= limit), None)
        if reason is not None:
            word = "ended" if left <= timedelta(0) else "ends"
            yield reason, f"the panel's certificate {word} at {_minute(look.certificate_until)}"


def still_unproved(backoff: Backoff) -> Condition | None:
    """Say of a node that answers again that it is not recovered yet; None when it is."""
    if not backoff.is_failing or backoff.connected_at is None:
        return None
    since = _minute(backoff.connected_at)
    message = f"answers again since {since}, and has not been well for a whole cycle yet"
    if backoff.flaps:
        minutes = int(probation_s(backoff.flaps)) // 60
        message = f"answers again since {since}; it flaps, and has to be well for {minutes} min"
    return Condition(ConditionType.RECONCILING, "Connected", message)


def ended_seen(outcomes: Iterable[Outcome], *, is_cut: bool, is_work_left: bool) -> Ended:
    """Say what a turn that saw its panel to the end was."""
    is_whole = not is_cut and not is_work_left
    is_clean = is_whole and not any(outcome.ends_writing for outcome in outcomes)
    return Ended.CLEAN if is_clean else Ended.CONNECTED


def ended_unseen(seen: NotObserved) -> Ended:
    """Say what a turn that did not see its panel was."""
    if seen.reason is NotSeen.CREDENTIALS_REFUSED:
        return Ended.REFUSED
    return Ended.PERMANENT if seen.reason in PERMANENT else Ended.LOST


def health_events(before: NodeStatus, after: NodeStatus) -> tuple[Event, ...]:
    """Name what happened to a node's health: it fell, it answers again, it is recovered."""
    old, new = before.backoff, after.backoff
    found: list[Event] = []
    if new.is_failing and new.connected_at is None:
        if not old.is_failing or old.connected_at is not None:
            found.append(_fell(after))
        return tuple(found)
    after_failures = f"after {old.failures} failed looks"
    if old.is_failing and old.connected_at is None:
        found.append(Event("node_connected", detail=after_failures))
    if old.is_failing and not new.is_failing:
        found.append(Event("node_recovered", detail=after_failures))
    return tuple(found)


def _fell(after: NodeStatus) -> Event:
    stalled = after.find(ConditionType.STALLED)
    held = stalled or after.find(ConditionType.UNREACHABLE)
    detail = "" if held is None else f"{held.reason}: {held.message}"
    return Event("node_unreachable" if stalled is None else "node_stalled", detail=detail)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
