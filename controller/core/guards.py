"""Guards: what a plan may not do without a person, checked over the whole plan before the first effect.

Step: between plan and slices, again before every slice. Callers: reconcile, the dry run. Each guard is
one function: policy values in, what it withholds and why out. Not here: writing conditions down.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.core.conditions import BlockedSet, Condition, ConditionType
from controller.core.desired import Approval, ApprovalKind, Desired
from controller.core.effects import Verb
from controller.core.modes import forbid_by_mode, forbid_by_recovery, switches_off
from controller.core.observed import Observation
from controller.core.ownership import served_keys
from controller.core.placeholder import is_placeholder_action
from controller.core.plan import Action, Plan, deletes, digest_of, reason_of
from desired_state.model.ids import Digest
from desired_state.model.placement import DeleteReason
from desired_state.model.subscription import EndedBy

_UNTRUSTED = frozenset({"IdentityChanged", "StaleDesired", "TornList", "ShrunkObservation"})
_DECLARED = frozenset({DeleteReason.DRAINED, DeleteReason.FAILED_OVER, DeleteReason.WRITTEN_OFF})
_OWN_REASONS = frozenset({EndedBy.EXPIRY, EndedBy.QUOTA, EndedBy.PERSON})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one guard withholds. `blocked`: the set that a person may approve, where one may."""

    condition: Condition
    withheld: frozenset[Action]
    blocked: BlockedSet | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The plan that may run, what was withheld, and approvals that it makes use of."""

    allowed: Plan
    refusals: tuple[Refusal, ...]
    started: tuple[Digest, ...] = ()
    approved_deletes: frozenset[str] = frozenset()

    @property
    def is_trusted(self) -> bool:
        """Whether the look may teach us anything: it came from our panel, whole and not outdated."""
        return not any(r.condition.reason in _UNTRUSTED for r in self.refusals)

    @property
    def withheld(self) -> int:
        """How many actions were withheld."""
        return len({action for refusal in self.refusals for action in refusal.withheld})


@dataclass(frozen=True, slots=True)
class Case:
    """What every guard looks at."""

    plan: Plan
    desired: Desired
    look: Observation
    now: datetime

    def approval(self, kind: ApprovalKind, emails: frozenset[str]) -> Approval | None:
        """Return a fresh approval that covers these emails."""
        for approval in self.desired.approvals:
            if approval.kind is kind and emails <= approval.emails and self._is_fresh(approval):
                return approval
        return None

    def _is_fresh(self, approval: Approval) -> bool:
        policy = self.desired.policy
        since, lasts_s = approval.started_at, policy.approval_valid_s
        if since is None:
            since, lasts_s = approval.approved_at, policy.approval_start_s
        # To both sides: a clock that was set back must not prolong what somebody once allowed.
        return abs(self.now - since) <= timedelta(seconds=lasts_s)


Guard = Callable[[Case], Refusal | None]


def check_guards(plan: Plan, desired: Desired, look: Observation, now: datetime) -> Checked:
    """Run every guard over the whole plan; what none withholds may run.

    A withheld delete keeps back what waits for it by itself: a create is only drawn once the older
    generation is finalised.
    """
    case = Case(plan, desired, look, now)
    refusals = [refusal for guard in GUARDS if (refusal := guard(case)) is not None]
    dropped = frozenset().union(*(refusal.withheld for refusal in refusals))
    allowed = plan.without(dropped)
    used = _used_approvals(case, allowed)
    return Checked(
        allowed=allowed,
        refusals=tuple(refusals),
        started=tuple(sorted(a.digest for a in used if a.started_at is None)),
        approved_deletes=frozenset().union(
            *(a.emails for a in used if a.kind is ApprovalKind.DELETES)
        ),
    )


def withhold_deletes(plan: Plan, emails: frozenset[str], *, declared: bool) -> Refusal:
    """Refuse some deletes of a plan: the fleet's share of the last minutes is used up.

    Those that somebody declared, by a drain or a failover, only wait for the next share.
    """
    withheld = frozenset(a for a in plan.actions if deletes(a) and _key(a) in emails)
    if declared:
        message = f"{len(emails)} declared deletes wait for the fleet's next share"
        return _refuse(ConditionType.RECONCILING, "Paced", message, withheld)
    message = f"{len(emails)} deletes exceed the fleet's share of the last minutes"
    return _refuse(ConditionType.BLOCKED, "TooManyDeletes", message, withheld, ApprovalKind.DELETES)


def counted_deletes(plan: Plan) -> frozenset[str]:
    """Return the emails that a plan takes away; not those that are put back at once."""
    return frozenset(_key(a) for a in plan.actions if deletes(a) and not a.recreates)


def declared_deletes(plan: Plan) -> frozenset[str]:
    """Return the emails that go because their node was declared to be left, or was given up."""
    return frozenset(_key(a) for a in plan.actions if deletes(a) and reason_of(a) in _DECLARED)


# -- whole plan ------------------------------------------------------------------------------------


def identity(case: Case) -> Refusal | None:
    """Another panel answers: another GUID; without one, none of our marks and not all our inbounds."""
    bound, seen = case.desired.guid, case.look.guid
    if bound is not None and seen is not None:
        if bound == seen:
            return None
        message = f"another panel answers: GUID {seen[:8]} instead of {bound[:8]}"
    elif case.desired.journal and not case.plan.mark_seen and case.plan.survey.missing:
        lost = ", ".join(map(str, case.plan.survey.missing))
        message = f"no client of ours is seen and bound inbounds are missing: {lost}"
    else:
        return None
    hint = "if you replaced it, `x3fleet nodes rebind` accepts it"
    if not case.look.inbounds and any(not one.leaving for one in case.desired.inbounds):
        hint = f"{hint}, and has its declared inbounds made there"
    elif not case.look.inbounds:
        hint = "it shows no inbound at all: look at the panel itself"
    return _refuse(
        ConditionType.STALLED, "IdentityChanged", f"{message}; {hint}", _everything(case)
    )


def stale_desired(case: Case) -> Refusal | None:
    """The panel knows more than our database, which may have been restored from an old backup."""
    newer, strangers = case.plan.newer, case.plan.quarantined
    if newer:
        message = f"the panel holds a newer generation than our row: {_some(newer)}"
    elif len(strangers) > case.desired.policy.max_quarantined:
        message = f"{len(strangers)} clients carry our mark and no reason to be here"
    else:
        return None
    return _refuse(ConditionType.STALLED, "StaleDesired", message, _everything(case))


def torn_list(case: Case) -> Refusal | None:
    """Records and attachments of one look disagree: the next look will tell."""
    if not case.look.torn:
        return None
    message = "the panel's lists of clients and inbounds disagree"
    return _refuse(ConditionType.DRIFTED, "TornList", message, _everything(case))


def shrunk(case: Case) -> Refusal | None:
    """Clients that should be there are missing, too many at once and without an act of ours."""
    policy, missing = case.desired.policy, frozenset(e.lower() for e in case.plan.missing)
    limit = max(policy.max_shrink_floor, policy.max_shrink_share * case.plan.kept)
    if len(missing) <= limit or case.approval(ApprovalKind.SHRINK, missing):
        return None
    message = f"{len(missing)} of {case.plan.kept} clients are gone from the panel unexplained"
    return _refuse(
        ConditionType.BLOCKED, "ShrunkObservation", message, _everything(case),
        ApprovalKind.SHRINK, emails=missing,
    )  # fmt: skip


# -- deletes ---------------------------------------------------------------------------------------


def empty_desired(case: Case) -> Refusal | None:
    """Nothing is wanted any more where more than five keys were, and nobody asked for a drain."""
    before = case.desired.status.placed_seen
    if case.desired.draining or case.plan.wanted_keys or before <= 5:
        return None
    emails = counted_deletes(case.plan) - declared_deletes(case.plan)
    if not emails or case.approval(ApprovalKind.DELETES, emails):
        return None
    message = f"{before} keys were wanted here and none is any more"
    return _refuse(
        ConditionType.BLOCKED, "EmptyDesired", message, _deleting(case), ApprovalKind.DELETES
    )


def too_many_deletes(case: Case) -> Refusal | None:
    """More than a share of the node's clients in one plan; drains and debts of failovers are exempt."""
    policy = case.desired.policy
    emails = counted_deletes(case.plan) - declared_deletes(case.plan)
    limit = max(policy.max_delete_floor, policy.max_delete_share * case.plan.owned)
    every = counted_deletes(case.plan)
    if len(emails) <= limit or case.approval(ApprovalKind.DELETES, every):
        return None
    message = f"{len(emails)} of {case.plan.owned} clients would be deleted"
    return _refuse(
        ConditionType.BLOCKED, "TooManyDeletes", message, _deleting(case), ApprovalKind.DELETES
    )


def cut_off(case: Case) -> Refusal | None:
    """Inbounds were unbound, and no other serves their keys yet: a person decides, however few they are.

    Keys that a newly bound inbound takes over wait for it, and are never dark.
    """
    leaving = [a for a in case.plan.actions if reason_of(a) is DeleteReason.UNMATCHED]
    if not leaving:
        return None
    served, held = served_keys(case.plan.survey, case.desired, case.look), case.desired.keys
    in_force = {k.key for k in held if k.subscription.ended_by(case.now) is None}
    dark = frozenset(a for a in leaving if a.key in in_force - served)
    emails = frozenset(map(_key, dark))
    if not dark or case.approval(ApprovalKind.DELETES, emails):
        return None
    if len(dark) == sum(map(deletes, case.plan.actions)):
        dark |= frozenset(filter(is_placeholder_action, case.plan.actions))
    message = f"{len(emails)} clients would go, and no other inbound serves their keys"
    return _refuse(
        ConditionType.BLOCKED, "CutOff", message, dark, ApprovalKind.DELETES, emails=emails
    )


def forbidden_by_mode(case: Case) -> Refusal | None:
    """Modes: `upsert-only` never deletes, `observe` writes nothing."""
    found = forbid_by_mode(case.desired, case.plan)
    return None if found is None else Refusal(*found)


def restored(case: Case) -> Refusal | None:
    """Our database came from a backup, and a person has not accepted everything that it would do."""
    found = forbid_by_recovery(case.desired, case.plan)
    return None if found is None else Refusal(*found)


def taken_over(case: Case) -> Refusal | None:
    """The last holder died, maybe in the middle of a request: nothing is taken away until that is over."""
    if case.desired.may_remove:
        return None
    withheld = _deleting(case) | {a for a in case.plan.actions if switches_off(a)}
    if not withheld:
        return None
    message = (
        f"another replica died at work here: {len(withheld)} removals wait for its last request"
    )
    return _refuse(ConditionType.RECONCILING, "TakenOver", message, withheld)


# -- disables and time -----------------------------------------------------------------------------


def too_many_disabled(case: Case) -> Refusal | None:
    """Many would be switched off for another reason than their own due date, quota or a person."""
    policy = case.desired.policy
    disables = [a for a in case.plan.actions if switches_off(a)]
    odd = [a for a in disables if a.wanted and a.wanted.ended not in _OWN_REASONS]
    enabled = sum(client.enable for client in case.look.clients)
    limit = max(policy.max_disable_floor, policy.max_disable_share * enabled)
    emails = frozenset(_key(a) for a in odd)
    if len(odd) <= limit or case.approval(ApprovalKind.DISABLES, emails):
        return None
    message = f"{len(odd)} clients would be switched off without a reason of their own"
    return _refuse(
        ConditionType.BLOCKED, "TooManyDisabled", message, frozenset(odd), ApprovalKind.DISABLES
    )


def clock_skew(case: Case) -> Refusal | None:
    """Two clocks differ: what time alone would end waits until one is corrected."""
    skew = case.look.clock_skew
    if skew is None or abs(skew.total_seconds()) <= case.desired.policy.max_clock_skew_s:
        return None
    withheld = frozenset(
        a
        for a in case.plan.actions
        if (deletes(a) and reason_of(a) is DeleteReason.EXPIRED)
        or (switches_off(a) and a.wanted is not None and a.wanted.ended is EndedBy.EXPIRY)
    )
    side = "ahead of" if skew > timedelta(0) else "behind"
    # Not by how much: that changes with every look, and each change would be written.
    limit_s = case.desired.policy.max_clock_skew_s
    message = f"the panel's clock is more than {limit_s} s {side} ours"
    return _refuse(ConditionType.BLOCKED, "ClockSkew", message, withheld)


# -- creates ---------------------------------------------------------------------------------------


def poisoned(case: Case) -> Refusal | None:
    """A client without an email makes panels up to 3.0.1 refuse every create."""
    # QUIRK(client-without-email, 3x-ui up to 3.0.1): one entry without an email stops all creates.
    where = [
        f"inbound {inbound.id} position {position + 1}"
        for inbound in case.look.inbounds
        for position in inbound.nameless_clients
    ]
    if not where or not case.look.features.poisonable:
        return None
    creates = frozenset(case.plan.of(Verb.CREATE))
    message = f"a client without an email stops creates: {', '.join(where)}; give it one by hand"
    return _refuse(ConditionType.BLOCKED, "PanelPoisoned", message, creates)


def fighting(case: Case) -> Refusal | None:
    """Healed again and again within the hour: somebody else wants it otherwise; leave it alone."""
    policy, since = case.desired.policy, case.now - timedelta(hours=1)
    tired = {
        heal.email.lower()
        for heal in case.desired.heals
        if sum(at > since for at in heal.times) >= policy.heals_per_hour
    }
    withheld = frozenset(a for a in case.plan.actions if a.drift and _key(a) in tired)
    if not withheld:
        return None
    message = f"healed {policy.heals_per_hour} times in an hour: {_some(map(_key, withheld))}"
    return _refuse(ConditionType.DRIFTED, "Fighting", message, withheld)


GUARDS: tuple[Guard, ...] = (
    identity, stale_desired, torn_list, shrunk, empty_desired, too_many_deletes,
    cut_off, too_many_disabled, clock_skew, poisoned, fighting, forbidden_by_mode, restored,
    taken_over,
)  # fmt: skip


# -- helpers ---------------------------------------------------------------------------------------


def _refuse(
    kind: ConditionType, reason: str, message: str, withheld: frozenset[Action],
    approvable: ApprovalKind | None = None, *, emails: frozenset[str] | None = None,
) -> Refusal:  # fmt: skip
    blocked = None
    if approvable is not None:
        named = emails if emails is not None else frozenset(_key(a) for a in withheld)
        listed = tuple(sorted(named))
        blocked = BlockedSet(
            approvable.value, digest_of([approvable.value, e] for e in listed), listed
        )
    return Refusal(Condition(kind, reason, message), withheld, blocked)


def _everything(case: Case) -> frozenset[Action]:
    return frozenset(case.plan.actions)


def _deleting(case: Case) -> frozenset[Action]:
    """Deletes and detaches, and the placeholders that only deletes need."""
    return frozenset(a for a in case.plan.actions if deletes(a) or is_placeholder_action(a))


def _used_approvals(case: Case, allowed: Plan) -> list[Approval]:
    used: list[Approval] = []
    if not case.desired.approvals:
        return used
    unbound = (a for a in allowed.actions if reason_of(a) is DeleteReason.UNMATCHED)
    for going in (counted_deletes(allowed), frozenset(map(_key, unbound))):
        found = case.approval(ApprovalKind.DELETES, going) if going else None
        if found and found not in used:
            used.append(found)
    missing = frozenset(e.lower() for e in case.plan.missing)
    if missing and allowed.actions and (found := case.approval(ApprovalKind.SHRINK, missing)):
        used.append(found)
    off = frozenset(_key(a) for a in allowed.actions if switches_off(a))
    if off and (found := case.approval(ApprovalKind.DISABLES, off)):
        used.append(found)
    return used


def _key(action: Action) -> str:
    return action.email.lower()


def _some(emails: Iterable[str]) -> str:
    listed = sorted(emails)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
