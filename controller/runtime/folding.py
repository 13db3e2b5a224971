"""Which of several changes in a row is looked at when: the first at once, those close behind it together.

A change that comes alone waits for nobody; a burst is a look at its beginning and one for each window that
it lasts. Callers: the service, as wake-ups come in. Not here: the queue, which knows each name once.
"""

from collections.abc import Callable, Hashable
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_MANY = 1_000
"""Names that are remembered before those are forgotten whose window is over."""


class Folding(Generic[T]):
    """Remembers when the last look at each name was to begin.

    Args:
        within_s: how long a window is.
        now_s: seconds that only grow.
    """

    def __init__(self, within_s: float, now_s: Callable[[], float]) -> None:
        self._within_s = within_s
        self._now_s = now_s
        self._begins_at: dict[T, float] = {}

    def wait_s(self, item: T) -> float:
        """Tell how long a change that comes now is to wait; 0 where none came just before."""
        now_s = self._now_s()
        begins_at = self._begins_at.get(item, -inf)
        if now_s >= begins_at + self._within_s:
            begins_at = now_s
        elif now_s >= begins_at:
            # What that look did not see waits for the next one, with whatever comes until then.
            begins_at += self._within_s
        if len(self._begins_at) >= _MANY:
            self._forget(now_s)
        self._begins_at[item] = begins_at
        return begins_at - now_s

    def _forget(self, now_s: float) -> None:
        over = [item for item, at in self._begins_at.items() if at + self._within_s <= now_s]
        for item in over:
            del self._begins_at[item]
