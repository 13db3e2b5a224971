"""Why is this key not on that node: the steps of its way, the first that failed, the next try.

Pure. Callers: `queries.key`. Not here: SQL; who is eligible (`scheduling.eligible`).

    declared -> eligible -> placed -> journalled -> sent -> verified
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import NodeName
from desired_state.model.key import Key
from desired_state.model.node import Mode, Node
from desired_state.model.placement import Placement
from desired_state.model.subscription import EndedBy
from desired_state.queries.retry import AFTER_A_PERSON, LeaseView, Retry, tell_next_try
from desired_state.queries.views import (
    ConditionView,
    EventView,
    find_condition,
    without_warnings,
)
from desired_state.scheduling.eligible import RefusedBy, Verdict

DISTRUSTED = frozenset({"IdentityChanged", "StaleDesired", "ShrunkObservation"})
"""Reasons of a node whose list of clients is not believed: nothing on it counts as verified."""


_PASSING = frozenset({RefusedBy.CONDITION, RefusedBy.XRAY, RefusedBy.FULL, RefusedBy.LEAVING})
"""What keeps a key off a node and may be over without anybody's doing."""


class Step(StrEnum):
    """The way of a key to a node, in order."""

    DECLARED = "declared"
    ELIGIBLE = "eligible"
    PLACED = "placed"
    JOURNALLED = "journalled"
    SENT = "sent"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says of one key on one node.

    `held_by`: the node that the placement replaces, while a generation there is not gone.
    `rows`: of the journal, tombstones left out. `placed_at`: since when the placement stands.
    `lease`: None where one controller is alone. `told`: when conditions of the node came, by `Type/Reason`.
    """

    key: Key
    ended: EndedBy | None
    node: Node
    verdict: Verdict
    conditions: tuple[ConditionView, ...]
    now: datetime
    placement: Placement | None = None
    placed_at: datetime | None = None
    held_by: NodeName | None = None
    rows: tuple[JournalRow, ...] = ()
    events: tuple[EventView, ...] = ()
    retry: Retry = Retry()
    lease: LeaseView | None = None
    told: Mapping[str, EventView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one node.

    `failed` None: every step was made, or the key is not meant to be there and is not. `why`: of the
    failed step, a whole sentence. `event`: the line of history about it: of the node's own trouble, else
    the key's last. `next_try`: in words.
    `leaving`: generations that are still to be deleted here.
    """

    node: NodeName
    done: tuple[Step, ...]
    failed: Step | None
    why: str
    event: EventView | None
    next_try: str
    leaving: tuple[JournalRow, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether the key's present generation is proved to be there."""
        return self.failed is None and Step.VERIFIED in self.done

    @property
    def may_pass(self) -> bool:
        """Whether the failed step may be made without anybody's doing."""
        return self.failed is not None and self.next_try not in ("", AFTER_A_PERSON)


def explain_node(facts: Facts) -> Explanation:
    """Walk the steps until one is not made."""
    done: list[Step] = []
    for step, check in _CHECKS:
        why = check(facts)
        if why:
            return Explanation(
                node=facts.node.name,
                done=tuple(done),
                failed=step,
                why=why,
                event=_event(facts, why),
                next_try=_next_try(facts, step),
                leaving=_leaving(facts),
            )
        done.append(step)
    return Explanation(facts.node.name, tuple(done), None, "", _event(facts), "", _leaving(facts))


# -- the steps: each says why it was not made, or nothing ------------------------------------------


def _declared(facts: Facts) -> str:
    if not facts.key.is_wanted:
        return f"the key is revoked: {facts.key.reason}"
    return ""


def _eligible(facts: Facts) -> str:
    if facts.verdict.placed or facts.verdict.refusal is None:
        return ""
    return f"{facts.node.name} {facts.verdict.refusal.message}"


def _placed(facts: Facts) -> str:
    if facts.placement is not None and facts.placement.leaving is None:
        return ""
    return "the scheduler has not placed it yet"


def _journalled(facts: Facts) -> str:
    if _current(facts):
        return ""
    older = [row for row in facts.rows if row.generation < facts.key.generation]
    if older:
        return f"generation {older[0].generation} is not proved gone from {facts.node.name} yet"
    if facts.held_by is not None:
        return f"it moves from {facts.held_by}, where it is not proved gone yet"
    if facts.ended is not None:
        return f"its subscription is not in force: {facts.ended.value}"
    absent = f"the controller has not been at {facts.node.name} since"
    if facts.lease is not None:
        absent = f"{absent}; {facts.lease.tell(facts.node.name)}"
    return _hindrance(facts) or absent


def _sent(facts: Facts) -> str:
    # The intent is committed right before the call: a row without an answer may have been sent.
    pending = [row for row in _current(facts) if row.state is JournalState.INTENDED]
    if not pending or pending[0].create_unknown_at is None:
        return ""
    hindrance = _hindrance(facts)
    asked = f"its create of {pending[0].create_unknown_at:%Y-%m-%d %H:%M:%S} was not seen yet"
    return f"{asked}; {hindrance}" if hindrance else asked


def _verified(facts: Facts) -> str:
    # The rows tell of the last look that could be trusted; these say that there was another since.
    if any(c.status and c.reason in DISTRUSTED for c in facts.conditions):
        return _hindrance(facts)
    rows = _current(facts)
    if all(row.state is JournalState.LIVE and row.projection for row in rows):
        return ""
    return _hindrance(facts) or "the last look did not show it as it should be"


_CHECKS = (
    (Step.DECLARED, _declared),
    (Step.ELIGIBLE, _eligible),
    (Step.PLACED, _placed),
    (Step.JOURNALLED, _journalled),
    (Step.SENT, _sent),
    (Step.VERIFIED, _verified),
)


def _current(facts: Facts) -> tuple[JournalRow, ...]:
    return tuple([row for row in facts.rows if row.generation == facts.key.generation])


def _leaving(facts: Facts) -> tuple[JournalRow, ...]:
    stays = facts.key.is_wanted and facts.placement is not None
    if stays and facts.placement is not None and facts.placement.leaving is None:
        return tuple([row for row in facts.rows if row.generation != facts.key.generation])
    return facts.rows


def _hindrance(facts: Facts) -> str:
    """Say what of the node itself keeps work from being done."""
    if facts.node.mode is Mode.PAUSED:
        return f"{facts.node.name} is paused"
    if facts.node.mode is Mode.OBSERVE:
        return f"{facts.node.name} is in mode observe: nothing is written"
    if facts.lease is not None and facts.lease.hinders:
        return f"{facts.lease.tell(facts.node.name)}; another replica takes it over"
    real = without_warnings(facts.conditions)
    held = find_condition(real, "Stalled", "Unreachable", "Blocked", "Drifted")
    if held is None:
        return ""
    return f"{facts.node.name} is {held.type}/{held.reason}: {held.message}"


def _event(facts: Facts, why: str = "") -> EventView | None:
    paused = "Paused/Paused" if facts.node.mode is Mode.PAUSED else ""
    for condition, event in facts.told.items():
        if why and (condition in why or condition == paused):
            return event
    return max(facts.events, key=lambda event: event.last_at or event.at, default=None)


def _next_try(facts: Facts, step: Step) -> str:
    if step is Step.DECLARED:
        return ""
    refusal = facts.verdict.refusal
    if step is Step.ELIGIBLE and refusal is not None and refusal.by not in _PASSING:
        return "" if refusal.by is RefusedBy.NOT_CHOSEN else AFTER_A_PERSON
    told = tell_next_try(facts.conditions, facts.node.mode, facts.retry, facts.now)
    if told != AFTER_A_PERSON and facts.lease is not None and facts.lease.hinders:
        return "when another replica has taken it over"
    return told
