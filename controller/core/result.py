"""What a turn did and found, and the status that follows from it.

Step: the end of a turn. Callers: reconcile; runtime and cli read `Result`. Not here: storing it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.core.backoff import Backoff, confirm_before_failover, next_backoff
from controller.core.binding import finds_nothing
from controller.core.conditions import Condition, ConditionType, Counts, NodeStatus, keep_since
from controller.core.desired import Desired
from controller.core.effects import Event, MemberVerdict, Outcome, Verb, Write
from controller.core.guards import Checked, Refusal
from controller.core.health import (
    CERTIFICATE_WARNINGS,
    ended_unseen,
    health_events,
    panel_health,
    still_unproved,
)
from controller.core.inbound_report import InboundLeft
from controller.core.observed import PERMANENT, NotObserved, NotSeen, Observation
from controller.core.plan import Plan
from desired_state.model.ids import Digest, InboundId, NodeName
from desired_state.model.node import Mode, NodeTarget

_WARNINGS = CERTIFICATE_WARNINGS | {"UnverifiedVersion", "Quarantined"}
"""Reasons that are shown and do not make a node less ready."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One call that was made, or meant to be made, in this turn."""

    verb: Verb
    members: int
    outcome: Outcome


@dataclass(frozen=True)
class Result:
    """The end of one turn of one node.

    `plan`: the first plan of the turn, what a dry run prints. `remaining`: the last one.
    `created`, `deleted`, `updated`: proved by a look. `refused`: email and cause.
    `cut`: the turn ended before its work did, and the next one goes on at once. `trusted`: the last look
    came from our panel, whole and not outdated. `inbounds`: declared ones that are not as declared.
    """

    node: NodeName
    status: NodeStatus
    mode: Mode = Mode.ENFORCE
    plan: Plan = field(default_factory=Plan)
    remaining: Plan = field(default_factory=Plan)
    refusals: tuple[Refusal, ...] = ()
    withheld: int = 0
    sent: tuple[Sent, ...] = ()
    created: int = 0
    deleted: int = 0
    updated: int = 0
    healed: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    looks: int = 0
    cut: bool = False
    width: int = 0
    not_observed: NotObserved | None = None
    trusted: bool = True
    inbounds: tuple[InboundLeft, ...] = ()

    @property
    def verified(self) -> int:
        """Clients that the last look showed as they should be; a look that is not trusted shows none."""
        return self.remaining.live if self.trusted else 0

    @property
    def writes(self) -> int:
        """Calls that may have changed the panel."""
        return len(self.sent)

    @property
    def is_in_sync(self) -> bool:
        """Whether nothing is left to do, nothing was withheld or drifted, and every key is served."""
        drifted = any(
            c.type is ConditionType.DRIFTED and c.status and c.reason not in _WARNINGS
            for c in self.status.conditions
        )
        left = self.remaining.actions or self.remaining.unserved or self.refusals
        left = left or self.status.restart_owed
        undone = self.not_observed is not None or self.inbounds
        return not undone and not left and not drifted


def explain_sent(sent: tuple[tuple[Write, Outcome], ...]) -> tuple[Sent, ...]:
    """Shorten calls and outcomes to what is shown and counted."""
    return tuple(Sent(write.verb, len(write.members), outcome) for write, outcome in sent)


def refused_members(outcome: Outcome) -> dict[str, str]:
    """Return members that the answer named as skipped, with the panel's reason; absent is no refusal."""
    return {
        result.email.lower(): result.reason or outcome.cause
        for result in outcome.members
        if result.verdict is MemberVerdict.SKIPPED
    }


# -- status ----------------------------------------------------------------------------------------


def status_unseen(
    desired: Desired, target: NodeTarget, seen: NotObserved, now: datetime, chance: float = 1.0
) -> NodeStatus:
    """Make the status of a node whose panel did not show itself; `chance` as `next_backoff`'s draw."""
    kind = ConditionType.STALLED if seen.reason in PERMANENT else ConditionType.UNREACHABLE
    conditions = (
        Condition(ConditionType.READY, seen.reason.value, seen.message, status=False),
        Condition(kind, seen.reason.value, seen.message),
    )
    refused = desired.status.refused_fingerprint
    if seen.reason is NotSeen.CREDENTIALS_REFUSED:
        refused = target.fingerprint
    before = desired.status.backoff
    at = seen.at or now
    after = next_backoff(
        before, ended_unseen(seen), at, chance, seen.retry_after, watched_s=seen.watched_s
    )
    held = keep_since(conditions, desired.status.conditions, now)
    if after is not before and kind is ConditionType.UNREACHABLE:
        after = confirm_before_failover(after, desired.policy, at)
    return replace(
        desired.status,
        conditions=held,
        refused_fingerprint=refused,
        backoff=before if after is before else replace(after, tried_revision=desired.revision),
    )


def status_paused(desired: Desired, now: datetime) -> NodeStatus:
    """Make the status of a node that is not visited."""
    conditions = (
        Condition(ConditionType.READY, "Paused", "the node is paused", status=False),
        Condition(ConditionType.PAUSED, "Paused", "the node is paused"),
    )
    return replace(
        desired.status,
        conditions=keep_since(conditions, desired.status.conditions, now),
        backoff=replace(desired.status.backoff, next_look_at=None),
    )


def status_seen(
    desired: Desired, look: Observation, checked: Checked, plan: Plan,
    *, troubles: tuple[Condition, ...], now: datetime, cut: bool, backoff: Backoff,
) -> NodeStatus:  # fmt: skip
    """Make the status after a look: conditions from guards, the rest of the plan, and the panel itself.

    `troubles`: what the turn ran into.
    """
    found = [refusal.condition for refusal in checked.refusals]
    found += _drift_conditions(look, plan, desired, now)
    found += troubles
    held = {condition.type for condition in found}
    busy = bool(checked.allowed.actions or plan.waiting)
    if not held & {ConditionType.BLOCKED, ConditionType.STALLED}:
        if (unproved := still_unproved(backoff)) is not None:
            found.append(unproved)
        if busy or cut:
            message = f"{len(plan.actions)} actions left, {len(plan.waiting)} waiting"
            found.append(Condition(ConditionType.RECONCILING, "Working", message))
    ready = _readiness([c for c in found if c.reason not in _WARNINGS], look, desired)
    before = desired.status
    reasons = {refusal.condition.reason for refusal in checked.refusals}
    is_strange = "IdentityChanged" in reasons
    return NodeStatus(
        conditions=keep_since((ready, *found), before.conditions, now),
        version=look.version,
        family=look.features.family.value,
        guid=look.guid or before.guid,
        xray=look.xray.value,
        observed_revision=before.observed_revision if plan.actions else desired.revision,
        counts=_counts(plan, is_ours=not is_strange),
        owned_seen=plan.owned_seen,
        # While the guard holds, what was wanted before must not be forgotten.
        placed_seen=before.placed_seen if "EmptyDesired" in reasons else plan.wanted_keys,
        blocked_sets=tuple(r.blocked for r in checked.refusals if r.blocked is not None),
        plan_digest=plan.digest if plan.actions else Digest(""),
        refused_fingerprint="",
        backoff=backoff,
        certificate_until=look.certificate_until,
    )


def _readiness(found: list[Condition], look: Observation, desired: Desired) -> Condition:
    types = {c.type for c in found}
    for kind in (
        ConditionType.STALLED, ConditionType.BLOCKED, ConditionType.DRIFTED,
        ConditionType.RECONCILING,
    ):  # fmt: skip
        if kind in types:
            first = next(c for c in found if c.type is kind)
            return Condition(ConditionType.READY, first.reason, first.message, status=False)
    mode = desired.mode.value
    message = f"{look.version}, {len(desired.bound or ())} inbounds, mode {mode}"
    return Condition(ConditionType.READY, "InSync", message)


def _drift_conditions(
    look: Observation, plan: Plan, desired: Desired, now: datetime
) -> list[Condition]:
    found = _inbound_drift(look, plan, desired)
    found += panel_health(look, now, require_xray=desired.policy.require_xray)
    if plan.taken:
        found.append(("EmailTaken", f"a foreign client holds {plan.taken[0]}; rotate the key"))
    if plan.refused:
        ids = ", ".join(map(str, plan.refused))
        found.append(("PasswordSize", f"inbounds {ids} want another size of password: rotate"))
    if plan.quarantined:
        found.append(("Quarantined", f"{len(plan.quarantined)} clients carry our mark, no reason"))
    if look.unverified_version:
        found.append(("UnverifiedVersion", f"{look.version} is newer than what was verified"))
    debts = [a for a in plan.of(Verb.DELETE) if a.row is not None and a.row.delete_attempts >= 3]
    if debts:
        on = sum(a.current is not None and a.current.enable for a in debts)
        state = f"{on} of them switched on" if on else "switched off"
        kept = f"the panel keeps {debts[0].email} and {len(debts) - 1} more"
        found.append(("DeleteRefused", f"{kept}, {state}"))
    return [Condition(ConditionType.DRIFTED, reason, message) for reason, message in found]


def _inbound_drift(look: Observation, plan: Plan, desired: Desired) -> list[tuple[str, str]]:
    survey = plan.survey
    found: list[tuple[str, str]] = []
    if not survey.bound:
        found.append(("NoInbounds", "no inbound of the panel matches the declared node"))
    elif finds_nothing(desired, look.inbounds):
        ids = ", ".join(str(b.id) for b in survey.bound)
        found.append(
            ("NoInbounds", f"no inbound of the panel matches: {ids} stay bound, nothing is removed")
        )
    if survey.missing:
        ids = ", ".join(map(str, survey.missing))
        found.append(
            ("InboundMissing", f"bound inbounds gone or changed: {ids}; see nodes rematch")
        )
    off = _declared_off(desired)
    if disabled := [i for i in survey.disabled if i not in off]:
        ids = ", ".join(map(str, disabled))
        found.append(("InboundDisabled", f"bound inbounds switched off on the panel: {ids}"))
    return found


def _declared_off(desired: Desired) -> frozenset[InboundId | None]:
    """Return inbounds that are switched off because they are declared so."""
    if not desired.inbounds:
        return frozenset()
    names = {one.spec.name for one in desired.inbounds if not one.spec.enable}
    return frozenset(row.inbound_id for row in desired.managed if row.name in names)


def _counts(plan: Plan, *, is_ours: bool) -> Counts:
    verbs = Counter(action.verb for action in plan.actions)
    return Counts(
        desired=plan.wanted_keys,
        live=plan.live if is_ours else 0,
        pending=verbs[Verb.CREATE] + len(plan.waiting),
        deleting=verbs[Verb.DELETE],
        foreign=len(plan.foreign),
        quarantined=len(plan.quarantined),
        drift=sum(action.drift for action in plan.actions),
    )


def events_of(before: NodeStatus, after: NodeStatus) -> tuple[Event, ...]:
    """Name the conditions that came and went in this turn."""
    old = {(c.type, c.reason) for c in before.conditions if c.status}
    new = {(c.type, c.reason): c.message for c in after.conditions if c.status}
    came = [
        Event("condition_came", detail=f"{kind.value}/{reason}: {message}")
        for (kind, reason), message in new.items()
        if (kind, reason) not in old
    ]
    went = [
        Event("condition_went", detail=f"{kind.value}/{reason}")
        for kind, reason in sorted(old)
        if (kind, reason) not in new
    ]
    return (*came, *went, *health_events(before, after))
