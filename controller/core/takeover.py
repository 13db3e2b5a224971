"""Adopted clients in the journal: begun when they are seen, struck out when they are given back.

Step: before anything else of a turn is recorded, and before each slice. Callers: reconcile. Sans-I/O like
the spine; no panel is touched. Not here: which clients (`adopted`), what is wanted of them (`expect`).
"""

from dataclasses import replace

from controller.core.effects import GiveBack, Steps, TakeOver, perform
from controller.core.turn import Turn


def take_over(turn: Turn) -> Steps[None]:
    """Record what was given back and what was taken over, before anything else of a turn."""
    node, epoch = turn.target.node, turn.desired.epoch
    if not turn.checked.is_trusted:
        return
    gone = turn.desired.released
    released = tuple(r for r in turn.desired.journal if r.email.lower() in gone) if gone else ()
    if released:
        yield from perform(GiveBack(node, released, epoch))
        turn.forget_rows(released)
    if turn.plan.taken_over:
        yield from perform(TakeOver(node, turn.plan.taken_over, epoch))
        turn.put_rows(taken.row for taken in turn.plan.taken_over)
        turn.plan = replace(turn.plan, taken_over=())
