"""The state of one turn: the last look, the journal as this turn left it, what was tried and given up.

Callers: reconcile alone; made at its start, gone at its end. Not here: effects.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.core.chunks import WITH_SUB_NODES, next_size
from controller.core.desired import Desired
from controller.core.draw import make_plan
from controller.core.effects import Gone, Outcome, Verb, Verdict, Write
from controller.core.guards import Checked, Refusal, check_guards, withhold_deletes
from controller.core.observed import NotObserved, Observation
from controller.core.placeholder import is_placeholder_action
from controller.core.plan import Action, Plan, deletes
from controller.core.result import refused_members
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import InboundId
from desired_state.model.node import NodeTarget

MOST_DOUBTS = 2
"""Looks of a turn that only ask whether clients are really missing: a list may change with each."""


@dataclass
class Turn:
    """Everything that changes while a turn runs.

    `widths`: how many members a call with this email may have, after one was refused.
    `given_up`: emails that this turn tries no more, and why. `held_inbounds`: where no placeholder stands
    yet, so that nothing there may be deleted. `reserved`: deletes taken from the fleet's share;
    `held`: those that it refused.
    `missed_before`: missing clients of the look before this one. `doubted`: those that took a second look.
    `cleared`: those that drift had taken and whose way this turn cleared: creating them heals.
    `owes_restart`: Xray has to be restarted; `restart_refused`: why it was not, when that was tried.
    `matched`: inbounds were compared with
    what is declared, so that a request to do so is answered. `chance`: random, of a back-off.
    """

    target: NodeTarget
    desired: Desired
    look: Observation
    now: datetime
    width: int
    chance: float = 1.0
    plan: Plan = field(init=False)
    checked: Checked = field(init=False)
    first: Plan = field(init=False)
    sent: list[tuple[Write, Outcome]] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    held_inbounds: set[InboundId] = field(default_factory=set)
    fleet_refusals: list[Refusal] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    missed_before: frozenset[str] = frozenset()
    doubted: set[str] = field(default_factory=set)
    doubts: int = 0
    cleared: set[str] = field(default_factory=set)
    matched: bool = False
    deleted_last: bool = False
    stopped: bool = False
    cut: bool = False
    looks: int = 1
    created: int = 0
    deleted: int = 0
    updated: int = 0
    healed: int = 0
    lost: NotObserved | None = None
    owes_restart: bool = field(init=False)
    restart_tried: bool = False
    restart_refused: str = ""

    def __post_init__(self) -> None:
        self.draw()
        self.first = self.plan
        self.owes_restart = self.desired.status.restart_owed
        if self.look.features.drives_sub_nodes:
            self.width = min(self.width, WITH_SUB_NODES)

    def draw(self) -> None:
        """Draw the plan anew and check it: after each look, and after the journal changed."""
        self.plan = make_plan(self.desired, self.look, self.now)
        self.checked = check_guards(self.plan, self.desired, self.look, self.now)

    def see(self, look: Observation) -> None:
        """Take a new look as what is there now."""
        self.looks += 1
        self.look = look
        self.missed_before = frozenset(a.email.lower() for a in self.plan.actions if a.recreates)
        self.draw()

    # -- what next ---------------------------------------------------------------------------------

    def next_slice(self) -> tuple[Action, ...]:
        """Choose what runs next: placeholders, then deletes and what they free in turns.

        A slice of deletes is one chunk, so that no rotated key stays dark for longer than it takes;
        what is only created or changed goes in one slice, however many calls that takes.
        """
        todo = [a for a in self._allowed() if a.email.lower() not in self.given_up]
        placeholders = [a for a in todo if is_placeholder_action(a)]
        if placeholders:
            return tuple(placeholders)
        going = [a for a in todo if a.verb is Verb.DELETE and not self._is_held(a)]
        rest = [a for a in todo if a.verb is not Verb.DELETE]
        if going and not (self.deleted_last and rest):
            self.deleted_last = True
            return tuple(going[: self.width])
        self.deleted_last = False
        return tuple(rest)

    def doubt(self, piece: tuple[Action, ...]) -> frozenset[str]:
        """Return clients that a delete would clear the way for and that only one look missed so far.

        One that comes and goes within a turn is left alone, and so is whatever is missed after some doubts.
        """
        missed = frozenset(a.email.lower() for a in piece if a.recreates) - self.missed_before
        self.doubts += bool(missed)
        for email in missed if self.doubts > MOST_DOUBTS else missed & self.doubted:
            self.given_up[email] = "the panel's list shows it and does not"
        return missed

    def _allowed(self) -> Iterable[Action]:
        if not self.held:
            return self.checked.allowed.actions
        left = [
            a
            for a in self.checked.allowed.actions
            if not deletes(a) or a.email.lower() not in self.held
        ]
        # A placeholder is only for deletes.
        goes = any(map(deletes, left))
        return (a for a in left if goes or not is_placeholder_action(a))

    def _is_held(self, action: Action) -> bool:
        return bool(self.held_inbounds & set(action.inbound_ids))

    def hold(self, emails: frozenset[str], *, declared: bool) -> None:
        """Keep deletes back for the rest of the turn: the fleet's share is used up."""
        self.held |= emails
        refusal = withhold_deletes(self.checked.allowed, emails, declared=declared)
        self.fleet_refusals.append(refusal)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Every refusal that holds at the end of the turn."""
        return (*self.checked.refusals, *self.fleet_refusals)

    # -- what was done -----------------------------------------------------------------------------

    def note(self, write: Write, outcome: Outcome) -> None:
        """Remember a call: its outcome, the next width, and whether writing is over."""
        self.sent.append((write, outcome))
        if len(write.members) > 1:
            self.width = next_size(self.width, outcome)
        if outcome.ends_writing:
            self.stopped = True
            self.cut = outcome.verdict is Verdict.NOT_SENT

    def narrow(self, tried: list[tuple[Write, Outcome]]) -> None:
        """After the look: what is still to do is tried in half the width, or given up at one member.

        Covers refusals, skipped members, and answers of success that stored nothing.
        """
        left = {a.email.lower(): a for a in self.plan.actions if not deletes(a)}
        for write, outcome in tried:
            skipped = refused_members(outcome)
            for member in write.members:
                email = member.email.lower()
                if email not in left or outcome.ends_writing:
                    continue
                if len(write.members) > 1 and (email in skipped or _is_refused(outcome)):
                    self.widths[email] = max(1, len(write.members) // 2)
                else:
                    cause = skipped.get(email) or outcome.cause or "accepted, but not stored"
                    self.given_up[email] = cause

    def unproved(self) -> frozenset[str]:
        """Return the emails that the last look does not show as they should be, lower-cased."""
        plan = self.plan
        left = (*plan.missing, *(a.email for a in plan.actions), *(w.email for w in plan.waiting))
        return frozenset(email.lower() for email in left)

    def put_rows(self, rows: Iterable[JournalRow]) -> None:
        """Take rows into this turn's picture of the journal."""
        fresh = {row.email.lower(): row for row in rows}
        if not fresh:
            return
        self.desired = replace(
            self.desired,
            journal=(
                *(r for r in self.desired.journal if r.email.lower() not in fresh),
                *fresh.values(),
            ),
            tombstones=tuple(r for r in self.desired.tombstones if r.email.lower() not in fresh),
        )

    def forget_rows(self, rows: Iterable[JournalRow]) -> None:
        """Strike rows out of this turn's picture of the journal; nothing of them stays."""
        gone = {row.email.lower() for row in rows}
        kept = tuple(r for r in self.desired.journal if r.email.lower() not in gone)
        self.desired = replace(self.desired, journal=kept)

    def bury(self, gone: Iterable[Gone]) -> None:
        """Move finalised rows to the tombstones."""
        rows = {g.row.email.lower(): replace(g.row, state=JournalState.GONE) for g in gone}
        self.desired = replace(
            self.desired,
            journal=tuple(r for r in self.desired.journal if r.email.lower() not in rows),
            tombstones=(*self.desired.tombstones, *rows.values()),
        )


def _is_refused(outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.REJECTED
