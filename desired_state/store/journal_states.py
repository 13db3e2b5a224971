"""What the state of a journal row says to a query: whether its client may exist on a panel.

Every query that asks so asks here, so that a new kind of tombstone is forgotten nowhere. Callers: commands,
queries and the controller. Not here: which state may follow which (`model.generation`).
"""

from sqlalchemy import ColumnElement
from sqlalchemy.orm import InstrumentedAttribute

from desired_state.model.generation import ENDED

_ENDED = tuple(state.value for state in ENDED)


def may_exist(
    state: ColumnElement[str] | InstrumentedAttribute[str],
) -> ColumnElement[bool]:
    """Tell that a row is no tombstone: its client is on the panel, or nobody knows that it is not."""
    return state.not_in(_ENDED)


def is_tombstone(
    state: ColumnElement[str] | InstrumentedAttribute[str],
) -> ColumnElement[bool]:
    """Tell that a row ended: proved gone, or written off."""
    return state.in_(_ENDED)
