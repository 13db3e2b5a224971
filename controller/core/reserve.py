"""Taking a turn's deletes from the fleet's share before the first of them.

What somebody declared, by a drain or a failover, takes what is left of the share and waits for the rest:
nobody approves each slice of it. Everything else goes as a whole or waits for a person. Callers: slices.
Not here: the share itself (`runtime.records`), the node's own guards.
"""

from controller.core.effects import ReserveDeletes, Steps, perform
from controller.core.guards import counted_deletes, declared_deletes
from controller.core.turn import Turn


def reserve(turn: Turn) -> Steps[None]:
    """Take this turn's deletes from the fleet's share, each once; hold back those that it refuses.

    One that is tried again takes nothing more: not done it is in the journal, unknown in what was taken.
    """
    plan = turn.checked.allowed
    debts = {a.email.lower() for a in plan.actions if a.row is not None and a.row.delete_attempts}
    taken = turn.checked.approved_deletes | turn.reserved | turn.held
    fresh = counted_deletes(plan) - taken - debts
    if not fresh or (yield from _ask(turn, fresh)):
        return
    declared = fresh & declared_deletes(plan)
    others = fresh - declared
    if others and not (declared and (yield from _ask(turn, others))):
        turn.hold(others, declared=False)
    part = len(declared) if others else len(declared) // 2
    granted: frozenset[str] = frozenset()
    while part and not granted:
        some = frozenset(sorted(declared)[:part])
        granted = some if (yield from _ask(turn, some)) else granted
        part //= 2
    if waiting := declared - granted:
        turn.hold(waiting, declared=True)


def _ask(turn: Turn, emails: frozenset[str]) -> Steps[bool]:
    allowed = yield from perform(
        ReserveDeletes(
            turn.target.node,
            tuple(sorted(emails)),
            turn.plan.owned,
            turn.desired.epoch,
            turn.now,
        )
    )
    if allowed:
        turn.reserved |= emails
    return allowed
